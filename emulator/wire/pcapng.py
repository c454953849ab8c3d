"""Capture files for Wireshark: the blocks of pcapng (draft-ietf-opsawg-pcapng), little-endian, times in nanoseconds.

A file is one `section_header`, an `interface` for each place that is listened at (numbered from 0 in the order they
are written), and then packets, secrets and statistics as they come. Every block is whole in itself: a file that ends
after any of them can be read.
"""

from collections.abc import Iterable
from enum import IntEnum
from struct import pack

from emulator.errors import WireError

_SECTION, _INTERFACE, _STATISTICS, _PACKET, _SECRETS = 0x0A0D0D0A, 1, 5, 6, 10
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_VERSION = (1, 0)
_LENGTH_UNKNOWN = -1
_ETHERNET = 1  # LINKTYPE_ETHERNET
_TLS_KEY_LOG = 0x544C534B
_NANOSECONDS = 9  # if_tsresol: 10 to the power of minus this

_COMMENT = 1
_SECTION_HARDWARE, _SECTION_APPLICATION = 2, 4
_INTERFACE_NAME, _INTERFACE_DESCRIPTION, _INTERFACE_MAC, _INTERFACE_RESOLUTION = 2, 3, 6, 9
_PACKET_FLAGS = 2
_STATISTICS_RECEIVED, _STATISTICS_DROPPED = 4, 5

COMMENT_MAX_BYTES = 1024
"""A longer text in an option is cut; the format itself allows 65,535 bytes."""
FRAME_MAX_BYTES = 256 * 1024
"""What Wireshark takes for one packet of Ethernet."""
SECRETS_MAX_BYTES = 1024 * 1024


class Direction(IntEnum):
    """Which way a packet went at its interface (bits 0 and 1 of epb_flags)."""

    INBOUND = 1
    OUTBOUND = 2


def section_header(application: str, *, hardware: str = "", comment: str = "") -> bytes:
    """The begin of every file: who wrote it, on what, and what a reader should know of it."""
    head = pack("<IHHq", _BYTE_ORDER_MAGIC, *_VERSION, _LENGTH_UNKNOWN)
    texts = ((_SECTION_HARDWARE, hardware), (_SECTION_APPLICATION, application), (_COMMENT, comment))
    return _block(_SECTION, head, ((code, _text(text)) for code, text in texts if text))


def interface(name: str, *, description: str = "", mac: bytes = b"") -> bytes:
    """An Ethernet interface. `mac` has six bytes, or none where there is no one machine behind it."""
    head = pack("<HHI", _ETHERNET, 0, 0)  # no limit to what is kept of a packet
    options = [(_INTERFACE_NAME, _text(name)), (_INTERFACE_RESOLUTION, bytes([_NANOSECONDS]))]
    if description:
        options.append((_INTERFACE_DESCRIPTION, _text(description)))
    if mac:
        options.append((_INTERFACE_MAC, mac))
    return _block(_INTERFACE, head, options)


def packet(number: int, time_ns: int, frame: bytes, direction: Direction, *, comment: str = "") -> bytes:
    """One Ethernet frame at interface `number`, `time_ns` after 1970. WireError: it is larger than any frame."""
    if len(frame) > FRAME_MAX_BYTES:
        raise WireError(f"frame: {len(frame)} bytes, at most {FRAME_MAX_BYTES}")
    head = pack("<IIIII", number, *_halves(time_ns), len(frame), len(frame))
    options = [(_PACKET_FLAGS, pack("<I", direction))]
    if comment:
        options.append((_COMMENT, _text(comment)))
    return _block(_PACKET, head + _padded(frame), options)


def tls_secrets(key_log: bytes) -> bytes:
    """Lines of a TLS key log, for the packets that follow. WireError: too many at once."""
    if len(key_log) > SECRETS_MAX_BYTES:
        raise WireError(f"key log: {len(key_log)} bytes at once, at most {SECRETS_MAX_BYTES}")
    return _block(_SECRETS, pack("<II", _TLS_KEY_LOG, len(key_log)) + _padded(key_log))


def statistics(number: int, time_ns: int, *, received: int, dropped: int) -> bytes:
    """How many packets interface `number` has had in all, and how many of them are not in the file."""
    counts = ((_STATISTICS_RECEIVED, received), (_STATISTICS_DROPPED, dropped))
    return _block(
        _STATISTICS, pack("<III", number, *_halves(time_ns)), ((code, pack("<Q", count)) for code, count in counts)
    )


def _block(kind: int, body: bytes, options: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """Type, length, body, options and the length once more, so that a file can be read backwards."""
    listed = b"".join(pack("<HH", code, len(value)) + _padded(value) for code, value in options)
    end_of_options = bytes(4) if listed else b""
    length = 12 + len(body) + len(listed) + len(end_of_options)
    return b"".join((pack("<II", kind, length), body, listed, end_of_options, pack("<I", length)))


def _halves(time_ns: int) -> tuple[int, int]:
    """The high and the low 32 bits."""
    return time_ns >> 32, time_ns & 0xFFFFFFFF


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _text(text: str) -> bytes:
    """UTF-8, cut between two characters."""
    return text.encode("utf-8", "replace")[:COMMENT_MAX_BYTES].decode("utf-8", "ignore").encode()

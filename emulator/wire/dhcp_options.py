"""DHCP options: values to bytes and back (RFC 2132), and where they lie in a message (RFC 2131 4.1, RFC 3396)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from emulator.errors import WireError

FILE_BYTES, SNAME_BYTES = 128, 64  # RFC 2131 section 2
PART_MAX_BYTES = 255  # what the length byte of an option can say
MESSAGE_TYPE = 53

_PAD, _OVERLOAD, _END = 0, 52, 255
_IN_FILE, _IN_SNAME = 1, 2
_OVERLOAD_BYTES, _END_BYTES, _TYPE_BYTES = 3, 1, 3

Raw = tuple[int, bytes]
"""Code and value of one option, however long."""


class DhcpError(WireError):
    """Not a DHCP message, or one that cannot be written or used."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What of a message options may lie in; `file` and `sname` are empty where they are not overloaded."""

    options: bytes
    file: bytes = b""
    sname: bytes = b""


def collect(fields: Fields) -> dict[int, bytes]:
    """Raw options by code: from the option field and, overloaded, `file` and `sname`; parts joined (RFC 3396)."""
    found: dict[int, bytes] = {}
    _gather(fields.options, found)
    overload = found.pop(_OVERLOAD, b"\0")
    if overload not in (b"\0", b"\1", b"\2", b"\3"):
        raise DhcpError(f"option {_OVERLOAD}: {overload.hex()} is not an overload")
    if overload[0] & _IN_FILE:
        _gather(fields.file, found)
    if overload[0] & _IN_SNAME:
        _gather(fields.sname, found)
    return found


def lay_out(options: Sequence[Raw], room_bytes: int, *, overload: bool = False) -> Fields:
    """Options as bytes, `room_bytes` of them in the option field; the first, the message type, always lies there.

    What does not fit, or with `overload` everything else, goes to `file` and `sname`. Options longer than 255 bytes are
    split, others never. DhcpError when there is no room.
    """
    size = sum(len(raw) + 2 * max(1, -(-len(raw) // PART_MAX_BYTES)) for _, raw in options)
    least = _TYPE_BYTES + _OVERLOAD_BYTES + _END_BYTES
    for rooms in _rooms(size, room_bytes, overload=overload) if room_bytes >= least else ():
        parts = _fill(options, rooms)
        if parts is not None:
            return _finish(*parts)
    raise DhcpError(f"{size} bytes of options do not fit into {room_bytes}")


def parse_options(raw: Mapping[int, bytes]) -> dict[str, Any]:
    """The fields of `OPTIONS` that are there; other options are skipped. DhcpError names the option at fault."""
    fields: dict[str, Any] = {}
    for code, value in raw.items():
        if code in OPTIONS:
            option = OPTIONS[code]
            try:
                fields[option.field] = option.parse(value)
            except ValueError as error:
                raise DhcpError(f"option {code}: {error}") from None
    return fields


def build_options(message: object, instead: Mapping[int, bytes | None]) -> Iterator[Raw]:
    """The options that the fields of a message make, in the order of `OPTIONS`.

    `instead` has the bytes of options that are not to be made of a field; None leaves one out.
    """
    for code, option in OPTIONS.items():
        value = getattr(message, option.field)
        if code in instead or value is None or value == ():
            continue
        try:
            yield code, option.build(value)
        except (ValueError, OverflowError) as error:
            raise DhcpError(f"option {code}: {error}") from None
    yield from ((code, raw) for code, raw in instead.items() if raw is not None)


def quad(raw: bytes) -> str:
    """Four bytes as a dotted quad."""
    return "{}.{}.{}.{}".format(*raw)


@lru_cache(maxsize=256)
def packed(address: str) -> bytes:
    """The inverse of `quad`. DhcpError for anything else. Most are the few addresses of a site, and nobody's."""
    try:
        return IPv4Address(address).packed
    except AddressValueError as error:
        raise DhcpError(f"address: {error}") from None


def parse_uint(raw: bytes, size: int) -> int:
    """A whole number of exactly `size` bytes. ValueError for another size."""
    if len(raw) != size:
        raise ValueError(f"{len(raw)} bytes instead of {size}")
    return int.from_bytes(raw, "big")


def _gather(field: bytes, found: dict[int, bytes]) -> None:
    for code, raw in _split(field):
        found[code] = found.get(code, b"") + raw


def _split(field: bytes) -> Iterator[Raw]:
    at = 0
    while at < len(field) and field[at] != _END:
        if field[at] == _PAD:
            at += 1
            continue
        end = at + 2 + field[at + 1] if at + 1 < len(field) else len(field) + 1
        if end > len(field):
            raise DhcpError(f"option {field[at]} runs past the end")
        yield field[at], field[at + 2 : end]
        at = end


def _rooms(size: int, room_bytes: int, *, overload: bool) -> Iterator[tuple[int, ...]]:
    """Bytes for options in each field, in the order to be tried."""
    file, sname = FILE_BYTES - _END_BYTES, SNAME_BYTES - _END_BYTES
    if overload:
        yield _TYPE_BYTES, min((size + 1) // 2, file), sname
        yield _TYPE_BYTES, file, sname
    else:
        yield (room_bytes - _END_BYTES,)
    yield room_bytes - _END_BYTES - _OVERLOAD_BYTES, file, sname


def _fill(options: Sequence[Raw], rooms: Sequence[int]) -> list[bytes] | None:
    """Put options into fields, one after the other, as receivers read them; None: they do not fit."""
    fields, at = [bytearray() for _ in rooms], 0
    for code, rest in options:
        long = len(rest) > PART_MAX_BYTES
        while True:
            room = min(rooms[at] - len(fields[at]) - 2, PART_MAX_BYTES)
            if len(rest) <= room:
                fields[at] += bytes((code, len(rest))) + rest
                break
            if long and room > 0:
                fields[at] += bytes((code, room)) + rest[:room]
                rest = rest[room:]
            elif at + 1 < len(fields):
                at += 1
            else:
                return None
    return [bytes(field) for field in fields]


def _finish(options: bytes, file: bytes = b"", sname: bytes = b"") -> Fields:
    end = bytes((_END,))
    used = (_IN_FILE if file else 0) | (_IN_SNAME if sname else 0)
    if used:
        options += bytes((_OVERLOAD, 1, used))
    return Fields(options + end, file + end if file else b"", sname + end if sname else b"")


def _parse_address(raw: bytes) -> str:
    if len(raw) != 4:
        raise ValueError(f"{len(raw)} bytes are not one address")
    return quad(raw)


def _parse_addresses(raw: bytes) -> tuple[str, ...]:
    if not raw or len(raw) % 4:
        raise ValueError(f"{len(raw)} bytes are not addresses")
    return tuple(quad(raw[at : at + 4]) for at in range(0, len(raw), 4))


def _parse_mask(raw: bytes) -> int:
    ones = parse_uint(raw, 4).bit_count()
    if _build_mask(ones) != raw:
        raise ValueError(f"{quad(raw)} is not a subnet mask")
    return ones


def _build_mask(prefix_length: int) -> bytes:
    if not 0 <= prefix_length <= 32:
        raise ValueError(f"{prefix_length} is not a prefix length")
    return ((1 << 32) - (1 << (32 - prefix_length))).to_bytes(4, "big")


def _parse_text(raw: bytes) -> str:
    text = raw.rstrip(b"\0")  # RFC 2132 section 2: receivers trim trailing nulls
    if not text:
        raise ValueError("empty text")
    return text.decode("ascii", "backslashreplace")


def _build_text(text: str) -> bytes:
    raw = text.encode("ascii")
    if not raw.rstrip(b"\0"):
        raise ValueError("empty text")
    return raw


def _parse_client_id(raw: bytes) -> bytes:
    if len(raw) < 2:
        raise ValueError(f"{len(raw)} bytes are not a client identifier")
    return raw


@dataclass(frozen=True, slots=True)
class Option:
    """How one option becomes the field of that name; both ways raise ValueError for what does not fit."""

    field: str
    parse: Callable[[bytes], Any]
    build: Callable[[Any], bytes]


def _uint_option(field: str, size: int) -> Option:
    return Option(field, lambda raw: parse_uint(raw, size), lambda value: value.to_bytes(size, "big"))


def _addresses_option(field: str) -> Option:
    return Option(field, _parse_addresses, lambda value: b"".join(map(packed, value)))


OPTIONS: dict[int, Option] = {
    1: Option("prefix_length", _parse_mask, _build_mask),
    3: _addresses_option("routers"),
    6: _addresses_option("dns"),
    12: Option("hostname", _parse_text, _build_text),
    50: Option("requested", _parse_address, packed),
    51: _uint_option("lease_s", 4),
    54: Option("server", _parse_address, packed),
    55: Option("parameters", tuple, bytes),
    56: Option("message", _parse_text, _build_text),
    57: _uint_option("max_bytes", 2),
    58: _uint_option("t1_s", 4),
    59: _uint_option("t2_s", 4),
    60: Option("vendor_class", _parse_text, _build_text),
    61: Option("client_id", _parse_client_id, bytes),
}
"""The options that a `DhcpMessage` has a field for, by code (RFC 2132)."""

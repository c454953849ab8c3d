"""DHCP messages: bytes to frozen values and back (RFC 2131, RFC 2132)."""

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from emulator.errors import WireError
from emulator.wire.address import UNSPECIFIED

SERVER_PORT = 67
CLIENT_PORT = 68
INFINITE_S = 0xFFFFFFFF
MIN_BYTES = 300  # RFC 1542 section 2.1: older relays and servers drop shorter BOOTP messages

_HEADER = struct.Struct("!4BIHH4s4s4s4s16s64s128s4s")
_COOKIE = bytes((99, 130, 83, 99))
_ETHERNET = (1, 6)
_BROADCAST_FLAG = 0x8000
_PAD, _OVERLOAD, _MESSAGE_TYPE, _END = 0, 52, 53, 255


class DhcpError(WireError):
    """Not a DHCP message, or one that cannot be written or used."""


class MessageType(IntEnum):
    """Option 53 (RFC 2132 section 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


_FROM_SERVER = frozenset({MessageType.OFFER, MessageType.ACK, MessageType.NAK})


@dataclass(frozen=True, slots=True)
class DhcpMessage:
    """One message. Addresses are dotted quads, times whole seconds, `mac` is ``02:...``; None or () = option absent.

    Options that have no field here are skipped when decoding.
    """

    type: MessageType
    xid: int
    mac: str
    secs: int = 0
    broadcast: bool = False
    """The client cannot take unicast yet (RFC 2131 section 4.1)."""
    client_address: str = UNSPECIFIED
    """ciaddr: what the client uses and answers ARP for."""
    your_address: str = UNSPECIFIED
    """yiaddr: what the server gives."""
    next_server: str = UNSPECIFIED
    relay: str = UNSPECIFIED
    prefix_length: int | None = None
    """Option 1, as the number of leading one bits."""
    routers: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    hostname: str | None = None
    requested: str | None = None
    """Option 50."""
    lease_s: int | None = None
    server: str | None = None
    """Option 54, the server's identifier."""
    parameters: tuple[int, ...] = ()
    """Option 55: codes that the client asks for."""
    message: str | None = None
    max_bytes: int | None = None
    t1_s: int | None = None
    t2_s: int | None = None
    vendor_class: str | None = None
    client_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """An address on loan. Times are seconds from the request; infinity for a lease without end."""

    address: str
    prefix_length: int
    server: str
    router: str | None
    dns: tuple[str, ...]
    lease_s: float
    t1_s: float
    """When to ask the same server for more time."""
    t2_s: float
    """When to ask any server."""


def decode(data: bytes) -> DhcpMessage:
    """The message in one datagram; DhcpError for anything else."""
    if len(data) < _HEADER.size:
        raise DhcpError(f"{len(data)} bytes are too few for a DHCP message")
    header = _HEADER.unpack_from(data)
    op, htype, hlen, _, xid, secs, flags, client, your, next_server, relay, chaddr, sname, file, cookie = header
    if cookie != _COOKIE:
        raise DhcpError("no DHCP magic cookie")
    if (htype, hlen) != _ETHERNET:
        raise DhcpError(f"hardware type {htype} with {hlen} address bytes is not Ethernet")
    fields, kind = _parse_options(_collect(data[_HEADER.size :], file, sname))
    if op != _op(kind):
        raise DhcpError(f"{kind.name} with BOOTP operation {op}")
    return DhcpMessage(
        type=kind,
        xid=xid,
        mac=chaddr[:6].hex(":"),
        secs=secs,
        broadcast=bool(flags & _BROADCAST_FLAG),
        client_address=_quad(client),
        your_address=_quad(your),
        next_server=_quad(next_server),
        relay=_quad(relay),
        **fields,
    )


def encode(message: DhcpMessage) -> bytes:
    """One datagram, padded to 300 bytes. DhcpError when a value does not fit its field."""
    try:
        header = _HEADER.pack(
            _op(message.type),
            *_ETHERNET,
            0,
            message.xid,
            message.secs,
            _BROADCAST_FLAG if message.broadcast else 0,
            _packed(message.client_address),
            _packed(message.your_address),
            _packed(message.next_server),
            _packed(message.relay),
            _mac_bytes(message.mac),
            b"",
            b"",
            _COOKIE,
        )
    except struct.error as error:
        raise DhcpError(f"header: {error}") from None
    options = b"".join(_build_options(message))
    return (header + options + bytes((_END,))).ljust(MIN_BYTES, b"\0")


def lease_from(ack: DhcpMessage) -> Lease:
    """What an ACK (or an OFFER) lends. Without T1 and T2 that make sense: 0.5 and 0.875 of the lease (RFC 2131 4.4.5).

    DhcpError when it is of no use: no server, no lease time, or an address that no host can have.
    """
    first = int(ack.your_address.partition(".")[0])
    if ack.server is None or not ack.lease_s or not 1 <= first <= 223:
        raise DhcpError(f"{ack.type.name} of {ack.your_address} by {ack.server} for {ack.lease_s} s is no lease")
    lease_s = math.inf if ack.lease_s == INFINITE_S else float(ack.lease_s)
    t1_s, t2_s = float(ack.t1_s or lease_s * 0.5), float(ack.t2_s or lease_s * 0.875)
    if not t1_s < t2_s < lease_s:
        t1_s, t2_s = lease_s * 0.5, lease_s * 0.875
    return Lease(
        address=ack.your_address,
        prefix_length=_classful(first) if ack.prefix_length is None else ack.prefix_length,
        server=ack.server,
        router=ack.routers[0] if ack.routers else None,
        dns=ack.dns,
        lease_s=lease_s,
        t1_s=t1_s,
        t2_s=t2_s,
    )


def _op(kind: MessageType) -> int:
    return 2 if kind in _FROM_SERVER else 1


def _classful(first: int) -> int:
    return 8 if first < 128 else 16 if first < 192 else 24  # RFC 1122 section 3.3.6, when no mask is given


def _collect(options: bytes, file: bytes, sname: bytes) -> dict[int, bytes]:
    """Raw options by code, from the option field and, overloaded, `file` and `sname`; parts joined (RFC 3396)."""
    found: dict[int, bytes] = {}
    _gather(options, found)
    overload = found.pop(_OVERLOAD, b"\0")
    if overload not in (b"\0", b"\1", b"\2", b"\3"):
        raise DhcpError(f"option {_OVERLOAD}: {overload.hex()} is not an overload")
    if overload[0] & 1:
        _gather(file, found)
    if overload[0] & 2:
        _gather(sname, found)
    return found


def _gather(field: bytes, found: dict[int, bytes]) -> None:
    for code, raw in _split(field):
        found[code] = found.get(code, b"") + raw


def _split(field: bytes) -> Iterator[tuple[int, bytes]]:
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


def _parse_options(raw: dict[int, bytes]) -> tuple[dict[str, Any], MessageType]:
    try:
        kind = MessageType(_parse_uint(raw.pop(_MESSAGE_TYPE, b""), 1))
    except ValueError as error:
        raise DhcpError(f"option {_MESSAGE_TYPE}: {error}") from None
    fields: dict[str, Any] = {}
    for code, value in raw.items():
        if code in _OPTIONS:
            option = _OPTIONS[code]
            try:
                fields[option.field] = option.parse(value)
            except ValueError as error:
                raise DhcpError(f"option {code}: {error}") from None
    return fields, kind


def _build_options(message: DhcpMessage) -> Iterator[bytes]:
    yield bytes((_MESSAGE_TYPE, 1, message.type))
    for code, option in _OPTIONS.items():
        value = getattr(message, option.field)
        if value is None or value == ():
            continue
        try:
            raw = option.build(value)
        except (ValueError, OverflowError) as error:
            raise DhcpError(f"option {code}: {error}") from None
        if len(raw) > 255:
            raise DhcpError(f"option {code}: {len(raw)} bytes are too many")
        yield bytes((code, len(raw))) + raw


def _quad(raw: bytes) -> str:
    return "{}.{}.{}.{}".format(*raw)


def _packed(address: str) -> bytes:
    try:
        return IPv4Address(address).packed
    except AddressValueError as error:
        raise DhcpError(f"address: {error}") from None


def _mac_bytes(mac: str) -> bytes:
    try:
        raw = bytes.fromhex(mac.replace(":", ""))
    except ValueError:
        raw = b""
    if len(raw) != 6:
        raise DhcpError(f"{mac!r} is not a MAC address")
    return raw


def _parse_uint(raw: bytes, size: int) -> int:
    if len(raw) != size:
        raise ValueError(f"{len(raw)} bytes instead of {size}")
    return int.from_bytes(raw, "big")


def _parse_address(raw: bytes) -> str:
    if len(raw) != 4:
        raise ValueError(f"{len(raw)} bytes are not one address")
    return _quad(raw)


def _parse_addresses(raw: bytes) -> tuple[str, ...]:
    if not raw or len(raw) % 4:
        raise ValueError(f"{len(raw)} bytes are not addresses")
    return tuple(_quad(raw[at : at + 4]) for at in range(0, len(raw), 4))


def _parse_mask(raw: bytes) -> int:
    ones = _parse_uint(raw, 4).bit_count()
    if _build_mask(ones) != raw:
        raise ValueError(f"{_quad(raw)} is not a subnet mask")
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
class _Option:
    """How one option becomes the field of that name; both ways raise ValueError for what does not fit."""

    field: str
    parse: Callable[[bytes], Any]
    build: Callable[[Any], bytes]


def _uint_option(field: str, size: int) -> _Option:
    return _Option(field, lambda raw: _parse_uint(raw, size), lambda value: value.to_bytes(size, "big"))


def _addresses_option(field: str) -> _Option:
    return _Option(field, _parse_addresses, lambda value: b"".join(map(_packed, value)))


_OPTIONS: dict[int, _Option] = {
    1: _Option("prefix_length", _parse_mask, _build_mask),
    3: _addresses_option("routers"),
    6: _addresses_option("dns"),
    12: _Option("hostname", _parse_text, _build_text),
    50: _Option("requested", _parse_address, _packed),
    51: _uint_option("lease_s", 4),
    54: _Option("server", _parse_address, _packed),
    55: _Option("parameters", tuple, bytes),
    56: _Option("message", _parse_text, _build_text),
    57: _uint_option("max_bytes", 2),
    58: _uint_option("t1_s", 4),
    59: _uint_option("t2_s", 4),
    60: _Option("vendor_class", _parse_text, _build_text),
    61: _Option("client_id", _parse_client_id, bytes),
}

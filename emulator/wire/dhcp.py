"""DHCP messages: bytes to frozen values and back (RFC 2131)."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any

from emulator.wire.address import UNSPECIFIED
from emulator.wire.dhcp_options import (
    MESSAGE_TYPE,
    DhcpError,
    Fields,
    build_options,
    collect,
    lay_out,
    packed,
    parse_options,
    parse_uint,
    quad,
)

__all__ = ["DhcpError", "DhcpMessage", "Lease", "MessageType", "decode", "encode", "lease_from"]

SERVER_PORT = 67
CLIENT_PORT = 68
INFINITE_S = 0xFFFFFFFF
MIN_BYTES = 300  # RFC 1542 section 2.1: older relays and servers drop shorter BOOTP messages
MAX_BYTES_LEAST = 576  # RFC 2132 section 9.10: the smallest datagram that a client may set as its limit
MAX_BYTES_MOST = 65_535  # RFC 791

_IP_UDP_BYTES = 28
_HEADER = struct.Struct("!4BIHH4s4s4s4s16s64s128s4s")
_COOKIE = bytes((99, 130, 83, 99))
_ETHERNET = (1, 6)
_BROADCAST_FLAG = 0x8000
_AS_IT_IS: Mapping[int, bytes | None] = MappingProxyType({})


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
    fields, kind = _parse_options(collect(Fields(data[_HEADER.size :], file, sname)))
    if op != _op(kind):
        raise DhcpError(f"{kind.name} with BOOTP operation {op}")
    return DhcpMessage(
        type=kind,
        xid=xid,
        mac=chaddr[:6].hex(":"),
        secs=secs,
        broadcast=bool(flags & _BROADCAST_FLAG),
        client_address=quad(client),
        your_address=quad(your),
        next_server=quad(next_server),
        relay=quad(relay),
        **fields,
    )


def encode(
    message: DhcpMessage,
    *,
    max_bytes: int = MAX_BYTES_MOST,
    overload: bool = False,
    instead: Mapping[int, bytes | None] = _AS_IT_IS,
) -> bytes:
    """One datagram, padded to 300 bytes, of up to `max_bytes` with its IP and UDP headers, as option 57 counts.

    Options that find no room, or with `overload` all of them, lie in `file` and `sname`. `instead` replaces or adds
    options by their bytes, right or wrong; None leaves one out. DhcpError when a value does not fit.
    """
    options = [(MESSAGE_TYPE, bytes((message.type,))), *build_options(message, instead)]
    fields = lay_out(options, max_bytes - _IP_UDP_BYTES - _HEADER.size, overload=overload)
    try:
        header = _HEADER.pack(
            _op(message.type),
            *_ETHERNET,
            0,
            message.xid,
            message.secs,
            _BROADCAST_FLAG if message.broadcast else 0,
            packed(message.client_address),
            packed(message.your_address),
            packed(message.next_server),
            packed(message.relay),
            _mac_bytes(message.mac),
            fields.sname,
            fields.file,
            _COOKIE,
        )
    except struct.error as error:
        raise DhcpError(f"header: {error}") from None
    return (header + fields.options).ljust(MIN_BYTES, b"\0")


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


def _parse_options(raw: dict[int, bytes]) -> tuple[dict[str, Any], MessageType]:
    try:
        kind = MessageType(parse_uint(raw.pop(MESSAGE_TYPE, b""), 1))
    except ValueError as error:
        raise DhcpError(f"option {MESSAGE_TYPE}: {error}") from None
    return parse_options(raw), kind


def _mac_bytes(mac: str) -> bytes:
    try:
        raw = bytes.fromhex(mac.replace(":", ""))
    except ValueError:
        raw = b""
    if len(raw) != 6:
        raise DhcpError(f"{mac!r} is not a MAC address")
    return raw

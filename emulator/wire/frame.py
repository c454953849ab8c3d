"""Frames on an Ethernet wire: Ethernet II, ARP (RFC 826), IPv4 (RFC 791), UDP (RFC 768), TCP (RFC 9293).

IP addresses are dotted quads, link addresses ``02:00:00:00:00:01``, ports and numbers whole numbers. `decode` raises
FrameError for bytes that break the format, and nothing else; `encode` raises it for values that do not fit.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from emulator.errors import WireError

BROADCAST_LINK = "ff:ff:ff:ff:ff:ff"
NOBODY_LINK = "00:00:00:00:00:00"
"""Whom an ARP request looks for."""

LINK_BYTES, ARP_BYTES, IPV4_BYTES, UDP_BYTES, TCP_BYTES = 14, 28, 20, 8, 20
"""Lengths of the headers, without options."""

LENGTH_MAX = 0xFFFF
DEFAULT_TTL = 64  # RFC 1700

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_PSEUDO = struct.Struct("!4s4sBBH")
_UDP = struct.Struct("!HHHH")
_TCP = struct.Struct("!HHIIBBHHH")

_DONT_FRAGMENT, _MORE_FRAGMENTS, _OFFSET_UNIT_BYTES = 0x4000, 0x2000, 8
_IP_ON_ETHERNET = (1, 0x0800, 6, 4)


class FrameError(WireError):
    """Bytes that are no frame, packet or segment of the kind that was asked for."""


class EtherType(IntEnum):
    """What an Ethernet frame carries."""

    IPV4 = 0x0800
    ARP = 0x0806


class Protocol(IntEnum):
    """What an IPv4 packet carries."""

    ICMP = 1
    TCP = 6
    UDP = 17


class ArpOperation(IntEnum):
    """What an ARP packet is."""

    REQUEST = 1
    REPLY = 2


class TcpFlag(IntFlag):
    """The control bits of a TCP segment."""

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    PSH = 0x08
    ACK = 0x10
    URG = 0x20
    ECE = 0x40
    CWR = 0x80


@dataclass(frozen=True, slots=True)
class Ethernet:
    """An Ethernet II frame without its check sequence, which the hardware adds."""

    destination: str
    source: str
    type: int
    payload: bytes
    """When decoded with the padding that short frames have."""

    def encode(self) -> bytes:
        """The frame, not padded."""
        kind = _in_range(self.type, LENGTH_MAX, "type")
        return _ETHERNET.pack(_link_bytes(self.destination), _link_bytes(self.source), kind) + self.payload

    @classmethod
    def decode(cls, data: bytes) -> "Ethernet":
        """Take a frame apart."""
        destination, source, kind = _head(_ETHERNET, data, "Ethernet")
        return cls(destination.hex(":"), source.hex(":"), kind, data[LINK_BYTES:])


@dataclass(frozen=True, slots=True)
class Arp:
    """An ARP packet for IPv4 on Ethernet."""

    operation: int
    sender_link: str
    sender: str
    target_link: str
    target: str

    def encode(self) -> bytes:
        """The packet."""
        senders = _link_bytes(self.sender_link), _address_bytes(self.sender)
        targets = _link_bytes(self.target_link), _address_bytes(self.target)
        return _ARP.pack(*_IP_ON_ETHERNET, _in_range(self.operation, LENGTH_MAX, "operation"), *senders, *targets)

    @classmethod
    def decode(cls, data: bytes) -> "Arp":
        """Take a packet apart; what follows it is padding."""
        *kind, operation, sender_link, sender, target_link, target = _head(_ARP, data, "ARP")
        if tuple(kind) != _IP_ON_ETHERNET:
            raise FrameError(f"ARP: not for IPv4 on Ethernet: {kind}")
        return cls(operation, sender_link.hex(":"), _quad(sender), target_link.hex(":"), _quad(target))


@dataclass(frozen=True, slots=True)
class Ipv4:
    """An IPv4 packet or a fragment of one. Options are skipped when decoding."""

    source: str
    destination: str
    protocol: int
    payload: bytes
    id: int = 0
    ttl: int = DEFAULT_TTL
    service: int = 0
    """The byte of DSCP and ECN."""
    dont_fragment: bool = False
    more_fragments: bool = False
    offset_bytes: int = 0
    """Where the payload belongs in the whole packet: a multiple of 8."""

    @property
    def is_fragment(self) -> bool:
        """Not the whole packet."""
        return self.more_fragments or self.offset_bytes > 0

    def encode(self) -> bytes:
        """The packet, with its checksum."""
        length = _in_range(IPV4_BYTES + len(self.payload), LENGTH_MAX, "length")
        if self.offset_bytes % _OFFSET_UNIT_BYTES or not 0 <= self.offset_bytes <= LENGTH_MAX:
            raise FrameError(f"IPv4: offset {self.offset_bytes}")
        where = self.offset_bytes // _OFFSET_UNIT_BYTES
        where |= (_DONT_FRAGMENT if self.dont_fragment else 0) | (_MORE_FRAGMENTS if self.more_fragments else 0)
        single = [_in_range(value, 0xFF, name) for name, value in (("ttl", self.ttl), ("protocol", self.protocol))]
        ends = _address_bytes(self.source), _address_bytes(self.destination)
        service, number = _in_range(self.service, 0xFF, "service"), _in_range(self.id, LENGTH_MAX, "id")
        head = _IPV4.pack(0x45, service, length, number, where, *single, 0, *ends)
        return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + self.payload

    @classmethod
    def decode(cls, data: bytes) -> "Ipv4":
        """Take a packet apart; what follows its length is padding."""
        first, service, length, number, where, ttl, protocol, _, source, destination = _head(_IPV4, data, "IPv4")
        head_bytes = (first & 0x0F) * 4
        if first >> 4 != 4 or not IPV4_BYTES <= head_bytes <= length <= len(data):
            raise FrameError(f"IPv4: {len(data)} bytes, header of {head_bytes}, length {length}, version {first >> 4}")
        if checksum(data[:head_bytes]):
            raise FrameError("IPv4: wrong checksum")
        return cls(
            _quad(source),
            _quad(destination),
            protocol,
            data[head_bytes:length],
            id=number,
            ttl=ttl,
            service=service,
            dont_fragment=bool(where & _DONT_FRAGMENT),
            more_fragments=bool(where & _MORE_FRAGMENTS),
            offset_bytes=(where & 0x1FFF) * _OFFSET_UNIT_BYTES,
        )


@dataclass(frozen=True, slots=True)
class Udp:
    """A UDP datagram."""

    source_port: int
    destination_port: int
    payload: bytes

    def encode(self, source: str, destination: str) -> bytes:
        """The datagram between these IP addresses, with its checksum."""
        length = _in_range(UDP_BYTES + len(self.payload), LENGTH_MAX, "length")
        head = _UDP.pack(*_ports(self.source_port, self.destination_port), length, 0)
        found = _checksum_between(source, destination, Protocol.UDP, head + self.payload)
        return head[:6] + (found or LENGTH_MAX).to_bytes(2, "big") + self.payload  # 0 would mean: none was made

    @classmethod
    def decode(cls, data: bytes, source: str, destination: str, *, verify: bool = True) -> "Udp":
        """Take a datagram between these addresses apart.

        Without `verify` its checksum may be anything: a packet socket sees local packets before their hardware made it.
        """
        source_port, destination_port, length, made = _head(_UDP, data, "UDP")
        if not UDP_BYTES <= length <= len(data):
            raise FrameError(f"UDP: {len(data)} bytes, length {length}")
        if verify and made and _checksum_between(source, destination, Protocol.UDP, data[:length]):
            raise FrameError("UDP: wrong checksum")
        return cls(source_port, destination_port, data[UDP_BYTES:length])


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP segment."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledgment: int
    flags: TcpFlag
    window: int = LENGTH_MAX
    options: bytes = b""
    """As on the wire, padded to a multiple of 4 bytes, up to 40."""
    payload: bytes = b""

    def encode(self, source: str, destination: str) -> bytes:
        """The segment between these IP addresses, with its checksum."""
        if len(self.options) % 4 or len(self.options) > 40:
            raise FrameError(f"TCP: options of {len(self.options)} bytes")
        head = _TCP.pack(
            *_ports(self.source_port, self.destination_port),
            _in_range(self.sequence, 0xFFFF_FFFF, "sequence"),
            _in_range(self.acknowledgment, 0xFFFF_FFFF, "acknowledgment"),
            (TCP_BYTES + len(self.options)) // 4 << 4,
            _in_range(self.flags, 0xFF, "flags"),
            _in_range(self.window, LENGTH_MAX, "window"),
            0,
            0,
        )
        rest = self.options + self.payload
        found = _checksum_between(source, destination, Protocol.TCP, head + rest)
        return head[:16] + found.to_bytes(2, "big") + head[18:] + rest

    @classmethod
    def decode(cls, data: bytes, source: str, destination: str, *, verify: bool = True) -> "Tcp":
        """Take a segment between these addresses apart; `verify` as for `Udp`."""
        source_port, destination_port, sequence, acknowledgment, offset, flags, window, _, _ = _head(_TCP, data, "TCP")
        head_bytes = (offset >> 4) * 4
        if not TCP_BYTES <= head_bytes <= len(data):
            raise FrameError(f"TCP: {len(data)} bytes, header of {head_bytes}")
        if verify and _checksum_between(source, destination, Protocol.TCP, data):
            raise FrameError("TCP: wrong checksum")
        options, payload = data[TCP_BYTES:head_bytes], data[head_bytes:]
        return cls(source_port, destination_port, sequence, acknowledgment, TcpFlag(flags), window, options, payload)


def checksum(data: bytes) -> int:
    """The checksum of the internet (RFC 1071): 0 over bytes that carry theirs."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big") % LENGTH_MAX  # one's complement sums are sums modulo 65535
    return 0 if total == 0 and any(data) else LENGTH_MAX - total


def _checksum_between(source: str, destination: str, protocol: int, data: bytes) -> int:
    length = _in_range(len(data), LENGTH_MAX, "length")
    return checksum(_PSEUDO.pack(_address_bytes(source), _address_bytes(destination), 0, protocol, length) + data)


def _head(layout: struct.Struct, data: bytes, what: str) -> tuple[Any, ...]:
    if len(data) < layout.size:
        raise FrameError(f"{what}: {len(data)} bytes, a header has {layout.size}")
    return layout.unpack_from(data)


def _ports(*ports: int) -> Iterator[int]:
    for port in ports:
        yield _in_range(port, LENGTH_MAX, "port")


def _in_range(value: int, most: int, what: str) -> int:
    if not 0 <= value <= most:
        raise FrameError(f"{what} {value} does not fit")
    return value


def _link_bytes(link: str) -> bytes:
    try:
        octets = bytes.fromhex(link.replace(":", ""))
    except ValueError:
        octets = b""
    if len(octets) != 6:
        raise FrameError(f"{link!r} is no link address")
    return octets


def _address_bytes(address: str) -> bytes:
    try:
        return IPv4Address(address).packed
    except AddressValueError:
        raise FrameError(f"{address!r} is no IPv4 address") from None


def _quad(octets: bytes) -> str:
    return ".".join(map(str, octets))

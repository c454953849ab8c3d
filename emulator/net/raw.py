"""Whole Ethernet frames at an interface of Linux (packet(7)): DHCP before there is an address, and ARP."""

import asyncio
import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from emulator.errors import NetError, NetReason, UsageError
from emulator.net.namespace import Namespace
from emulator.net.packet_socket import packet_socket
from emulator.wire.address import UNSPECIFIED, Address
from emulator.wire.frame import (
    BROADCAST_LINK,
    NOBODY_LINK,
    Arp,
    ArpOperation,
    Ethernet,
    EtherType,
    FrameError,
    Ipv4,
    Protocol,
    Udp,
)

FRAME_MAX_BYTES = 65_535

_SO_ATTACH_FILTER = 26
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_AUXDATA = struct.Struct("=IIIHHHH")
_CHECKSUM_NOT_READY = 8  # TP_STATUS_CSUMNOTREADY: a neighbour on this machine left the checksum to its hardware

_LOAD_BYTE, _LOAD_HALF, _LOAD_HALF_AT_X, _LOAD_HEADER_LENGTH_TO_X = 0x30, 0x28, 0x48, 0xB1
_JUMP_IF_EQUAL, _JUMP_IF_BITS, _RETURN = 0x15, 0x45, 0x06
_FRAGMENT_BITS, _IPV4_AT = 0x3FFF, 14

Instruction = tuple[int, int, int, int]
"""Of the classic packet filter: code, jump if true, jump if false, operand."""


def open_frames(
    interface: str, namespace: Namespace | None, kind: EtherType, accept: Sequence[Instruction] = ()
) -> socket.socket:
    """A socket that does not block, for frames of one type that come to `interface` and pass the filter.

    UsageError: no such interface, or not the right to see frames.
    """

    def prepare(opened: socket.socket) -> None:
        opened.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        if accept:
            _attach(opened, accept)

    who = f"interface {interface}"
    return packet_socket(interface, namespace, kind, prepare, who=who, purpose="to send DHCP and ARP")


def to_udp_port(port: int) -> tuple[Instruction, ...]:
    """A filter that passes whole UDP datagrams in IPv4 to this port."""
    return (
        (_LOAD_BYTE, 0, 0, _IPV4_AT + 9),
        (_JUMP_IF_EQUAL, 0, 6, Protocol.UDP),
        (_LOAD_HALF, 0, 0, _IPV4_AT + 6),
        (_JUMP_IF_BITS, 4, 0, _FRAGMENT_BITS),
        (_LOAD_HEADER_LENGTH_TO_X, 0, 0, _IPV4_AT),
        (_LOAD_HALF_AT_X, 0, 0, _IPV4_AT + 2),
        (_JUMP_IF_EQUAL, 0, 1, port),
        (_RETURN, 0, 0, FRAME_MAX_BYTES),
        (_RETURN, 0, 0, 0),
    )


def _attach(opened: socket.socket, accept: Sequence[Instruction]) -> None:
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in accept))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(accept), ctypes.addressof(program)))


class UdpFrames:
    """One UDP port by whole frames: works without an IP address, and sees the link addresses of others.

    UsageError as `open_frames`.
    """

    __slots__ = ("_link", "_port", "socket")

    def __init__(self, interface: str, namespace: Namespace | None, link: str, port: int) -> None:
        self.socket = open_frames(interface, namespace, EtherType.IPV4, to_udp_port(port))
        self._link = link
        self._port = port

    def send(self, data: bytes, to: Address, source: str = UNSPECIFIED) -> None:
        """Send one datagram from this IP address, to all or to the neighbour at ``to.link``. It may get lost."""
        datagram = Udp(self._port, to.port, data).encode(source, to.host)
        packet = Ipv4(source, to.host, Protocol.UDP, datagram).encode()
        frame = Ethernet(to.link or BROADCAST_LINK, self._link, EtherType.IPV4, packet).encode()
        with contextlib.suppress(OSError):  # the link is down, the queue full, the datagram too long
            self.socket.send(frame)

    def receive(self) -> tuple[bytes, Address] | None:
        """One datagram to this host or to all; None for a frame that is none. OSError: there is no more."""
        frame, auxiliary, _, _ = self.socket.recvmsg(FRAME_MAX_BYTES, socket.CMSG_SPACE(_AUXDATA.size))
        try:
            return self._opened(frame, verify=not _is_unfinished(auxiliary))
        except FrameError:
            return None

    def close(self) -> None:
        """Hear no more."""
        self.socket.close()

    def _opened(self, frame: bytes, *, verify: bool) -> tuple[bytes, Address] | None:
        outer = Ethernet.decode(frame)
        if outer.destination not in (self._link, BROADCAST_LINK):
            return None
        packet = Ipv4.decode(outer.payload)
        datagram = Udp.decode(packet.payload, packet.source, packet.destination, verify=verify)
        return datagram.payload, Address(packet.source, datagram.source_port, link=outer.source)


def _is_unfinished(auxiliary: list[tuple[int, int, bytes]]) -> bool:
    for level, kind, data in auxiliary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(data) >= _AUXDATA.size:
            return bool(_AUXDATA.unpack_from(data)[0] & _CHECKSUM_NOT_READY)
    return False


@dataclass(frozen=True, slots=True)
class Probing:
    """How often a host asks whether an address is free, in the terms of RFC 5227 section 1.1."""

    wait_max_s: float
    """The first probe comes at any time within it."""
    probes: int
    gap_min_s: float
    gap_max_s: float
    listen_s: float
    """Time after the last probe in which somebody may still answer."""


LWIP = Probing(wait_max_s=0.0, probes=2, gap_min_s=0.5, gap_max_s=0.5, listen_s=0.5)
"""As small devices do it: the DHCP client of lwIP 2.1 asks twice, half a second apart."""

RFC_5227 = Probing(wait_max_s=1.0, probes=3, gap_min_s=1.0, gap_max_s=2.0, listen_s=2.0)
"""The constants of the RFC: 4 to 7 s."""


async def is_in_use(
    address: str, interface: str, namespace: Namespace | None, link: str, probing: Probing, rng: Random
) -> bool:
    """Whether somebody else at `interface` has `address`, or is about to take it (RFC 5227 section 2.1.1).

    `link` is our own link address. NetError NO_CARRIER or UNREACHABLE: nothing can be sent.
    """
    loop = asyncio.get_running_loop()
    probe = Ethernet(BROADCAST_LINK, link, EtherType.ARP, Arp(1, link, UNSPECIFIED, NOBODY_LINK, address).encode())
    with _arp(interface, namespace) as opened:
        when = loop.time() + rng.uniform(0.0, probing.wait_max_s)
        for left in reversed(range(probing.probes)):
            if await _heard(opened, interface, address, link, until=when):
                return True
            _send(opened, interface, probe)
            when = loop.time() + (rng.uniform(probing.gap_min_s, probing.gap_max_s) if left else probing.listen_s)
        return await _heard(opened, interface, address, link, until=when)


def announce(address: str, interface: str, namespace: Namespace | None, link: str) -> None:
    """Tell all neighbours whose address this is now (RFC 5227 section 2.3): they may remember somebody else."""
    told = Arp(ArpOperation.REQUEST, link, address, NOBODY_LINK, address)
    frame = Ethernet(BROADCAST_LINK, link, EtherType.ARP, told.encode()).encode()
    with contextlib.suppress(OSError, UsageError), open_frames(interface, namespace, EtherType.ARP) as opened:
        opened.send(frame)


def claims(arp: Arp, address: str, link: str) -> bool:
    """Whether this packet says that another host than that at `link` has `address`, or probes it as we do."""
    probes = arp.operation == ArpOperation.REQUEST and arp.sender == UNSPECIFIED and arp.target == address
    return arp.sender_link != link and (arp.sender == address or probes)


def _arp(interface: str, namespace: Namespace | None) -> socket.socket:
    try:
        return open_frames(interface, namespace, EtherType.ARP)
    except UsageError as error:  # it was there, and allowed, when the host was made
        raise NetError(NetReason.UNREACHABLE, str(error)) from None


def _send(opened: socket.socket, interface: str, probe: Ethernet) -> None:
    try:
        opened.send(probe.encode())
    except OSError as error:
        raise _lost(error, interface) from None


def _lost(error: OSError, interface: str) -> NetError:
    """Why frames neither go nor come."""
    reason = NetReason.NO_CARRIER if error.errno in (errno.ENETDOWN, errno.ENXIO) else NetReason.UNREACHABLE
    return NetError(reason, f"{interface}: {error.strerror}")


async def _heard(opened: socket.socket, interface: str, address: str, link: str, *, until: float) -> bool:
    """Whether the address is claimed before `until`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(until):
            while True:
                frame = await loop.sock_recv(opened, FRAME_MAX_BYTES)
                with contextlib.suppress(FrameError):
                    if claims(Arp.decode(Ethernet.decode(frame).payload), address, link):
                        return True
    except TimeoutError:
        return False
    except OSError as error:
        raise _lost(error, interface) from None

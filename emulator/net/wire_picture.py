"""Draws the frames that a wire at one machine's interface would show, and puts them into a capture file."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import count

from emulator.errors import WireError
from emulator.net.api import Address, Interface
from emulator.net.capture_file import CaptureFile
from emulator.net.link import Way
from emulator.net.params import MTU_BYTES
from emulator.net.route import Hop
from emulator.wire.address import BROADCAST, UNSPECIFIED
from emulator.wire.frame import (
    BROADCAST_LINK,
    IPV4_BYTES,
    NOBODY_LINK,
    Arp,
    ArpOperation,
    Ethernet,
    EtherType,
    Ipv4,
    Protocol,
    Tcp,
    Udp,
)
from emulator.wire.pcapng import Direction

NEIGHBOURS_MAX = 256
"""Neighbours whose link address is known; of more, the one that was asked for first is asked for again."""
ID_COUNT = 1 << 16

_DIRECTIONS = {Way.UP: Direction.OUTBOUND, Way.DOWN: Direction.INBOUND}


def invented_link(address: str) -> str:
    """The link address that a neighbour is shown with: locally administered, with its IP address in it."""
    return "02:5a:" + IPv4Address(address).packed.hex(":")


class WirePicture:
    """The wire at the interface of one machine.

    A packet to a neighbour is preceded by the ARP that finds it, once for as long as the machine has its address. What
    a neighbour's link address is nobody says, so it is invented. `hop` tells whether anybody takes a packet: one that
    nobody does is an ARP request without an answer.
    """

    def __init__(
        self, file: CaptureFile, name: str, link_address: str, now_ns: Callable[[], int], hop: Callable[[str], Hop]
    ) -> None:
        mac = bytes.fromhex(link_address.replace(":", ""))
        self._number = file.add_interface(name, description="drawn as Ethernet, whatever the link is", mac=mac)
        self._file = file
        self._link = link_address
        self.now_ns = now_ns
        """The time of day, in nanoseconds since 1970."""
        self._hop = hop
        self._interface: Interface | None = None
        self._network = IPv4Network(f"{UNSPECIFIED}/32")
        self._arp = True
        self._neighbours: OrderedDict[str, None] = OrderedDict()
        self._ids = {way: count(1) for way in Way}

    def use(self, interface: Interface | None, *, arp: bool) -> None:
        """The machine has this address from now on; with another one it has to find its neighbours again.

        Without `arp` there is nobody to find: LTE-M has but one other end.
        """
        self._arp = arp
        if interface == self._interface:
            return
        self._interface = interface
        self._neighbours.clear()
        if interface is not None:
            self._network = IPv4Network(f"{interface.address}/{interface.prefix_length}", strict=False)

    def hold(self) -> int:
        """A packet of now will be drawn later: until `release` of this, all others wait for it."""
        return self._file.hold(self.now_ns())

    def release(self, hold: int) -> None:
        """It has been drawn, or never will be."""
        self._file.release(hold)

    def probe(self, address: str, *, answered: bool) -> None:
        """The machine asks who has an address before it takes it (RFC 5227 section 2.1.1)."""
        self._ask(address, UNSPECIFIED, answered=answered)

    def seeks(self, to: str) -> bool:
        """Find the neighbour that takes what is for `to`; whether there is one."""
        taken = self._hop(to)
        if taken is Hop.UNKNOWN or self._interface is None:
            return False
        neighbour = self._next_hop(to)
        if self._arp and neighbour not in self._neighbours:
            self._ask(neighbour, self._interface.address, answered=taken is Hop.TAKEN)
        return taken is Hop.TAKEN

    def datagram(self, way: Way, data: bytes, local: Address, peer: Address) -> None:
        """A UDP datagram; without an address of its own the machine hears what is for all."""
        ours = local.host if local.host != UNSPECIFIED or way is Way.UP else BROADCAST
        if way is Way.UP and peer.host != BROADCAST and not self.seeks(peer.host):
            return
        source, destination = (ours, peer.host) if way is Way.UP else (peer.host, ours)
        ports = (local.port, peer.port) if way is Way.UP else (peer.port, local.port)
        try:
            for packet in self._fragments(way, source, destination, Udp(*ports, data)):
                self._draw(way, packet, self.now_ns())
        except WireError:
            self._file.missed(self._number)

    def segment(self, way: Way, segment: Tcp, local: str, peer: str, at_ns: int | None = None) -> None:
        """A TCP segment, at `at_ns` if that was not now."""
        source, destination = (local, peer) if way is Way.UP else (peer, local)
        try:
            payload = segment.encode(source, destination)
            packet = Ipv4(source, destination, Protocol.TCP, payload, id=self._id(way), dont_fragment=True)
            self._draw(way, packet, self.now_ns() if at_ns is None else at_ns)
        except WireError:
            self._file.missed(self._number)

    def _fragments(self, way: Way, source: str, destination: str, datagram: Udp) -> Iterator[Ipv4]:
        """The packets of a datagram: one, or several where it is larger than the MTU (RFC 791 section 3.2)."""
        whole, number = datagram.encode(source, destination), self._id(way)
        size = (MTU_BYTES - IPV4_BYTES) // 8 * 8
        for start in range(0, len(whole), size):
            more = start + size < len(whole)
            piece = whole[start : start + size]
            yield Ipv4(source, destination, Protocol.UDP, piece, id=number, more_fragments=more, offset_bytes=start)

    def _id(self, way: Way) -> int:
        return next(self._ids[way]) % ID_COUNT

    def _next_hop(self, to: str) -> str:
        gateway = None if self._interface is None else self._interface.gateway
        return to if gateway is None or IPv4Address(to) in self._network else gateway

    def _ask(self, address: str, sender: str, *, answered: bool) -> None:
        link, now_ns = invented_link(address), self.now_ns()
        request = Arp(ArpOperation.REQUEST, self._link, sender, NOBODY_LINK, address)
        self._put(Way.UP, Ethernet(BROADCAST_LINK, self._link, EtherType.ARP, request.encode()), now_ns)
        if answered:
            reply = Arp(ArpOperation.REPLY, link, address, self._link, sender)
            self._put(Way.DOWN, Ethernet(self._link, link, EtherType.ARP, reply.encode()), now_ns)
            self._neighbours[address] = None
            if len(self._neighbours) > NEIGHBOURS_MAX:
                self._neighbours.popitem(last=False)

    def _draw(self, way: Way, packet: Ipv4, at_ns: int) -> None:
        other = packet.destination if way is Way.UP else packet.source
        neighbour = BROADCAST_LINK if other == BROADCAST else invented_link(self._next_hop(other))
        ours = BROADCAST_LINK if packet.destination == BROADCAST else self._link
        ends = (neighbour, self._link) if way is Way.UP else (ours, neighbour)
        self._put(way, Ethernet(*ends, EtherType.IPV4, packet.encode()), at_ns)

    def _put(self, way: Way, frame: Ethernet, at_ns: int) -> None:
        self._file.put(self._number, at_ns, frame.encode(), _DIRECTIONS[way])

"""An in-memory network in the loop's own time: the same calls give the same packets at the same moments."""

import asyncio
import hashlib
from collections.abc import Callable
from random import Random

from emulator.errors import NetError, NetReason
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import WIRED, Address, Carrier, Closer, Datagrams, Interface, Stream
from emulator.net.inbox import Inbox
from emulator.net.sim_stream import SimStream
from emulator.wire.address import BROADCAST, UNSPECIFIED

LATENCY_S = 0.0005
OPERATOR = "operator"
"""The segment of chargers on LTE-M: the operator's DHCP server hears their broadcasts, the site's does not."""
EPHEMERAL_PORTS = range(49152, 65536)  # RFC 6335 section 6


class SimNet:
    """Hosts by IP address. A `segment` is a broadcast domain; between segments everything is routed.

    `rng` draws each host's first ephemeral port. Every packet takes `latency_s`; `ShapedHost` adds what a link does.
    """

    def __init__(self, rng: Random, latency_s: float = LATENCY_S) -> None:
        self.latency_s = latency_s
        self._rng = rng
        self._by_address: dict[str, SimHost] = {}
        self._by_link: dict[str, SimHost] = {}
        self._broadcast: dict[tuple[str, int], dict[_SimDatagrams, None]] = {}

    def host(
        self, name: str, address: str | None = None, *, segment: str = "site", link_address: str | None = None
    ) -> "SimHost":
        """A new machine. With `address` it has that from the start, else it takes one with `set_interface`."""
        link = link_address or _link_address_of(name)
        if link in self._by_link:
            raise ValueError(f"{name}: a host with link address {link} exists")
        host = SimHost(self, name, link, segment, first_port=self._rng.choice(EPHEMERAL_PORTS))
        self._by_link[link] = host
        if address is not None:
            host.set_interface(Interface(address))
        return host

    def take(self, address: str, host: "SimHost") -> None:
        """`host` answers for `address` from now on. Of two that claim one address the later wins, as with ARP."""
        self._by_address[address] = host

    def release(self, address: str, host: "SimHost") -> None:
        """`host` gives `address` up."""
        if self._by_address.get(address) is host:
            del self._by_address[address]

    def host_at(self, address: str) -> "SimHost | None":
        """The host that a packet to `address` reaches now."""
        host = self._by_address.get(address)
        return host if host is not None and host.up else None

    def join(self, segment: str, socket: "_SimDatagrams") -> None:
        """`socket` hears broadcasts of its segment to its port."""
        self._broadcast.setdefault((segment, socket.local.port), {})[socket] = None

    def leave(self, segment: str, socket: "_SimDatagrams") -> None:
        """`socket` hears no broadcasts any more."""
        self._broadcast.get((segment, socket.local.port), {}).pop(socket, None)

    def carry(self, data: bytes, sender: Address, to: Address, origin: "SimHost") -> None:
        """Put one datagram on the wire."""
        loop = asyncio.get_running_loop()
        if to.host == BROADCAST:
            loop.call_later(self.latency_s, self._arrive_broadcast, data, sender, to, origin)
        else:
            loop.call_later(self.latency_s, self._arrive, data, sender, to)

    def _arrive(self, data: bytes, sender: Address, to: Address) -> None:
        host = self.host_at(to.host)
        if host is not None:
            host.deliver(data, sender, to.port)

    def _arrive_broadcast(self, data: bytes, sender: Address, to: Address, origin: "SimHost") -> None:
        for socket in list(self._broadcast.get((origin.segment, to.port), ())):
            host = socket.host
            if host.up and host is not origin and to.link in ("", host.link_address):
                socket.inbox.put(data, sender)

    def knock(self, local: Address, to: Address, origin: "SimHost", answer: asyncio.Future[SimStream]) -> None:
        """A SYN arrives: the answer, if there is one, is on its way back."""
        host = self.host_at(to.host)
        if host is None or answer.done():
            return
        loop = asyncio.get_running_loop()
        serve = host.serving.get(to.port)
        if serve is None:
            loop.call_later(self.latency_s, _refuse, answer, to)
            return
        ours, theirs = (
            SimStream(origin.streams, local, to, self.latency_s),
            SimStream(host.streams, to, local, self.latency_s),
        )
        ours.join(theirs)
        theirs.join(ours)
        loop.call_later(self.latency_s, _accept, answer, ours)
        serve(theirs)


def _link_address_of(name: str) -> str:
    """A locally administered MAC that depends on the name alone, so that one more host changes no other."""
    digest = hashlib.sha256(name.encode()).digest()
    return ":".join(f"{octet:02x}" for octet in b"\x02" + digest[:5])


def _refuse(answer: asyncio.Future[SimStream], to: Address) -> None:
    if not answer.done():
        answer.set_exception(NetError(NetReason.REFUSED, str(to)))


def _accept(answer: asyncio.Future[SimStream], stream: SimStream) -> None:
    if answer.done():
        stream.abort()
    else:
        answer.set_result(stream)


class SimHost:
    """One machine on a `SimNet`. Its link is up until `link_down`."""

    def __init__(self, net: SimNet, name: str, link_address: str, segment: str, *, first_port: int) -> None:
        self.name = name
        self.link_address = link_address
        self.segment = self._home = segment
        self.interface: Interface | None = None
        self.up = True
        self.serving: dict[int, Callable[[Stream], None]] = {}
        self.streams: dict[SimStream, None] = {}
        self._net = net
        self._sockets: dict[int, _SimDatagrams] = {}
        self._next_port = first_port

    @property
    def carrier(self) -> Carrier | None:
        """A cable."""
        return WIRED if self.up else None

    async def link_up(self, mode: Mode = Mode.ETHERNET, local: Local = FACTORY) -> None:
        """Bring the link up; here there always is one. Over LTE-M the host is in the operator's segment."""
        self.up = True
        self.segment = OPERATOR if mode is Mode.LTE else self._home

    def link_down(self, *, power_cycle: bool = False) -> None:
        """Take the link down: streams end with RESET on both sides, the address is gone."""
        self.set_interface(None)
        self.up = False

    def set_interface(self, interface: Interface | None) -> None:
        """Take an address or give it up. Streams of an address that is gone end with RESET."""
        old, self.interface = self.interface, interface
        if old is not None and (interface is None or interface.address != old.address):
            self._net.release(old.address, self)
            for stream in list(self.streams):
                stream.lose()
        if interface is not None:
            self._net.take(interface.address, self)

    async def address_in_use(self, address: str) -> bool:
        """Whether another host that is up has this address. The answer is there at once."""
        return self._net.host_at(address) not in (None, self)

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        """Open a UDP socket. NetError NO_ADDRESS, or REFUSED if the port is taken."""
        if not broadcast:
            self._own_address()
        if port in self._sockets:
            raise NetError(NetReason.REFUSED, f"{self.name}: UDP port {port} is in use")
        socket = _SimDatagrams(self, self._net, port or self._free_port(), broadcast=broadcast)
        self._sockets[socket.local.port] = socket
        return socket

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        """Open a connection: TIMED_OUT if nobody has the address, REFUSED if nobody listens."""
        local = Address(self._own_address(), self._free_port())
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[SimStream] = loop.create_future()
        loop.call_later(self._net.latency_s, self._net.knock, local, to, self, answer)
        try:
            async with asyncio.timeout(timeout_s):
                stream = await answer
        except TimeoutError:
            raise NetError(NetReason.TIMED_OUT, f"{to} did not answer in {timeout_s:g} s") from None
        if self.interface is None or self.interface.address != local.host:
            stream.lose()
            raise NetError(NetReason.RESET, f"{local.host} is gone")
        return stream

    async def listen(self, port: int, serve: Callable[[Stream], None]) -> Closer:
        """Accept connections to `port`."""
        address = self._own_address()
        if port in self.serving:
            raise NetError(NetReason.REFUSED, f"{self.name}: TCP port {port} is in use")
        local = Address(address, port or self._free_port())
        self.serving[local.port] = serve
        return _SimListener(self, local)

    def deliver(self, data: bytes, sender: Address, port: int) -> None:
        """A datagram for one of our ports arrived."""
        socket = self._sockets.get(port)
        if socket is not None:
            socket.inbox.put(data, sender)

    def close_socket(self, socket: "_SimDatagrams") -> None:
        """Free the port of a socket."""
        self._sockets.pop(socket.local.port, None)

    def _own_address(self) -> str:
        if self.interface is None:
            raise NetError(NetReason.NO_ADDRESS, self.name)
        return self.interface.address

    def _free_port(self) -> int:
        port = self._next_port
        while port in self._sockets or port in self.serving:
            port = port + 1 if port + 1 in EPHEMERAL_PORTS else EPHEMERAL_PORTS[0]
        self._next_port = port + 1 if port + 1 in EPHEMERAL_PORTS else EPHEMERAL_PORTS[0]
        return port


class _SimListener:
    def __init__(self, host: SimHost, local: Address) -> None:
        self.local = local
        self._host = host

    def close(self) -> None:
        self._host.serving.pop(self.local.port, None)


class _SimDatagrams:
    def __init__(self, host: SimHost, net: SimNet, port: int, *, broadcast: bool) -> None:
        self.host = host
        self.inbox = Inbox()
        self._net = net
        self._port = port
        self._broadcast = broadcast
        self._segment = host.segment
        self._open = True
        if broadcast:
            net.join(self._segment, self)

    @property
    def local(self) -> Address:
        interface = self.host.interface
        return Address(UNSPECIFIED if interface is None else interface.address, self._port)

    def send(self, data: bytes, to: Address) -> None:
        if not self._open or not self.host.up:
            return
        if to.host == BROADCAST:
            if self._broadcast:
                local = self.local
                sender = Address(local.host, local.port, self.host.link_address)
                self._net.carry(data, sender, to, self.host)
        elif self.host.interface is not None:
            self._net.carry(data, self.local, to, self.host)

    async def receive(self) -> tuple[bytes, Address]:
        return await self.inbox.receive()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._net.leave(self._segment, self)
            self.host.close_socket(self)
            self.inbox.close()

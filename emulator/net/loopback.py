"""A `Host` on real sockets of 127.0.0.0/8, without root: every machine has an address of its own, ports are shifted."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from emulator.errors import NetError, NetReason
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import WIRED, Address, Carrier, Closer, Datagrams, Interface, Stream
from emulator.net.inbox import Inbox
from emulator.net.plan import DHCP_PORT, DNS_PORT, SHARED, LoopbackPlan, Real, claim_plan
from emulator.net.sockets import AcceptedStream, Named, SocketStream, listening_socket, net_error
from emulator.wire.address import BROADCAST, UNSPECIFIED

__all__ = ["LoopbackHost", "LoopbackPlan", "claim_plan"]

BACKLOG = 4096  # a boot storm arrives at once; the kernel's own limit is as high
DATAGRAM_MAX_BYTES = 65_535
DATAGRAMS_PER_WAKE = 16  # then others get their turn


class LoopbackHost:
    """One machine. With `address` it has that from the start.

    With `share_ports`, other processes of the same user may listen on the same ports, and the kernel spreads the
    connections over them (SO_REUSEPORT; where it does not spread, as on macOS, the last one to listen gets them all).

    Before it has an address, a host speaks to the DHCP server of the site, or over LTE-M of the operator, from
    127.0.0.1, and its socket is its link address on the wire. With an address, all its sockets are bound to it, so that
    servers see who is who.
    """

    __slots__ = (
        "_hearing",
        "_plan",
        "_share_ports",
        "_streams",
        "fixed",
        "interface",
        "link_address",
        "mode",
        "name",
        "up",
    )

    def __init__(
        self,
        plan: LoopbackPlan,
        name: str,
        link_address: str = "",
        address: str | None = None,
        *,
        share_ports: bool = False,
    ) -> None:
        self.name = name
        self.fixed = address is not None
        self.up = True
        self.mode = Mode.ETHERNET
        """Of the link that is up: it says whose DHCP server hears us."""
        self.link_address = link_address
        self.interface = None if address is None else Interface(address, 16)
        self._plan = plan
        self._share_ports = share_ports
        self._streams: set[SocketStream] = set()
        self._hearing: set[_LoopbackDatagrams] = set()

    @property
    def streams(self) -> frozenset[SocketStream]:
        """The connections that are open now."""
        return frozenset(self._streams)

    @property
    def carrier(self) -> Carrier | None:
        """A cable."""
        return WIRED if self.up else None

    async def link_up(self, mode: Mode = Mode.ETHERNET, local: Local = FACTORY) -> None:
        """Bring the link up; here there always is one."""
        self.up, self.mode = True, mode

    def link_down(self, *, power_cycle: bool = False) -> None:
        """Take the link down: streams end with RESET on both sides, the address is gone."""
        self.set_interface(None)
        self.up = False

    def set_interface(self, interface: Interface | None) -> None:
        """Take an address or give it up. Streams of an address that is gone end with RESET."""
        old, self.interface = self.interface, interface
        if (old and old.address) == (interface and interface.address):
            return
        for stream in tuple(self._streams):
            stream.lose()
        for heard in tuple(self._hearing):
            heard.rebind()

    async def address_in_use(self, address: str) -> bool:
        """Whether a server of the site has this address. Nobody answers ARP here, but its DHCP or DNS port is taken."""
        own = self.interface is not None and self.interface.address == address
        return not own and any(self._plan.is_served(Address(address, port)) for port in (DHCP_PORT, DNS_PORT))

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        """Open a UDP socket. NetError NO_ADDRESS, or REFUSED if the port is taken."""
        if not broadcast:
            self._own_address()
        heard = _LoopbackDatagrams(self, self._plan, port, broadcast=broadcast)
        try:
            heard.bind()
        except OSError as error:
            raise net_error(error, f"{self.name}: UDP port {port}") from None
        if broadcast:
            self._hearing.add(heard)
        return heard

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        """Open a connection: TIMED_OUT if nobody can have the address, REFUSED if nobody listens."""
        own, real = self._own_address(), self._plan.real(to)
        if real is None and self._plan.exists(to.host):
            raise NetError(NetReason.REFUSED, str(to))
        stream = SocketStream(self._streams, Address(own, 0), to)
        try:
            async with asyncio.timeout(timeout_s):
                await self._open(stream, real)
        except TimeoutError:
            raise NetError(NetReason.TIMED_OUT, f"{to} did not answer in {timeout_s:g} s") from None
        except OSError as error:
            raise net_error(error, to) from None
        if self.interface is None or self.interface.address != own:
            stream.lose()
            raise NetError(NetReason.RESET, f"{own} is gone")
        return stream

    async def listen(self, port: int, serve: Callable[[Stream], None]) -> Closer:
        """Accept connections to `port`. NetError NO_ADDRESS, or REFUSED if the port is taken."""
        local = Address(self._own_address(), port)
        host, real_port = self._plan.binding(local)
        listener = _Listener(self, local, self._streams, self._plan.logical, serve)
        try:
            opened = listening_socket((host, real_port), shared=self._share_ports)
            server = await asyncio.get_running_loop().create_server(listener.accept, sock=opened, backlog=BACKLOG)
        except OSError as error:
            raise net_error(error, f"{self.name}: TCP port {port}") from None
        listener.local = self._plan.bound(local, server.sockets[0].getsockname()[1])
        listener.server = server
        return listener

    def reserve(self, port: int) -> Closer:
        """Keep a TCP port for processes that share it, without listening. NetError REFUSED if it is taken."""
        local = Address(self._own_address(), port)
        try:
            held = listening_socket(self._plan.binding(local), shared=True)
        except OSError as error:
            raise net_error(error, f"{self.name}: TCP port {port}") from None
        return _Reserved(self._plan.bound(local, held.getsockname()[1]), held)

    def forget(self, heard: "_LoopbackDatagrams") -> None:
        """A socket was closed."""
        self._hearing.discard(heard)

    async def _open(self, stream: SocketStream, to: Real | None) -> None:
        loop, own = asyncio.get_running_loop(), stream.local
        if to is None:
            await loop.create_future()  # packets to nobody are never answered
        else:
            source = self._plan.binding(own)
            try:
                transport, _ = await loop.create_connection(lambda: stream, *to, local_addr=source)
            except asyncio.CancelledError:
                stream.forsake()
                raise
            stream.local = Address(own.host, transport.get_extra_info("sockname")[1])

    def _own_address(self) -> str:
        if self.interface is None:
            raise NetError(NetReason.NO_ADDRESS, self.name)
        return self.interface.address


class _Reserved:
    def __init__(self, local: Address, held: socket.socket) -> None:
        self.local = local
        self._held = held

    def close(self) -> None:
        self._held.close()


class _Listener:
    def __init__(
        self,
        host: LoopbackHost,
        local: Address,
        streams: set[SocketStream],
        named: Named,
        serve: Callable[[Stream], None],
    ) -> None:
        self.local = local
        self.server: asyncio.Server | None = None
        self._host = host
        self._streams = streams
        self._named = named
        self._serve = serve

    def accept(self) -> AcceptedStream:
        return AcceptedStream(self._streams, self.local, self._named, self._introduce)

    def _introduce(self, stream: AcceptedStream) -> None:
        if self._host.interface is None:
            stream.lose()  # the kernel does not know that our link is down
        else:
            self._serve(stream)

    def close(self) -> None:
        if self.server is not None:
            self.server.close()


class _LoopbackDatagrams:
    __slots__ = ("_broadcast", "_host", "_inbox", "_loop", "_named", "_plan", "_port", "_socket", "local")

    def __init__(self, host: LoopbackHost, plan: LoopbackPlan, port: int, *, broadcast: bool) -> None:
        self.local = Address(UNSPECIFIED, port)
        self._host = host
        self._plan = plan
        self._port = port
        self._broadcast = broadcast
        self._named = plan.asker if port == DHCP_PORT else plan.logical
        self._inbox = Inbox()
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None

    def bind(self) -> None:
        """Open the socket for the address that the host has now."""
        interface = self._host.interface
        local = Address(UNSPECIFIED if interface is None else interface.address, self._port)
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        try:
            opened.bind((SHARED, 0) if interface is None else self._plan.binding(local))
        except OSError:
            opened.close()
            raise
        self._socket = opened
        self.local = local if interface is None else self._plan.bound(local, opened.getsockname()[1])
        self._loop.add_reader(opened, self._readable)

    def rebind(self) -> None:
        """The host's address has changed. If the new one cannot be had, the socket is deaf, as on a wrong address."""
        self._unbind()
        with contextlib.suppress(OSError):
            self.bind()

    def send(self, data: bytes, to: Address) -> None:
        if self._socket is None or not self._host.up:
            return
        allowed = self._broadcast if to.host == BROADCAST else self._host.interface is not None
        real = self._plan.real(to, self._host.mode) if allowed else None
        if real is not None:
            with contextlib.suppress(OSError):  # a full buffer or no route: UDP may lose it
                self._socket.sendto(data, real)

    async def receive(self) -> tuple[bytes, Address]:
        return await self._inbox.receive()

    def close(self) -> None:
        self._unbind()
        self._host.forget(self)
        self._inbox.close()

    def _unbind(self) -> None:
        opened, self._socket = self._socket, None
        if opened is not None:
            self._loop.remove_reader(opened)
            opened.close()
            if not self._host.fixed:
                self._plan.freed(self.local)

    def _readable(self) -> None:
        for _ in range(DATAGRAMS_PER_WAKE):
            if self._socket is None:
                return
            try:
                data, (host, port) = self._socket.recvfrom(DATAGRAM_MAX_BYTES)
            except OSError:
                return  # nothing more
            if self._host.up:
                self._inbox.put(data, self._named(host, port))

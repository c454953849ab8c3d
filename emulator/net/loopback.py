"""A `Host` on real sockets of 127.0.0.0/8, without root: every machine has an address of its own, ports are shifted."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial

from emulator.errors import NetError, NetReason
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import WIRED, Address, Carrier, Closer, Interface, Stream
from emulator.net.plan import DHCP_PORT, DNS_PORT, SHARED, LoopbackPlan, Real, claim_plan
from emulator.net.socket_host import SocketDatagrams, SocketHost
from emulator.net.sockets import SocketStream, listening_socket, net_error
from emulator.wire.address import BROADCAST, UNSPECIFIED

__all__ = ["LoopbackHost", "LoopbackPlan", "claim_plan"]


class LoopbackHost(SocketHost):
    """One machine. With `address` it has that from the start.

    With `share_ports`, other processes of the same user may listen on the same ports, and the kernel spreads the
    connections over them (SO_REUSEPORT; where it does not spread, as on macOS, the last one to listen gets them all).

    Before it has an address, a host speaks to the DHCP server of the site, or over LTE-M of the operator, from
    127.0.0.1, and its socket is its link address on the wire. With an address, all its sockets are bound to it, so that
    servers see who is who.
    """

    __slots__ = ("_plan", "_share_ports", "fixed", "link_address", "mode", "up")

    def __init__(
        self,
        plan: LoopbackPlan,
        name: str,
        link_address: str = "",
        address: str | None = None,
        *,
        share_ports: bool = False,
    ) -> None:
        super().__init__(name, None if address is None else Interface(address, 16))
        self.fixed = address is not None
        self.up = True
        self.mode = Mode.ETHERNET
        """Of the link that is up: it says whose DHCP server hears us."""
        self.link_address = link_address
        self._plan = plan
        self._share_ports = share_ports

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
        self._lose_streams()
        self._rebind()

    async def address_in_use(self, address: str) -> bool:
        """Whether a server of the site has this address. Nobody answers ARP here, but its DHCP or DNS port is taken."""
        own = self.interface is not None and self.interface.address == address
        return not own and any(self._plan.is_served(Address(address, port)) for port in (DHCP_PORT, DNS_PORT))

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        """Open a connection: TIMED_OUT if nobody can have the address, REFUSED if nobody listens."""
        own, real = self._own_address(), self._plan.real(to)
        if real is None and self._plan.exists(to.host):
            raise NetError(NetReason.REFUSED, str(to))
        stream = SocketStream(self._streams, Address(own, 0), to)
        return await self._connected(stream, self._open(stream, real), timeout_s)

    async def listen(self, port: int, serve: Callable[[Stream], None]) -> Closer:
        """Accept connections to `port`. NetError NO_ADDRESS, or REFUSED if the port is taken."""
        local = Address(self._own_address(), port)
        opening = partial(listening_socket, self._plan.binding(local), shared=self._share_ports)
        return await self._serving(local, opening, self._plan.logical, serve, partial(self._plan.bound, local))

    def reserve(self, port: int) -> Closer:
        """Keep a TCP port for processes that share it, without listening. NetError REFUSED if it is taken."""
        local = Address(self._own_address(), port)
        try:
            held = listening_socket(self._plan.binding(local), shared=True)
        except OSError as error:
            raise net_error(error, f"{self.name}: TCP port {port}") from None
        return _Reserved(self._plan.bound(local, held.getsockname()[1]), held)

    def _datagrams(self, port: int, *, broadcast: bool) -> "_LoopbackDatagrams":
        return _LoopbackDatagrams(self, self._hearing, self._plan, port, broadcast=broadcast)

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


class _Reserved:
    def __init__(self, local: Address, held: socket.socket) -> None:
        self.local = local
        self._held = held

    def close(self) -> None:
        self._held.close()


class _LoopbackDatagrams(SocketDatagrams):
    __slots__ = ("_host", "_named", "_plan")

    def __init__(
        self, host: LoopbackHost, hearing: set[SocketDatagrams], plan: LoopbackPlan, port: int, *, broadcast: bool
    ) -> None:
        super().__init__(hearing, port, broadcast=broadcast)
        self._host = host
        self._plan = plan
        self._named = plan.asker if port == DHCP_PORT else plan.logical

    def bind(self) -> None:
        interface = self._host.interface
        local = Address(UNSPECIFIED if interface is None else interface.address, self._port)
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        try:
            opened.bind((SHARED, 0) if interface is None else self._plan.binding(local))
        except OSError:
            opened.close()
            raise
        self.local = local if interface is None else self._plan.bound(local, opened.getsockname()[1])
        self._listen(opened)

    def send(self, data: bytes, to: Address) -> None:
        if self._socket is None or not self._host.up:
            return
        allowed = self._broadcast if to.host == BROADCAST else self._host.interface is not None
        real = self._plan.real(to, self._host.mode) if allowed else None
        if real is not None:
            with contextlib.suppress(OSError):  # a full buffer or no route: UDP may lose it
                self._socket.sendto(data, real)

    def _unbind(self) -> None:
        was_bound = self._socket is not None
        super()._unbind()
        if was_bound and not self._host.fixed:
            self._plan.freed(self.local)

    def _arrived(self, data: bytes, host: str, port: int) -> None:
        if self._host.up:
            self._inbox.put(data, self._named(host, port))

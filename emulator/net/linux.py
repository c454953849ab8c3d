"""A `Host` on a real network interface of Linux: true ports and addresses, in any network namespace."""

import asyncio
import ctypes
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random

from emulator.errors import NetError, NetReason, UsageError
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import WIRED, Address, Carrier, Closer, Interface, Stream
from emulator.net.linux_datagrams import LinuxDatagrams
from emulator.net.linux_interface import LinuxInterface
from emulator.net.namespace import Namespace, entered
from emulator.net.raw import LWIP, Probing, UdpFrames, announce, is_in_use, open_frames
from emulator.net.socket_host import SocketHost
from emulator.net.sockets import SocketStream, listening_socket
from emulator.wire.frame import EtherType

CARRIER_WAIT_S = 5.0
"""What two ends of a cable need to agree on a speed, and a good while more."""

_TO_NOBODY = struct.pack("=H14x", socket.AF_UNSPEC)  # struct sockaddr


class LinuxHost(SocketHost):
    """One machine at `interface`, in `namespace` (None: the one that the process is in).

    Without `address` it is a charger: the interface is its own, it sets address and default route as it is told and
    takes them away at the end; all its sockets are bound to the interface. With `address` somebody else has set that
    and the link: this is a service, or a machine whose administrator cares for it.

    UsageError: no such interface, not the rights to use it, or one that has an address where a charger wants it.
    `close` ends it; a process that cannot call it leaves at most an address behind, which the next one takes away.
    """

    def __init__(
        self,
        interface: str,
        *,
        name: str,
        namespace: Namespace | None = None,
        address: Interface | None = None,
        probing: Probing = LWIP,
    ) -> None:
        super().__init__(name, address)
        self.is_service = address is not None
        self._namespace = namespace
        self._probing = probing
        self._up = True
        self._changed = asyncio.Event()
        self._link = LinuxInterface(interface, namespace)
        try:
            if not self.is_service:
                open_frames(interface, namespace, EtherType.ARP).close()  # asks for the right to do so
                self._link.own()
        except UsageError:
            self._link.close()
            raise

    @property
    def link_address(self) -> str:
        """The MAC address of the interface."""
        return self._link.link_address

    @property
    def carrier(self) -> Carrier | None:
        """A cable; None while it is pulled, or the interface is down."""
        return WIRED if self._up and self._link.is_running else None

    async def link_up(self, mode: Mode = Mode.ETHERNET, local: Local = FACTORY) -> None:
        """Set the interface up and wait for its carrier; this is a cable, whatever the mode. NetError NO_CARRIER."""
        self._link.watch(self._look)
        if not self.is_service:
            self._link.set_up(up=True)
        try:
            async with asyncio.timeout(CARRIER_WAIT_S):
                while not self._link.is_running:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise NetError(NetReason.NO_CARRIER, f"{self._link.name}: no cable") from None
        self._up = True

    def link_down(self, *, power_cycle: bool = False) -> None:
        """Take the link down: streams end with RESET, the address is gone. A charger sets its interface down."""
        self.set_interface(None)
        self._up = False
        if not self.is_service:
            with suppress(NetError):  # the interface is gone altogether
                self._link.set_up(up=False)

    def set_interface(self, interface: Interface | None) -> None:
        """Take an address with its network and default route, or give them up. NetError NO_ADDRESS: it is none.

        Streams of an address that is gone end with RESET, which is on its way before the address goes.
        """
        old, self.interface = self.interface, interface
        if old == interface:
            return
        moved = (old and old.address) != (interface and interface.address)
        if moved:
            self._lose_streams()
        if not self.is_service:
            self._set_kernel(interface, tell=moved)
        if moved:
            self._rebind()

    async def address_in_use(self, address: str) -> bool:
        """Whether somebody else answers for `address`, by ARP probes (RFC 5227 section 2.1.1)."""
        rng = Random(f"arp/{self.link_address}/{address}")  # noqa: S311 - neighbours must differ, no secret
        return await is_in_use(address, self._link.name, self._namespace, self.link_address, self._probing, rng)

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        """Open a connection. NetError NO_ADDRESS, UNREACHABLE, REFUSED, TIMED_OUT or RESET."""
        stream = LinuxStream(self._streams, Address(self._own_address(), 0), to)
        return await self._connected(stream, self._open(stream, to), timeout_s)

    async def listen(self, port: int, serve: Callable[[Stream], None]) -> Closer:
        """Accept connections to `port`. NetError NO_ADDRESS, or REFUSED if the port is taken."""
        own = self._own_address()

        def opening() -> socket.socket:
            with entered(self._namespace):
                return listening_socket((own, port))

        return await self._serving(Address(own, port), opening, Address, serve, partial(Address, own))

    def close(self) -> None:
        """Give back what was taken of the machine: address, route and state of the link. May be called twice."""
        self._lose_streams()
        self._link.close()
        self.interface, self._up = None, False

    # what its sockets ask

    def open_socket(self, kind: socket.SocketKind, *, bound: bool) -> socket.socket:
        """A socket in the namespace; one of a charger is bound to the interface in any case. OSError."""
        with entered(self._namespace):
            opened = socket.socket(socket.AF_INET, kind)
        try:
            opened.setblocking(False)
            if bound or not self.is_service:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._link.name.encode())
        except OSError:
            opened.close()
            raise
        return opened

    def open_frames(self, port: int) -> UdpFrames:
        """Frames to a UDP port at the interface. NetError UNREACHABLE."""
        try:
            return UdpFrames(self._link.name, self._namespace, self.link_address, port)
        except UsageError as error:
            raise NetError(NetReason.UNREACHABLE, str(error)) from None

    def _datagrams(self, port: int, *, broadcast: bool) -> LinuxDatagrams:
        return LinuxDatagrams(self, self._hearing, port, broadcast=broadcast)

    async def _open(self, stream: "LinuxStream", to: Address) -> None:
        loop = asyncio.get_running_loop()
        opened = self.open_socket(socket.SOCK_STREAM, bound=False)
        try:
            opened.bind((stream.local.host, 0))
            await loop.sock_connect(opened, (to.host, to.port))
            stream.local = Address(*opened.getsockname())
            await loop.create_connection(lambda: stream, sock=opened)
        except (OSError, asyncio.CancelledError):
            stream.forsake()
            loop.call_soon(opened.close)  # once the loop has stopped looking at it
            raise

    def _set_kernel(self, interface: Interface | None, *, tell: bool) -> None:
        if interface is None:
            self._link.drop()
            return
        try:
            self._link.take(interface)
        except NetError:
            self.interface = None
            raise
        if tell:
            announce(interface.address, self._link.name, self._namespace, self.link_address)

    def _look(self) -> None:
        """The state of a link has changed: if ours has lost its carrier, it is down."""
        self._changed.set()
        if self._up and not self.is_service and not self._link.is_running:
            self._up = False
            self.set_interface(None)


class LinuxStream(SocketStream):
    """A connection of a `LinuxHost`."""

    __slots__ = ()

    def _reset(self, error: NetError | None) -> None:
        """As for any: but the reset must leave before the address does, and a transport closes only some time later.

        To connect to nobody ends a TCP connection at once (connect(2), AF_UNSPEC).
        """
        opened = None if self._transport is None else self._transport.get_extra_info("socket")
        if opened is not None and opened.fileno() >= 0:
            ctypes.CDLL(None).connect(opened.fileno(), _TO_NOBODY, len(_TO_NOBODY))
        super()._reset(error)

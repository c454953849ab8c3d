"""What hosts on real sockets have in common, whatever their addresses stand for: connections, listeners, UDP."""

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Closer, Datagrams, Interface, Stream
from emulator.net.inbox import Inbox
from emulator.net.sockets import AcceptedStream, Named, SocketStream, net_error
from emulator.wire.address import UNSPECIFIED

BACKLOG = 4_096  # a boot storm arrives at once; the kernel's own limit is as high
DATAGRAM_MAX_BYTES = 65_535
DATAGRAMS_PER_WAKE = 16  # then others get their turn

StreamT = TypeVar("StreamT", bound=SocketStream)


class SocketHost(ABC):
    """A machine with an address, the connections that it has made and taken, and the sockets that hear broadcasts."""

    __slots__ = ("_hearing", "_streams", "interface", "name")

    def __init__(self, name: str, interface: Interface | None) -> None:
        self.name = name
        self.interface = interface
        self._streams: set[SocketStream] = set()
        self._hearing: set[SocketDatagrams] = set()

    @property
    def streams(self) -> frozenset[SocketStream]:
        """The connections that are open now."""
        return frozenset(self._streams)

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        """Open a UDP socket. NetError NO_ADDRESS, or REFUSED if the port is taken."""
        if not broadcast:
            self._own_address()
        heard = self._datagrams(port, broadcast=broadcast)
        try:
            heard.bind()
        except OSError as error:
            heard.close()
            raise net_error(error, f"{self.name}: UDP port {port}") from None
        except NetError:
            heard.close()
            raise
        if broadcast:
            self._hearing.add(heard)
        return heard

    @abstractmethod
    def _datagrams(self, port: int, *, broadcast: bool) -> "SocketDatagrams":
        """A UDP socket that is not bound yet."""

    async def _connected(self, stream: StreamT, opening: Awaitable[None], timeout_s: float) -> StreamT:
        """The stream, once it is open. NetError: what the kernel says, TIMED_OUT, or RESET if our address is gone."""
        own, to = stream.local.host, stream.peer
        try:
            async with asyncio.timeout(timeout_s):
                await opening
        except TimeoutError:
            raise NetError(NetReason.TIMED_OUT, f"{to} did not answer in {timeout_s:g} s") from None
        except OSError as error:
            raise net_error(error, to) from None
        if self.interface is None or self.interface.address != own:
            stream.lose()
            raise NetError(NetReason.RESET, f"{own} is gone")
        return stream

    async def _serving(
        self,
        local: Address,
        opening: Callable[[], socket.socket],
        named: Named,
        serve: Callable[[Stream], None],
        bound: Callable[[int], Address],
    ) -> Closer:
        """Serve at `local` on the socket that `opening` makes; `bound` says what its real port is. NetError REFUSED."""
        listener = _Listener(self, local, self._streams, named, serve)
        try:
            server = await asyncio.get_running_loop().create_server(listener.accept, sock=opening(), backlog=BACKLOG)
        except OSError as error:
            raise net_error(error, f"{self.name}: TCP port {local.port}") from None
        listener.local = bound(server.sockets[0].getsockname()[1])
        listener.server = server
        return listener

    def _lose_streams(self) -> None:
        for stream in tuple(self._streams):
            stream.lose()

    def _rebind(self) -> None:
        for heard in tuple(self._hearing):
            heard.rebind()

    def _own_address(self) -> str:
        if self.interface is None:
            raise NetError(NetReason.NO_ADDRESS, self.name)
        return self.interface.address


class _Listener:
    def __init__(
        self,
        host: SocketHost,
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


class SocketDatagrams(ABC):
    """A UDP port of a `SocketHost`. It leaves `hearing` when it is closed."""

    __slots__ = ("_broadcast", "_hearing", "_inbox", "_loop", "_port", "_socket", "local")

    def __init__(self, hearing: "set[SocketDatagrams]", port: int, *, broadcast: bool) -> None:
        self.local = Address(UNSPECIFIED, port)
        self._hearing = hearing
        self._port = port
        self._broadcast = broadcast
        self._inbox = Inbox()
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None

    @abstractmethod
    def bind(self) -> None:
        """Open what is needed with the address that the host has now. OSError, NetError."""

    @abstractmethod
    def send(self, data: bytes, to: Address) -> None:
        """As of `Datagrams`."""

    def rebind(self) -> None:
        """The host's address has changed. If the new one cannot be had, the socket is deaf, as on a wrong address."""
        self._unbind()
        with contextlib.suppress(OSError, NetError):
            self.bind()

    async def receive(self) -> tuple[bytes, Address]:
        return await self._inbox.receive()

    def close(self) -> None:
        self._unbind()
        self._hearing.discard(self)
        self._inbox.close()

    @abstractmethod
    def _arrived(self, data: bytes, host: str, port: int) -> None:
        """A datagram came to the socket, from this real place."""

    def _listen(self, opened: socket.socket) -> None:
        """From now on this is the socket."""
        self._socket = opened
        self._loop.add_reader(opened, self._readable, opened)

    def _unbind(self) -> None:
        """Close the socket."""
        opened, self._socket = self._socket, None
        if opened is not None:
            self._loop.remove_reader(opened)
            opened.close()

    def _readable(self, opened: socket.socket) -> None:
        for _ in range(DATAGRAMS_PER_WAKE):
            if self._socket is not opened:
                return
            try:
                data, (host, port) = opened.recvfrom(DATAGRAM_MAX_BYTES)
            except OSError:
                return  # nothing more
            self._arrived(data, host, port)

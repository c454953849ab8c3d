"""Real TCP connections as `Stream`, from the transport's callbacks: one object per connection and no task."""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from typing import cast

from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Receiver

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, 0 s
_RESETS = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)

UNREAD_BYTES, UNSENT_BYTES = 8_192, 8_192
"""What a client may have the kernel keep for a server that does not read (which Linux doubles), and a server for a
client that does not read: with thousands of clients it adds up."""
UNSENT_KERNEL_BYTES = 16_384
"""What the kernel takes beyond what is on its way to the client: without a limit, megabytes for each that does not
read. Limiting the whole buffer instead would make downloads slow."""

Named = Callable[[str, int], Address]
"""Real address and port to the address as the world knows it."""


def net_error(error: OSError, what: object) -> NetError:
    """The one place where errors of the kernel get our names."""
    detail = f"{what}: {error.strerror or error}"
    if isinstance(error, ConnectionRefusedError) or error.errno in (errno.EADDRINUSE, errno.EACCES):
        return NetError(NetReason.REFUSED, detail)
    if isinstance(error, _RESETS):
        return NetError(NetReason.RESET, detail)
    if isinstance(error, TimeoutError):
        return NetError(NetReason.TIMED_OUT, detail)
    return NetError(NetReason.UNREACHABLE, detail)


def listening_socket(place: tuple[str, int], *, shared: bool = False) -> socket.socket:
    """A TCP socket bound to an address and port, for `create_server`. OSError.

    What it accepts keeps `UNREAD_BYTES`, and `UNSENT_KERNEL_BYTES` where the kernel knows such a limit.

    `shared`: other processes of the same user may bind the same (SO_REUSEPORT).
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD_BYTES)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_KERNEL_BYTES)
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind(place)
    except OSError:
        opened.close()
        raise
    return opened


class SocketStream(asyncio.Protocol):
    """A `Stream` over a transport of asyncio or uvloop. It is in `owner` for as long as it lives."""

    __slots__ = (
        "_early",
        "_ended",
        "_error",
        "_loop",
        "_owner",
        "_read_paused",
        "_receiver",
        "_transport",
        "local",
        "peer",
    )

    def __init__(self, owner: "set[SocketStream]", local: Address, peer: Address) -> None:
        self.local = local
        self.peer = peer
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._early = b""
        self._error: NetError | None = None
        self._read_paused = False
        self._ended = False

    # Stream

    @property
    def unsent_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver
        if self._early or self._transport is None:
            self._loop.call_soon(self._deliver_early)

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._ended:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None and not self._ended:
            self._ended = True
            self._transport.close()

    def abort(self) -> None:
        self._reset(None)

    def lose(self) -> None:
        """The link below is gone: both ends see a reset."""
        self._reset(NetError(NetReason.RESET, "the link went down"))

    def forsake(self) -> None:
        """Whoever wanted this connection has given it up while it was made; uvloop does not say when that has ended."""
        self._owner.discard(self)
        self._ended = True

    def pause_reading(self) -> None:
        self._read_paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._read_paused = False
        if self._early:
            self._loop.call_soon(self._deliver_early)
        elif self._transport is not None:
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, not the class
        self._owner.add(self)

    def data_received(self, data: bytes) -> None:
        if self._receiver is not None and not self._early:
            if not self._ended:
                self._receiver.data_received(data)
        else:
            self._early += data  # one read at most: reading stops here
            if self._transport is not None:
                self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.discard(self)
        self._transport = None
        self._ended = True
        if self._error is None and isinstance(exc, OSError):
            self._error = net_error(exc, self.peer)
        if not self._early:
            self._report()

    def pause_writing(self) -> None:
        self._loop.call_soon(self._tell_room, False)  # the transport calls from inside its `write`

    def resume_writing(self) -> None:
        self._loop.call_soon(self._tell_room, True)

    def _tell_room(self, room: bool) -> None:
        if self._receiver is None:
            return
        if room:
            self._receiver.resume_writing()
        else:
            self._receiver.pause_writing()

    def _reset(self, error: NetError | None) -> None:
        transport = self._transport
        if transport is not None and self in self._owner:
            self._owner.discard(self)
            self._ended, self._error, self._early = True, error, b""
            opened = transport.get_extra_info("socket")
            if opened is not None:  # uvloop has none any more once the connection is about to end by itself
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()

    def _deliver_early(self) -> None:
        early = self._early
        if self._receiver is None or self._read_paused:
            return
        if early:
            self._early = b""
            self._receiver.data_received(early)
        if self._transport is None:
            self._report()
        elif not self._read_paused:
            self._transport.resume_reading()

    def _report(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.connection_lost(self._error)


class AcceptedStream(SocketStream):
    """The server's end: it introduces itself to `serve` when the connection is there."""

    __slots__ = ("_named", "_serve")

    def __init__(
        self, owner: set[SocketStream], local: Address, named: Named, serve: "Callable[[AcceptedStream], None]"
    ) -> None:
        super().__init__(owner, local, local)
        self._named = named
        self._serve = serve

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=UNSENT_BYTES)
        host, port = transport.get_extra_info("peername") or (self.local.host, 0)  # None if it is gone already
        self.peer = self._named(host, port)
        self._serve(self)

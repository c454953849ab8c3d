"""Serves an ASGI application over HTTPS on any `Host`: TLS of `net.tls`, HTTP of uvicorn, one adapter between.

The same server code runs in virtual time and on real sockets. Replies carry no Date and no Server header, so that the
same run gives the same bytes.
"""

import asyncio
import ssl
from collections.abc import Callable
from random import Random
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from cloud_stub.service import Service
from cloud_stub.tls_port import HandshakeFailed, TlsPort
from emulator.clock import Utc
from emulator.errors import NetError, UsageError
from emulator.faults import Fault, Injected
from emulator.net.api import Address, Host, Stream
from emulator.net.tls import TlsStream

HTTPS_PORT = 443
IDLE_LIMIT_S = 60
"""How long a connection without a request is kept."""
STOP_LIMIT_S = 1.0

ABORT = "abort"
"""In the state of a request: ends its connection at once, whatever has been sent of the reply."""

ContextOf = Callable[[str | None], ssl.SSLContext]
"""Gives a server's TLS context with the good certificate (None) or a bad one, by the name that faults call it."""

Upgrade = Callable[[TlsStream, bytes], None]
"""Takes over a connection whose client asks for WebSocket, with the head of its request."""


class HttpsServer:
    """One listening port. `failed` hears of each TLS handshake that came to nothing.

    `context` is asked for each connection if it is a function. Requests for WebSocket go to `upgrade`, with their
    connection, which is not this server's any more; without it, they are refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        context: ssl.SSLContext | Callable[[], ssl.SSLContext],
        *,
        port: int = HTTPS_PORT,
        failed: HandshakeFailed | None = None,
        upgrade: Upgrade | None = None,
    ) -> None:
        self._context: Callable[[], ssl.SSLContext] = (
            (lambda: context) if isinstance(context, ssl.SSLContext) else context
        )
        self._port = port
        self._tls = TlsPort(self.context, self.serve, self.failed, lambda: self.connections)
        self._failed = failed
        self._upgrade = upgrade
        self._config = Config(
            app,
            interface="asgi3",
            http="h11",
            ws="none" if upgrade is None else _UpgradeAsked,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            date_header=False,
            server_header=False,
            timeout_keep_alive=IDLE_LIMIT_S,
        )
        self._state = ServerState()
        self._connections: set[_Connection] = set()

    async def start(self, host: Host) -> None:
        """Listen on a host. NetError when the port is taken."""
        await self._tls.start(host, self._port)

    async def stop(self) -> None:
        """Free the port and end every connection; requests under way get `STOP_LIMIT_S` to notice."""
        self._tls.stop()
        for connection in tuple(self._connections):
            connection.abort()
        if tasks := set(self._state.tasks):
            _, late = await asyncio.wait(tasks, timeout=STOP_LIMIT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    @property
    def connections(self) -> int:
        """Those that are open, their handshake done."""
        return len(self._connections)

    def context(self) -> ssl.SSLContext:
        """What the next connection sees."""
        return self._context()

    def failed(self, stream: Stream, error: NetError) -> None:
        """A TLS handshake came to nothing, here or where connections are accepted for this server."""
        if self._failed is not None:
            self._failed(stream, error)

    def serve(self, tls: TlsStream) -> None:
        """Answer the requests of a connection whose handshake is done."""
        state = {ABORT: tls.abort}
        protocol = H11Protocol(self._config, self._state, state, _loop=asyncio.get_running_loop())
        connection = _Connection(tls, protocol, self._connections.discard, self._upgrade)
        self._connections.add(connection)
        protocol.connection_made(connection)
        tls.attach(connection)


class HttpsService(Service):
    """A service over HTTPS on port 443 of its host. Other `HttpsServer`s may serve its `app` under further names."""

    BEFORE_LOGIN: ClassVar[tuple[type[Fault], ...]] = ()
    """The faults that strike before a charger has said who it is."""

    def __init__(
        self,
        *,
        rng: Random,
        utc: Utc,
        now: Callable[[], float],
        contexts: ContextOf,
        app: ASGIApp,
        upgrade: Upgrade | None = None,
    ) -> None:
        super().__init__(rng=rng, utc=utc, now=now)
        self.app = app
        self.server = HttpsServer(
            app, lambda: contexts(self.bad_certificate()), failed=self.tls_failed, upgrade=upgrade
        )

    def bad_certificate(self) -> str | None:
        """What is wrong with the certificate that the next connection sees; None: nothing."""
        return None

    def inject(self, fault: Fault) -> Injected:
        """Make a fault active. UsageError for one that strikes before the charger is known and yet names a charger."""
        if isinstance(fault, self.BEFORE_LOGIN) and fault.who != "*":
            raise UsageError(f"who: {fault.kind} strikes before a charger has said who it is, so only all can be meant")
        return super().inject(fault)

    async def start(self, host: Host) -> None:
        await self.server.start(host)

    async def stop(self) -> None:
        await self.server.stop()

    def tls_failed(self, stream: Stream, error: NetError) -> None:
        """Put a TLS handshake that came to nothing into the history."""
        self.record(stream.peer, "TLS", str(error), reason=error.reason.value)


def abort_of(request: Request) -> Callable[[], None]:
    """What ends the connection of a request at once; nothing happens where the server offers no such thing."""
    found: Callable[[], None] | None = request.scope.get("state", {}).get(ABORT)
    return found or (lambda: None)


def sender_of(request: Request) -> Address:
    """Who sent a request; an empty address when the server does not know."""
    return Address(request.client.host, request.client.port) if request.client else Address("", 0)


class _Connection(asyncio.Transport):
    """asyncio's transport for uvicorn's protocol on one side, the `Receiver` of our stream on the other."""

    def __init__(
        self,
        stream: TlsStream,
        protocol: H11Protocol,
        ended: Callable[["_Connection"], None],
        upgrade: Upgrade | None,
    ) -> None:
        super().__init__({"peername": _pair(stream.peer), "sockname": _pair(stream.local), "sslcontext": True})
        self._stream = stream
        self._protocol = protocol
        self._ended = ended
        self._upgrade = upgrade
        self._closing = False

    def hand_over(self, request: bytes) -> None:
        """The client wants WebSocket: the connection is somebody else's from now on."""
        self._closing = True
        self._ended(self)
        assert self._upgrade is not None  # noqa: S101 - else uvicorn would have refused
        self._upgrade(self._stream, request)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Uvicorn's last word after an upgrade; the stream has its new receiver already."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._stream.write(bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._stream.close()

    def abort(self) -> None:
        self._closing = True
        self._stream.abort()

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        self._stream.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._stream.unsent_bytes

    def data_received(self, data: bytes) -> None:
        """Part of `Receiver`."""
        self._protocol.data_received(data)

    def connection_lost(self, error: NetError | None) -> None:
        """Part of `Receiver`."""
        self._closing = True
        self._ended(self)
        self._protocol.connection_lost(error)

    def pause_writing(self) -> None:
        """Part of `Receiver`."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Part of `Receiver`."""
        self._protocol.resume_writing()


class _UpgradeAsked(asyncio.Protocol):
    """What uvicorn makes in place of its own WebSocket protocols: it passes connection and request on."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self._connection: _Connection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection = transport if isinstance(transport, _Connection) else None

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.hand_over(data)


def _pair(address: Address) -> tuple[str, int]:
    return address.host, address.port

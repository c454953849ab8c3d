"""HTTPS over our own `Host`: httpcore does the HTTP, links, DNS results and Rtc-dated TLS are the charger's.

What the network does wrong arrives as an `httpx.TransportError` whose `__cause__` is the `NetError`; without one, the
peer broke HTTP itself. `net_error_of` tells which.
"""

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from emulator.clock import Rtc
from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Host, Stream
from emulator.net.reader import Reader
from emulator.net.tls import TlsStream, tls_connect

Resolve = Callable[[str], Awaitable[str]]
"""Host name to address; raises NetError."""

Contexts = Callable[[], ssl.SSLContext]
"""The TLS context for the next connection."""

CONNECTIONS_MAX = 4
CONNECT_LIMIT_S = 60.0  # where a request of its own asks for no limit

_UNUSED_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""httpcore sets ALPN on the context that it is given, and ours is shared with connections that are not HTTP."""

_HTTPX_OF_HTTPCORE: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
)
_EXPECTED = tuple(ours for ours, _ in _HTTPX_OF_HTTPCORE)


def https_client(
    host: Host,
    *,
    resolve: Resolve,
    context: ssl.SSLContext | Contexts,
    rtc: Rtc,
    timeout_s: float,
    tls_failed: Callable[[NetError], None] = lambda error: None,
) -> httpx.AsyncClient:
    """An HTTP/1.1 client on `host`, without redirects. `timeout_s` limits each connect, handshake, write and read.

    `context` is asked for each connection if it is a function; `tls_failed` hears of each handshake that failed.
    """
    contexts = (lambda: context) if isinstance(context, ssl.SSLContext) else context
    backend = _Backend(host, resolve, _Tls(contexts, rtc, tls_failed))
    return httpx.AsyncClient(transport=HostTransport(backend), timeout=timeout_s, trust_env=False)


def net_error_of(error: httpx.TransportError) -> NetError | None:
    """What the network did, or None when the peer did not speak HTTP."""
    return error.__cause__ if isinstance(error.__cause__, NetError) else None


class HostTransport(httpx.AsyncBaseTransport):
    """httpx's port, over an httpcore pool with our network backend."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        # Idle connections are not timed out: httpcore would do it by the machine's clock. The server ends them.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_UNUSED_CONTEXT,
            max_connections=CONNECTIONS_MAX,
            max_keepalive_connections=CONNECTIONS_MAX,
            keepalive_expiry=None,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the body of the reply is read as it is asked for."""
        url = request.url
        with _httpx_errors(request):
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        assert isinstance(response.stream, AsyncIterable)  # noqa: S101 - what an async pool returns
        body = _Body(response, response.stream, request)
        return httpx.Response(response.status, headers=response.headers, stream=body, extensions=response.extensions)

    async def aclose(self) -> None:
        """End every connection."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of a reply, with httpcore's errors turned into httpx's."""

    def __init__(self, response: httpcore.Response, stream: AsyncIterable[bytes], request: httpx.Request) -> None:
        self._response = response
        self._stream = stream
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors(self._request):
            async for part in self._stream:
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


@dataclass(frozen=True, slots=True)
class _Tls:
    """The charger's own TLS, whatever httpcore says."""

    contexts: Contexts
    rtc: Rtc
    failed: Callable[[NetError], None]

    async def connect(self, stream: Stream, server_name: str, *, timeout_s: float) -> TlsStream:
        try:
            return await tls_connect(
                stream, self.contexts(), server_name=server_name, rtc=self.rtc, timeout_s=timeout_s
            )
        except NetError as error:
            self.failed(error)
            raise


class _Backend(httpcore.AsyncNetworkBackend):
    """httpcore's port, over ours."""

    def __init__(self, host: Host, resolve: Resolve, tls: _Tls) -> None:
        self._host = host
        self._resolve = resolve
        self._tls = tls

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        limit_s = _limit_s(timeout)
        with _httpcore_errors(httpcore.ConnectError, httpcore.ConnectTimeout):
            address = Address(await self._resolve(host), port)
            return _Connection(Reader(await self._host.connect(address, timeout_s=limit_s)), self._tls)


class _Connection(httpcore.AsyncNetworkStream):
    """httpcore's view of one of our streams."""

    def __init__(self, reader: Reader, tls: _Tls) -> None:
        self._reader = reader
        self._tls = tls

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - as above
        with _httpcore_errors(httpcore.ReadError, httpcore.ReadTimeout):
            return await self._reader.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as above
        with _httpcore_errors(httpcore.WriteError, httpcore.WriteTimeout):
            self._reader.stream.write(buffer)
            await self._reader.drain(timeout)

    async def aclose(self) -> None:
        self._reader.stream.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
    ) -> httpcore.AsyncNetworkStream:
        with _httpcore_errors(httpcore.ConnectError, httpcore.ConnectTimeout):
            stream = await self._tls.connect(self._reader.stream, server_hostname or "", timeout_s=_limit_s(timeout))
        return _Connection(Reader(stream), self._tls)

    def get_extra_info(self, info: str) -> Any:
        """`is_readable` tells the pool that the server has ended an idle connection."""
        return self._reader.readable if info == "is_readable" else None


def _limit_s(timeout_s: float | None) -> float:
    return CONNECT_LIMIT_S if timeout_s is None else timeout_s


@contextmanager
def _httpcore_errors(other: type[Exception], timed_out: type[Exception]) -> Iterator[None]:
    """Our errors as httpcore's, so that it tidies up. The NetError is the argument: the pool cuts off causes."""
    try:
        yield
    except NetError as error:
        raise (timed_out if error.reason is NetReason.TIMED_OUT else other)(error) from error


@contextmanager
def _httpx_errors(request: httpx.Request) -> Iterator[None]:
    """httpcore's errors as httpx's, caused by the NetError if there is one."""
    try:
        yield
    except _EXPECTED as error:
        kind = next(theirs for ours, theirs in _HTTPX_OF_HTTPCORE if isinstance(error, ours))
        cause = next((argument for argument in error.args if isinstance(argument, NetError)), None)
        raise kind(str(error), request=request) from cause

"""A listening port for TLS."""

import ssl
from collections.abc import Callable

from emulator.errors import NetError
from emulator.net.api import Closer, Host, Stream
from emulator.net.tls import TlsStream, tls_accept

HANDSHAKE_LIMIT_S = 15.0
CONNECTIONS_MAX = 4096
"""Handshakes under way and connections that have come of them; one more is reset."""

HandshakeFailed = Callable[[Stream, NetError], None]


class TlsPort:
    """Gives every connection that has shaken hands to `serve`; `failed` hears of each handshake that came to nothing.

    `context` is asked for each connection. `connections` says how many are open of those that were served.
    """

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        serve: Callable[[TlsStream], None],
        failed: HandshakeFailed,
        connections: Callable[[], int],
    ) -> None:
        self._context = context
        self._serve = serve
        self._failed = failed
        self._connections = connections
        self._listener: Closer | None = None
        self._handshakes: set[Stream] = set()

    async def start(self, host: Host, port: int) -> None:
        """Listen on a host. NetError when the port is taken."""
        self._listener = await host.listen(port, self._accept)

    def stop(self) -> None:
        """Free the port, and reset who is still shaking hands."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for stream in tuple(self._handshakes):
            stream.abort()

    def _accept(self, stream: Stream) -> None:
        if len(self._handshakes) + self._connections() >= CONNECTIONS_MAX:
            stream.abort()
            return
        self._handshakes.add(stream)

        def ready(tls: TlsStream) -> None:
            self._handshakes.discard(stream)
            self._serve(tls)

        def failed(error: NetError) -> None:
            self._handshakes.discard(stream)
            self._failed(stream, error)

        tls_accept(stream, self._context(), ready, failed, timeout_s=HANDSHAKE_LIMIT_S)

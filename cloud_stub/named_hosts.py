"""Several HTTPS hosts at one address: the name that a client asks for (SNI, RFC 6066 section 3) says which one."""

import ssl
from collections.abc import Mapping

from cloud_stub.https import CONNECTIONS_MAX, HANDSHAKE_LIMIT_S, HTTPS_PORT, HttpsServer
from emulator.errors import NetError
from emulator.net.api import Closer, Host, Stream
from emulator.net.tls import TlsStream, tls_accept
from emulator.net.tls_context import Session


class NamedHosts:
    """One listening port for `servers`, by host name; the first gets the clients that ask for none of them.

    Each shows the certificate that it would show on an address of its own, faults included, and answers what comes over
    its connections. The servers are not started, but stopped they have to be.
    """

    def __init__(self, servers: Mapping[str, HttpsServer]) -> None:
        self._servers = servers
        self._first = next(iter(servers.values()))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        self._context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        self._context.sslobject_class = Session
        self._context.sni_callback = self._choose
        self._listener: Closer | None = None
        self._handshakes: set[Stream] = set()

    async def start(self, host: Host) -> None:
        """Listen on a host. NetError when the port is taken."""
        self._listener = await host.listen(HTTPS_PORT, self._accept)

    async def stop(self) -> None:
        """Free the port; the connections are the servers' affair."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for stream in tuple(self._handshakes):
            stream.abort()

    def _choose(self, session: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        if isinstance(session, Session):
            session.asked_name = name or ""
        session.context = self._server(name or "").context()

    def _server(self, name: str) -> HttpsServer:
        return self._servers.get(name.lower(), self._first)

    def _accept(self, stream: Stream) -> None:
        if len(self._handshakes) >= CONNECTIONS_MAX:
            stream.abort()
            return
        self._handshakes.add(stream)

        def ready(tls: TlsStream) -> None:
            self._handshakes.discard(stream)
            self._server(tls.info.server_name).serve(tls)

        def failed(error: NetError) -> None:
            self._handshakes.discard(stream)
            self._first.failed(stream, error)

        tls_accept(stream, self._context, ready, failed, timeout_s=HANDSHAKE_LIMIT_S)

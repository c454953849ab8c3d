"""Several HTTPS hosts at one address: the name that a client asks for (SNI, RFC 6066 section 3) says which one."""

import ssl
from collections.abc import Mapping

from cloud_stub.https import HTTPS_PORT, HttpsServer
from cloud_stub.tls_port import TlsPort
from emulator.net.api import Host
from emulator.net.tls import TlsStream
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
        self._tls = TlsPort(lambda: self._context, self._serve, self._first.failed, self._connections)

    async def start(self, host: Host) -> None:
        """Listen on a host. NetError when the port is taken."""
        await self._tls.start(host, HTTPS_PORT)

    async def stop(self) -> None:
        """Free the port; the connections are the servers' affair."""
        self._tls.stop()

    def _choose(self, session: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        if isinstance(session, Session):
            session.asked_name = name or ""
        session.context = self._server(name or "").context()

    def _server(self, name: str) -> HttpsServer:
        return self._servers.get(name.lower(), self._first)

    def _serve(self, tls: TlsStream) -> None:
        self._server(tls.info.server_name).serve(tls)

    def _connections(self) -> int:
        return sum(server.connections for server in set(self._servers.values()))

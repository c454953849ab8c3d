"""The machines of a site that take what is meant for others: a captive portal, and a proxy that inspects TLS.

Nothing comes to them until a fault of the site's router sends it there (`emulator.net.detour`).
"""

import ssl
from collections.abc import Callable
from random import Random
from typing import ClassVar

from cloud_stub.service import DatagramService, Reply, Service
from emulator.clock import Utc
from emulator.errors import NetError
from emulator.net.api import Address, Closer, Host, Stream
from emulator.net.tls import TlsStream, tls_accept
from emulator.wire.dns import Answer, DnsError, decode_query, encode_reply

PORTAL_NAME = "wrong-host.example"
"""The name that the portal redirects to and that its certificate is for: see `certs.layout.BadKind.WRONG_HOST`."""

HTTP_PORT, HTTPS_PORT, MQTTS_PORT = 80, 443, 8883
HANDSHAKE_LIMIT_S = 15.0
CONNECTIONS_MAX = 4096
TTL_S = 0  # as dnsmasq has it for names that it makes up: the answer must not outlive the log-in

Secured = Callable[[TlsStream], None]


class _Door:
    """Accepts connections on some ports of one host, with TLS or without, and keeps what is open."""

    def __init__(self, owner: Service) -> None:
        self._owner = owner
        self._listeners: list[Closer] = []
        self._streams: set[Stream] = set()

    async def open_clear(self, host: Host, port: int, serve: Callable[[Stream], None]) -> None:
        """Listen; each connection is served as it is, at most `CONNECTIONS_MAX` at a time."""
        self._listeners.append(await host.listen(port, lambda stream: self._admit(stream, serve)))

    async def open_tls(self, host: Host, port: int, context: ssl.SSLContext, serve: Secured) -> None:
        """Listen; each connection is served when its TLS handshake is through. The others go into the history."""

        def failed(stream: Stream, error: NetError) -> None:
            self.left(stream)
            self._owner.record(stream.peer, "TLS", str(error), port=port, reason=error.reason.value)

        def secured(stream: Stream, tls: TlsStream) -> None:
            self.left(stream)
            self._streams.add(tls)
            self._owner.record(tls.peer, "TLS", "accepted", port=port, server_name=tls.info.server_name)
            serve(tls)

        def handshake(stream: Stream) -> None:
            tls_accept(
                stream,
                context,
                lambda tls: secured(stream, tls),
                lambda error: failed(stream, error),
                timeout_s=HANDSHAKE_LIMIT_S,
            )

        await self.open_clear(host, port, handshake)

    def left(self, stream: Stream) -> None:
        """A connection is over."""
        self._streams.discard(stream)

    def close(self) -> None:
        """Free the ports and end every connection."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for stream in tuple(self._streams):
            stream.abort()

    def _admit(self, stream: Stream, serve: Callable[[Stream], None]) -> None:
        if len(self._streams) >= CONNECTIONS_MAX:
            stream.abort()
            return
        self._streams.add(stream)
        serve(stream)


class _Redirect:
    """The `Receiver` of one connection: whatever is asked, the answer is where to log in."""

    def __init__(self, stream: Stream, asked: Callable[[str], None], left: Callable[[Stream], None]) -> None:
        self._stream = stream
        self._asked: Callable[[str], None] | None = asked
        self._left = left
        stream.attach(self)

    def data_received(self, data: bytes) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked(data.partition(b"\r\n")[0][:80].decode("ascii", "replace"))
            self._stream.write(REDIRECT)
            self._stream.close()

    def connection_lost(self, error: NetError | None) -> None:
        self._left(self._stream)

    def pause_writing(self) -> None:
        """One short answer: nothing to pause."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""


REDIRECT = (
    f"HTTP/1.1 302 Found\r\nLocation: https://{PORTAL_NAME}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
).encode("ascii")


class Portal(DatagramService):
    """A captive portal: every name is its own, every page is its log-in page, and its certificate is in its own name.

    The certificate is from an authority that chargers trust, so that what they refuse is the name.
    """

    name: ClassVar[str] = "portal"
    port: ClassVar[int] = 53

    def __init__(
        self, *, address: str, context: ssl.SSLContext, rng: Random, utc: Utc, now: Callable[[], float]
    ) -> None:
        super().__init__(rng=rng, utc=utc, now=now)
        self._answer = Answer(addresses=(address,), ttl_s=TTL_S)
        self._context = context
        self._door = _Door(self)

    async def start(self, host: Host) -> None:
        await super().start(host)
        await self._door.open_clear(host, HTTP_PORT, self._serve_page)
        for port in (HTTPS_PORT, MQTTS_PORT):
            await self._door.open_tls(host, port, self._context, self._serve_page)

    async def stop(self) -> None:
        self._door.close()
        await super().stop()

    def answer(self, request: bytes, sender: Address) -> list[Reply]:
        try:
            question = decode_query(request).question
            data = encode_reply(request, self._answer if question.type == "A" else Answer())
        except DnsError:
            return []
        self.record(sender, f"{question.type} {question.name}", self._answer.addresses[0])
        return [Reply(data, sender)]

    def _serve_page(self, stream: Stream) -> None:
        _Redirect(stream, lambda line: self.record(stream.peer, line, "302 Found"), self._door.left)


class Proxy(Service):
    """A proxy that inspects TLS: its certificate has the right names, and its authority is one that no charger trusts.

    Who trusts it all the same is turned away after the handshake: there is nothing behind it.
    """

    name: ClassVar[str] = "proxy"

    def __init__(self, *, context: ssl.SSLContext, rng: Random, utc: Utc, now: Callable[[], float]) -> None:
        super().__init__(rng=rng, utc=utc, now=now)
        self._context = context
        self._door = _Door(self)

    async def start(self, host: Host) -> None:
        await self._door.open_tls(host, HTTPS_PORT, self._context, self._turn_away)

    async def stop(self) -> None:
        self._door.close()

    def _turn_away(self, tls: TlsStream) -> None:
        self._door.left(tls)
        tls.close()

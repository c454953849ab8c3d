"""Several HTTPS hosts behind one address: the name that a client asks for decides about certificate and answers."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from certs import CertsDir
from cloud_stub.https import HttpsServer
from cloud_stub.named_hosts import NamedHosts
from emulator.clock import Rtc, SimLoop
from emulator.errors import NetError, NetReason
from emulator.net.api import Stream
from emulator.net.http import https_client, net_error_of
from emulator.net.sim import SimHost, SimNet
from emulator.net.tls import client_context, server_context

API, DEVICES, HUB = "api.zaptec.com", "devices.zaptec.com", "zapcloud.azure-devices.net"
ADDRESS = "198.51.100.43"


class Site:
    """A client, and a machine with two HTTPS hosts, of which the certificate of the first can be bad."""

    def __init__(self, certs: CertsDir) -> None:
        net = SimNet(Random(1))
        self.certs = certs
        self.client = net.host("client", "198.51.100.9")
        self.machine: SimHost = net.host("machine", ADDRESS)
        self.bad: str | None = None
        self.failures: list[tuple[str, NetReason]] = []
        self.servers = {name: self._server(name) for name in (API, DEVICES)}
        self.front = NamedHosts(self.servers)

    async def ask(self, name: str) -> str:
        """The body of the answer of a host. NetError of the TLS handshake or the connection."""
        rtc = Rtc(lambda: 0.0, built_at=datetime(2026, 6, 1, tzinfo=UTC))
        context = client_context(self.certs.roots_pem())

        async def resolve(_name: str) -> str:
            return ADDRESS

        async with https_client(self.client, resolve=resolve, context=context, rtc=rtc, timeout_s=20) as client:
            try:
                return (await client.get(f"https://{name}/")).text
            except httpx.TransportError as error:
                reason = net_error_of(error)
                assert reason is not None, error
                raise reason from None

    def _server(self, name: str) -> HttpsServer:
        async def answer(request: Request) -> PlainTextResponse:
            return PlainTextResponse(name)

        def failed(stream: Stream, error: NetError) -> None:
            self.failures.append((name, error.reason))

        def context() -> ssl.SSLContext:
            return server_context(*(self.certs.bad(self.bad) if self.bad and name == API else self.certs.server(name)))

        return HttpsServer(Starlette(routes=[Route("/", answer)]), context, failed=failed)


def play(certs: CertsDir, story: Callable[[Site], Awaitable[None]]) -> None:
    """Run a story in virtual time, with the machine up."""

    async def run() -> None:
        site = Site(certs)
        await site.front.start(site.machine)
        await story(site)
        await site.front.stop()
        for server in site.servers.values():
            await server.stop()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(run())


def test_each_name_has_its_own_certificate_and_answers(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        assert [await site.ask(name) for name in (API, DEVICES, API)] == [API, DEVICES, API]

    play(certs, story)


def test_who_asks_for_a_name_that_is_not_there_sees_the_first(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        with pytest.raises(NetError) as refused:
            await site.ask(HUB)
        assert refused.value.reason is NetReason.TLS_WRONG_HOST

    play(certs, story)


def test_a_bad_certificate_of_one_host_is_none_of_the_others(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        site.bad = "expired"
        with pytest.raises(NetError) as refused:
            await site.ask(API)
        assert refused.value.reason is NetReason.TLS_EXPIRED
        assert await site.ask(DEVICES) == DEVICES
        assert [name for name, _ in site.failures] == [API]

    play(certs, story)


def test_a_stopped_front_lets_nobody_in(certs: CertsDir) -> None:
    async def story(site: Site) -> None:
        await site.front.stop()
        with pytest.raises(NetError) as refused:
            await site.ask(API)
        assert refused.value.reason is NetReason.REFUSED

    play(certs, story)

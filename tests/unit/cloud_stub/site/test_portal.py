"""The machines that a site puts in the way: a captive portal and a proxy that inspects TLS."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from certs.layout import HUB_HOST, CertsDir
from cloud_stub.site.portal import CONNECTIONS_MAX, PORTAL_NAME, Portal, Proxy
from emulator.clock import Rtc, SimLoop
from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Host, Interface
from emulator.net.reader import Reader
from emulator.net.sim import SimNet
from emulator.net.tls import TlsStream, client_context, server_context, tls_connect
from emulator.wire.dns import Query, Question, decode_reply, encode_query

EPOCH = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
PORTAL, PROXY = "10.0.0.80", "10.0.0.81"


class Guest:
    """Somebody at the guest network, and what the two machines saw."""

    def __init__(self, host: Host, certs: CertsDir, portal: Portal, proxy: Proxy) -> None:
        self.host = host
        self.certs = certs
        self.portal = portal
        self.proxy = proxy

    async def secured(self, to: Address, server_name: str, roots_pem: str | None = None) -> TlsStream:
        now = asyncio.get_running_loop().time
        return await tls_connect(
            await self.host.connect(to, timeout_s=5),
            client_context(roots_pem or self.certs.roots_pem()),
            server_name=server_name,
            rtc=Rtc(now, built_at=EPOCH),
            timeout_s=5,
        )

    def seen(self, at: Portal | Proxy) -> list[tuple[str, str]]:
        return [(exchange.request, exchange.reply) for exchange in at.history]


def visit(certs: CertsDir, story: Callable[[Guest], Awaitable[None]]) -> None:
    async def told() -> None:
        net = SimNet(Random(1))
        common: dict[str, Any] = {
            "rng": Random(1),
            "utc": lambda: EPOCH,
            "now": asyncio.get_running_loop().time,
        }
        portal = Portal(address=PORTAL, context=server_context(*certs.bad("wrong_host")), **common)
        proxy = Proxy(context=server_context(*certs.bad("intercepted")), **common)
        machines = (portal, net.host("portal", PORTAL)), (proxy, net.host("proxy", PROXY))
        host = net.host("guest")
        host.set_interface(Interface("10.0.16.1"))
        for _ in range(2):  # every service can be stopped and started again
            for service, machine in machines:
                await service.start(machine)
            await story(Guest(host, certs, portal, proxy))
            for service, _machine in machines:
                await service.stop()
            await asyncio.sleep(1)
            assert not host.streams
            portal.history.clear()
            proxy.history.clear()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(told())


async def reason_of(attempt: Awaitable[Any]) -> NetReason:
    with pytest.raises(NetError) as caught:
        await attempt
    return caught.value.reason


def test_every_name_is_the_portal_s_and_only_for_now(certs: CertsDir) -> None:
    async def story(guest: Guest) -> None:
        socket = await guest.host.udp()
        for name in (HUB_HOST, "no.pool.ntp.org", "nobody.example"):
            socket.send(encode_query(Query(7, Question(name))), Address(PORTAL, 53))
            data, _ = await socket.receive()
            reply = decode_reply(data)
            assert (reply.query_id, reply.addresses, reply.ttl_s) == (7, (PORTAL,), 0)
        socket.send(b"garbage", Address(PORTAL, 53))
        socket.close()
        await asyncio.sleep(0.1)
        assert guest.seen(guest.portal)[0] == (f"A {HUB_HOST}", PORTAL)
        assert len(guest.portal.history) == 3

    visit(certs, story)


def test_who_asks_in_clear_is_told_where_to_log_in(certs: CertsDir) -> None:
    async def story(guest: Guest) -> None:
        page = Reader(await guest.host.connect(Address(PORTAL, 80), timeout_s=5))
        page.stream.write(b"GET /generate_204 HTTP/1.1\r\nHost: example.org\r\n\r\n")
        answer = await page.read(1000, 5)
        assert answer.startswith(b"HTTP/1.1 302 Found\r\nLocation: https://" + PORTAL_NAME.encode())
        assert await page.read(1000, 5) == b""
        assert guest.seen(guest.portal) == [("GET /generate_204 HTTP/1.1", "302 Found")]

    visit(certs, story)


@pytest.mark.parametrize("port", [443, 8883])
def test_the_portal_s_certificate_is_in_its_own_name(certs: CertsDir, port: int) -> None:
    async def story(guest: Guest) -> None:
        place = Address(PORTAL, port)
        assert await reason_of(guest.secured(place, HUB_HOST)) is NetReason.TLS_WRONG_HOST
        page = Reader(await guest.secured(place, PORTAL_NAME))
        page.stream.write(b"GET / HTTP/1.1\r\n\r\n")
        assert b"302 Found" in await page.read(1000, 5)
        await asyncio.sleep(1)
        refused, accepted, redirected = guest.seen(guest.portal)
        assert refused[0] == accepted[0] == "TLS"
        assert "alert" in refused[1]
        assert accepted[1] == "accepted"
        assert redirected == ("GET / HTTP/1.1", "302 Found")

    visit(certs, story)


def test_the_proxy_has_the_right_names_from_an_authority_that_nobody_knows(certs: CertsDir) -> None:
    async def story(guest: Guest) -> None:
        place = Address(PROXY, 443)
        assert await reason_of(guest.secured(place, HUB_HOST)) is NetReason.TLS_UNKNOWN_CA
        await asyncio.sleep(1)
        ((request, reply),) = guest.seen(guest.proxy)
        assert request == "TLS"
        assert "unknown" in reply, "the charger said why"

    visit(certs, story)


def test_one_connection_too_many_is_turned_away(certs: CertsDir) -> None:
    async def story(guest: Guest) -> None:
        place = Address(PORTAL, 80)
        for _ in range(CONNECTIONS_MAX):
            await guest.host.connect(place, timeout_s=5)
        turned_away = Reader(await guest.host.connect(place, timeout_s=5))
        assert await reason_of(turned_away.read(1, 5)) is NetReason.RESET

    visit(certs, story)


def test_what_is_open_ends_when_they_stop(certs: CertsDir) -> None:
    async def story(guest: Guest) -> None:
        for port in (80, 443):
            await guest.host.connect(Address(PORTAL, port), timeout_s=5)
        await guest.host.connect(Address(PROXY, 443), timeout_s=5)

    visit(certs, story)

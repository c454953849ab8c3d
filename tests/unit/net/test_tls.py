"""TLS over a simulated network: what the charger accepts, what it refuses, and what the server learns of it."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from certs.layout import HUB_HOST, CertsDir
from emulator.clock import Rtc
from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Stream
from emulator.net.reader import Reader
from emulator.net.sim import SimHost, SimNet
from emulator.net.tls import TlsStream, client_context, server_context, tls_accept, tls_connect
from tests.unit.net.virtual_time import run

HUB = Address("10.0.0.1", 8883)
TODAY = datetime(2026, 6, 1, tzinfo=UTC)
TLS_1_1 = (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1)
TLS_1_2 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
TLS_1_3 = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)


class World:
    """A hub that serves TLS and a charger with a clock. The server's side of each handshake is on record."""

    def __init__(self, context: ssl.SSLContext, *, today: datetime = TODAY) -> None:
        net = SimNet(Random(1))
        self.hub: SimHost = net.host("hub", HUB.host)
        self.charger: SimHost = net.host("charger", "10.0.0.2")
        self.rtc = Rtc(asyncio.get_running_loop().time, built_at=today)
        self.accepted: list[TlsStream] = []
        self.failures: list[NetError] = []
        self._context = context

    async def serve(self) -> None:
        await self.hub.listen(HUB.port, self._serve)

    def _serve(self, stream: Stream) -> None:
        tls_accept(stream, self._context, self.accepted.append, self.failures.append, timeout_s=20)

    async def connect(self, roots_pem: str, *, server_name: str = HUB_HOST) -> TlsStream:
        stream = await self.charger.connect(HUB, timeout_s=5)
        return await tls_connect(stream, client_context(roots_pem), server_name=server_name, rtc=self.rtc, timeout_s=15)

    async def refusal(self, roots_pem: str, *, server_name: str = HUB_HOST) -> tuple[NetError, NetError | None]:
        """The charger's error, and what the server has learnt a second later."""
        with pytest.raises(NetError) as caught:
            await self.connect(roots_pem, server_name=server_name)
        await asyncio.sleep(1)
        assert not self.hub.streams and not self.charger.streams, "a refused connection is ended"
        return caught.value, self.failures.pop() if self.failures else None


async def world_with(
    chain_and_key: tuple[Path, Path],
    *,
    today: datetime = TODAY,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = TLS_1_2,
) -> World:
    world = World(server_context(*chain_and_key, versions=versions), today=today)
    await world.serve()
    return world


def test_a_charger_and_the_hub_agree_on_tls_1_2_and_exchange_data(certs: CertsDir) -> None:
    async def story() -> None:
        world = await world_with(certs.server(HUB_HOST))
        tls = await world.connect(certs.roots_pem())
        reader = Reader(tls)
        assert tls.info.version == "TLSv1.2"
        assert tls.info.server_name == HUB_HOST
        assert tls.local.host == "10.0.0.2" and tls.peer == HUB
        tls.write(b"hello")
        await asyncio.sleep(0.1)
        (server,) = world.accepted
        assert server.info == tls.info, "the server knows the name that the client asked for"
        served = Reader(server)
        assert await served.read(100, 1) == b"hello"
        server.write(b"x" * 100_000)
        received = b""
        while len(received) < 100_000:
            received += await reader.read(65536, 1)
        server.close()
        assert await reader.read(10, 1) == b""
        assert await served.read(10, 1) == b""

    run(story())


def test_data_that_comes_with_the_end_of_the_handshake_waits_for_its_receiver(certs: CertsDir) -> None:
    async def story() -> None:
        world = await world_with(certs.server(HUB_HOST))
        tls = await world.connect(certs.roots_pem())
        tls.write(b"first")
        tls.close()
        await asyncio.sleep(1)
        served = Reader(world.accepted[0])
        assert await served.read(100, 1) == b"first"
        assert await served.read(100, 1) == b""

    run(story())


@pytest.mark.parametrize(
    ("kind", "reason", "alert"),
    [
        ("unknown_root", NetReason.TLS_UNKNOWN_CA, "unknown_ca"),
        ("intercepted", NetReason.TLS_UNKNOWN_CA, "unknown_ca"),
        ("wrong_host", NetReason.TLS_WRONG_HOST, "bad_certificate"),
        ("expired", NetReason.TLS_EXPIRED, "certificate_expired"),
        ("not_yet_valid", NetReason.TLS_NOT_YET_VALID, "certificate_expired"),
    ],
)
def test_a_bad_certificate_has_its_own_reason_and_the_server_gets_the_alert(
    certs: CertsDir, kind: str, reason: NetReason, alert: str
) -> None:
    async def story() -> None:
        world = await world_with(certs.bad(kind))
        error, learnt = await world.refusal(certs.roots_pem())
        assert error.reason is reason
        assert learnt is not None and (learnt.reason, learnt.detail) == (NetReason.TLS_ALERT, alert)
        assert world.accepted == []

    run(story())


def test_the_name_is_what_counts_not_the_address(certs: CertsDir) -> None:
    async def story() -> None:
        world = await world_with(certs.server(HUB_HOST))
        error, _ = await world.refusal(certs.roots_pem(), server_name="api.zaptec.com")
        assert error.reason is NetReason.TLS_WRONG_HOST

    run(story())


def test_the_rtc_judges_dates_so_moving_it_changes_the_verdict_on_one_certificate(certs: CertsDir) -> None:
    async def story() -> None:
        world = await world_with(certs.server(HUB_HOST))
        tls = await world.connect(certs.roots_pem())
        Reader(world.accepted[0])
        tls.close()
        world.rtc.set(datetime(1970, 1, 1, tzinfo=UTC), source="test")
        early, _ = await world.refusal(certs.roots_pem())
        assert early.reason is NetReason.TLS_NOT_YET_VALID
        assert "the clock shows 1970-01-01" in early.detail and HUB_HOST in early.detail
        world.rtc.set(datetime(2090, 1, 1, tzinfo=UTC), source="test")
        late, _ = await world.refusal(certs.roots_pem())
        assert late.reason is NetReason.TLS_EXPIRED
        world.rtc.set(TODAY, source="test")
        await world.connect(certs.roots_pem())

    run(story())


def test_an_expired_certificate_is_fine_while_the_clock_is_behind(certs: CertsDir) -> None:
    async def story() -> None:
        world = await world_with(certs.bad("expired"), today=datetime(2020, 6, 1, tzinfo=UTC))
        assert (await world.connect(certs.roots_pem())).info.version == "TLSv1.2"

    run(story())


@pytest.mark.parametrize(
    ("versions", "seen_by_server"),
    [
        pytest.param(TLS_1_1, NetReason.TLS_BROKEN, id="1.1-only"),  # it cannot read an alert in a 1.2 record
        pytest.param(TLS_1_3, NetReason.TLS_VERSION, id="1.3-only"),
    ],
)
def test_a_server_of_another_version_is_refused(
    certs: CertsDir, versions: tuple[ssl.TLSVersion, ssl.TLSVersion], seen_by_server: NetReason
) -> None:
    async def story() -> None:
        world = await world_with(certs.server(HUB_HOST), versions=versions)
        error, learnt = await world.refusal(certs.roots_pem())
        assert error.reason is NetReason.TLS_VERSION
        assert learnt is not None and learnt.reason is seen_by_server

    run(story())


async def refused_by(world: World, certs: CertsDir, answer: bytes | None, *, reset: bool = False) -> NetError:
    """What the charger says of a server that is no TLS server: it says `answer` (None: nothing) and ends, or not."""

    def serve(stream: Stream) -> None:
        reader = Reader(stream)
        if answer:
            stream.write(answer)
        elif reset:
            stream.abort()
        elif answer is not None:
            stream.close()
        assert reader is not None

    await world.hub.listen(HUB.port, serve)
    with pytest.raises(NetError) as caught:
        await world.connect(certs.roots_pem())
    return caught.value


def silent_world(certs: CertsDir) -> World:
    return World(server_context(*certs.server(HUB_HOST)))


@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x03\x00\x04\x02\x00\x00\x00", b"\x00" * 64]
)
def test_garbage_instead_of_a_server_hello_is_tls_broken(certs: CertsDir, garbage: bytes) -> None:
    async def story() -> None:
        error = await refused_by(silent_world(certs), certs, garbage)
        assert error.reason is NetReason.TLS_BROKEN

    run(story())


def test_an_alert_instead_of_a_server_hello_is_named(certs: CertsDir) -> None:
    async def story() -> None:
        error = await refused_by(silent_world(certs), certs, bytes.fromhex("15030300020228"))
        assert (error.reason, error.detail) == (NetReason.TLS_ALERT, "handshake_failure")

    run(story())


def test_a_silent_server_times_out(certs: CertsDir) -> None:
    async def story() -> None:
        error = await refused_by(silent_world(certs), certs, None)
        assert error.reason is NetReason.TIMED_OUT
        assert 15 <= asyncio.get_running_loop().time() < 16

    run(story())


def test_a_server_that_hangs_up_in_the_handshake_is_closed_or_reset(certs: CertsDir) -> None:
    async def story() -> None:
        assert (await refused_by(silent_world(certs), certs, b"")).reason is NetReason.CLOSED
        assert (await refused_by(silent_world(certs), certs, None, reset=True)).reason is NetReason.RESET

    run(story())


def test_the_server_gives_up_on_a_silent_client_and_on_one_that_speaks_no_tls(certs: CertsDir) -> None:
    async def story() -> None:
        world = await world_with(certs.server(HUB_HOST))
        silent = Reader(await world.charger.connect(HUB, timeout_s=5))
        with pytest.raises(NetError, match="reset"):
            await silent.read(1, 30)
        assert world.failures.pop().reason is NetReason.TIMED_OUT
        chatty = Reader(await world.charger.connect(HUB, timeout_s=5))
        chatty.stream.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await chatty.read(100, 1) == b""
        assert world.failures.pop().reason is NetReason.TLS_BROKEN
        gone = await world.charger.connect(HUB, timeout_s=5)
        gone.close()
        await asyncio.sleep(1)
        assert world.failures.pop().reason is NetReason.CLOSED

    run(story())


def test_an_end_without_close_notify_is_not_in_order(certs: CertsDir) -> None:
    async def story() -> None:
        world = await world_with(certs.server(HUB_HOST))
        below = await world.charger.connect(HUB, timeout_s=5)
        tls = await tls_connect(
            below, client_context(certs.roots_pem()), server_name=HUB_HOST, rtc=world.rtc, timeout_s=15
        )
        tls.write(b"cut")
        below.close()
        await asyncio.sleep(1)
        served = Reader(world.accepted[0])
        with pytest.raises(NetError) as caught:
            await served.read(100, 1)
            await served.read(100, 1)
        assert caught.value.reason is NetReason.CLOSED

    run(story())


def test_a_flipped_bit_breaks_the_connection(certs: CertsDir) -> None:
    async def story() -> None:
        world = await world_with(certs.server(HUB_HOST))
        below = await world.charger.connect(HUB, timeout_s=5)
        reader = Reader(
            await tls_connect(
                below, client_context(certs.roots_pem()), server_name=HUB_HOST, rtc=world.rtc, timeout_s=15
            )
        )
        await asyncio.sleep(1)
        served = Reader(world.accepted[0])
        below.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(NetError) as caught:
            await served.read(100, 1)
        assert caught.value.reason is NetReason.TLS_BROKEN
        with pytest.raises(NetError) as learnt:
            await reader.read(100, 1)
        assert (learnt.value.reason, learnt.value.detail) == (NetReason.TLS_ALERT, "bad_record_mac")

    run(story())


def test_back_pressure_passes_through_both_ways(certs: CertsDir) -> None:
    async def story() -> None:
        world = await world_with(certs.server(HUB_HOST))
        reader = Reader(await world.connect(certs.roots_pem()))
        await asyncio.sleep(1)
        served = Reader(world.accepted[0])
        reader.stream.write(bytes(1_000_000))
        await asyncio.sleep(1)
        assert reader.stream.unsent_bytes > 500_000, "nobody reads, so the bytes stay with the sender"
        with pytest.raises(NetError, match="no room to write"):
            await reader.drain(1)
        received = 0
        while received < 1_000_000:
            received += len(await served.read(65536, 1))
        await reader.drain(1)
        assert reader.stream.unsent_bytes == 0

    run(story())


def test_a_cancelled_handshake_leaves_no_connection(certs: CertsDir) -> None:
    async def story() -> None:
        world = silent_world(certs)
        served: list[Stream] = []
        await world.hub.listen(HUB.port, served.append)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await world.connect(certs.roots_pem())
        await asyncio.sleep(1)
        assert not world.hub.streams and not world.charger.streams

    run(story())

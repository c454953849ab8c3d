"""A host behind a troubled link and a firewall, in virtual time."""

import asyncio
from datetime import UTC, datetime

import pytest

from certs.layout import HUB_HOST, CertsDir
from emulator.clock import Rtc
from emulator.errors import NetError, NetReason
from emulator.net.api import Stream
from emulator.net.firewall import Block
from emulator.net.link_faults import Slow
from emulator.net.params import LinkParams
from emulator.net.reader import Reader
from emulator.net.shaped_stream import HIGH_WATER_BYTES
from emulator.net.tls import TlsStream, client_context, server_context, tls_accept, tls_connect
from tests.unit.net.shaped_site import DNS, HUB, Site, read_exactly
from tests.unit.net.virtual_time import now, reason_of, run, serve

WIFI = LinkParams(delay_s=0.02, jitter_s=0.03, loss=0.05, rate_bps=1e6)
LTE = LinkParams(delay_s=0.06, jitter_s=0.03, loss=0.005, rate_bps=375e3)


def test_a_dropped_port_keeps_the_charger_waiting_and_a_rejected_one_refuses_at_once() -> None:
    async def story() -> None:
        site = Site()
        await site.hub.listen(HUB.port, serve)
        undo = site.firewall.inject(Block(protocol="tcp", port=8883))
        assert await reason_of(site.charger.connect(HUB, timeout_s=10)) is NetReason.TIMED_OUT
        assert now() == 10
        undo()
        undo = site.firewall.inject(Block(host="hub.example", action="reject"))
        assert await reason_of(site.charger.connect(HUB, timeout_s=10)) is NetReason.REFUSED
        assert now() == 10
        undo()
        await site.charger.connect(HUB, timeout_s=10)
        assert len(site.hub.streams) == 1, "the blocked attempts never reached the hub"

    run(story())


def test_a_connect_gets_through_when_the_firewall_opens_in_time() -> None:
    async def story() -> None:
        site = Site()
        await site.hub.listen(HUB.port, serve)
        site.firewall.inject(Block(protocol="tcp", for_s=5))
        await site.charger.connect(HUB, timeout_s=30)
        assert now() == 7, "SYNs at 0, 1, 3 and 7 s"

    run(story())


def test_udp_that_is_blocked_vanishes_either_way() -> None:
    async def story() -> None:
        site = Site()
        served, asked = await site.dns.udp(53), await site.charger.udp()
        for action in ("drop", "reject"):
            undo = site.firewall.inject(Block(protocol="udp", port=53, action=action))  # type: ignore[arg-type]
            asked.send(b"blocked", DNS)
            undo()
        asked.send(b"free", DNS)
        assert (await served.receive())[0] == b"free"

    run(story())


def test_datagrams_take_the_delay_both_ways() -> None:
    async def story() -> None:
        site = Site(LinkParams(delay_s=0.25))
        served, asked = await site.dns.udp(53), await site.charger.udp()
        asked.send(b"?", DNS)
        question, sender = await served.receive()
        assert now() == 0.25
        served.send(question, sender)
        assert await asked.receive() == (b"?", DNS)
        assert now() == 0.5

    run(story())


def test_giving_up_on_a_slow_answer_does_not_lose_it() -> None:
    async def story() -> None:
        site = Site(LinkParams(delay_s=1.0))
        served, asked = await site.dns.udp(53), await site.charger.udp()
        asked.send(b"?", DNS)
        served.send(*await served.receive())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asked.receive()
        assert (await asked.receive())[0] == b"?"
        assert now() == 2.0

    run(story())


def test_a_closed_socket_wakes_its_reader_and_sends_nothing_more() -> None:
    async def story() -> None:
        site = Site(LinkParams(delay_s=1.0))
        served, asked = await site.dns.udp(53), await site.charger.udp()
        asked.send(b"too late", DNS)
        waiting = asyncio.ensure_future(asked.receive())
        await asyncio.sleep(0.5)
        asked.close()
        assert await reason_of(asyncio.wait_for(waiting, 5)) is NetReason.CLOSED
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await served.receive()

    run(story())


def test_a_connection_takes_a_round_trip_and_bytes_take_the_delay() -> None:
    async def story() -> None:
        site = Site(LinkParams(delay_s=0.25))
        ours, theirs = await site.connected()
        assert now() == 0.5
        ours.stream.write(b"hello")
        assert await theirs.read(100) == b"hello"
        assert now() == 0.75
        theirs.stream.write(b"hello yourself")
        assert await ours.read(100) == b"hello yourself"
        assert now() == 1.0
        theirs.stream.close()
        assert await ours.read(100) == b""

    run(story())


def test_a_link_too_slow_for_the_budget_is_timed_out() -> None:
    async def story() -> None:
        site = Site(LinkParams(delay_s=20))
        assert await reason_of(site.charger.connect(HUB, timeout_s=10)) is NetReason.TIMED_OUT
        assert now() == 10

    run(story())


@pytest.mark.parametrize("params", [WIFI, LTE, LinkParams(loss=0.3, jitter_s=0.5)])
def test_loss_and_jitter_never_reorder_or_lose_a_stream_s_bytes(params: LinkParams) -> None:
    async def story() -> None:
        site = Site(params)
        ours, theirs = await site.connected()
        sent = bytes(range(256)) * 400
        ours.stream.write(sent)
        theirs.stream.write(sent[::-1])
        assert await read_exactly(theirs, len(sent)) == sent
        assert await read_exactly(ours, len(sent)) == sent[::-1]
        assert now() > 0.5, "it took its time"
        ours.stream.close()
        assert await theirs.read(1, 60) == b"" == await ours.read(1, 60)

    run(story())


def test_a_rate_limits_how_fast_bytes_get_through_and_holds_the_writer_back() -> None:
    async def story() -> None:
        site = Site(LinkParams(rate_bps=1e6))
        ours, theirs = await site.connected()
        size = 1_000_000
        ours.stream.write(bytes(size))
        assert ours.stream.unsent_bytes > HIGH_WATER_BYTES
        assert await reason_of(ours.drain(1)) is NetReason.TIMED_OUT
        await read_exactly(theirs, size)
        assert 8 <= now() <= 12, "1 MB over 1 Mbit/s"
        await ours.drain(1)
        assert ours.stream.unsent_bytes == 0

    run(story())


def test_a_fast_peer_is_held_back_by_a_slow_link() -> None:
    async def story() -> None:
        site = Site(LinkParams(rate_bps=1e6))
        ours, theirs = await site.connected()
        theirs.stream.write(bytes(1_000_000))
        await asyncio.sleep(1)
        assert theirs.stream.unsent_bytes > 500_000
        await read_exactly(ours, 1_000_000)

    run(story())


def test_a_reader_that_pauses_gets_nothing_until_it_resumes() -> None:
    async def story() -> None:
        site = Site(LinkParams(delay_s=0.25))
        ours, theirs = await site.connected()
        theirs.stream.write(b"in flight")
        ours.stream.pause_reading()
        assert await reason_of(ours.read(1, 5)) is NetReason.TIMED_OUT
        ours.stream.resume_reading()
        assert await ours.read(100, 5) == b"in flight"

    run(story())


def test_a_firewall_that_closes_stalls_a_connection_and_one_that_opens_lets_it_go_on() -> None:
    async def story() -> None:
        site = Site()
        ours, theirs = await site.connected()
        for action in ("drop", "reject"):
            undo = site.firewall.inject(Block(port=8883, action=action))  # type: ignore[arg-type]
            ours.stream.write(b"one ")
            ours.stream.write(b"two")
            theirs.stream.write(b"three")
            assert await reason_of(theirs.read(1, 60)) is NetReason.TIMED_OUT
            undo()
            assert await read_exactly(theirs, 7) == b"one two", "as TCP's retransmission would have it"
            assert await read_exactly(ours, 5) == b"three"

    run(story())


def test_a_connection_that_is_blocked_for_good_ends_after_a_quarter_of_an_hour() -> None:
    async def story() -> None:
        site = Site()
        ours, _ = await site.connected()
        site.firewall.inject(Block())
        ours.stream.write(b"into the void")
        assert await reason_of(ours.read(1)) is NetReason.TIMED_OUT
        assert 800 < now() < 1000
        await asyncio.sleep(1)
        assert site.hub.streams, "no RST gets through to tell the hub"

    run(story())


def test_tls_lives_through_a_stall(certs: CertsDir) -> None:
    async def story() -> None:
        site = Site()
        accepted: list[TlsStream] = []
        context = server_context(*certs.server(HUB_HOST))

        def refused(error: NetError) -> None:
            pytest.fail(str(error))

        def secure(stream: Stream) -> None:
            tls_accept(stream, context, accepted.append, refused, timeout_s=60)

        await site.hub.listen(HUB.port, secure)
        rtc = Rtc(asyncio.get_running_loop().time, built_at=datetime(2026, 6, 1, tzinfo=UTC))
        tls = await tls_connect(
            await site.charger.connect(HUB, timeout_s=5),
            client_context(certs.roots_pem()),
            server_name=HUB_HOST,
            rtc=rtc,
            timeout_s=60,
        )
        await asyncio.sleep(0.1)
        theirs = Reader(accepted[0])
        site.firewall.inject(Block(for_s=30))
        for word in (b"one ", b"two ", b"three"):
            tls.write(word)
        assert await read_exactly(theirs, 13) == b"one two three"
        assert now() > 30

    run(story())


def test_an_abort_ends_at_once_even_behind_a_slow_link() -> None:
    async def story() -> None:
        site = Site()
        ours, theirs = await site.connected()
        site.strike(Slow(delay_s=30.0))
        ours.stream.write(b"never sent")
        ours.stream.abort()
        assert await ours.read(1, 1) == b""
        assert await reason_of(theirs.read(1, 60)) is NetReason.RESET

    run(story())

"""Names that the boot and the downloads ask for: whom, in which order, and what is traced. Every failure is typed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from cloud_stub.site.dns import DnsServer
from emulator.boot.lookup import SERVERS_MAX, Lookup
from emulator.clock import Rtc, SimLoop
from emulator.env import Env
from emulator.errors import NetError, NetReason
from emulator.faults import Undo, fault_from
from emulator.flash import MemoryFlash
from emulator.machines.resolver import Resolved
from emulator.net.api import Stream
from emulator.net.sim import SimNet
from emulator.profile import load_profile
from emulator.trace import Recorder, Trace
from emulator.wire.dns import Answer, Messages, encode_reply, with_length

HUB, MANY = "zapcloud.azure-devices.net", "many.example"
PRIMARY, GOOGLE, CLOUDFLARE = "10.0.0.53", "8.8.8.8", "1.1.1.1"
ZONE = {HUB: ("10.0.0.2", "10.0.0.3", "10.0.0.4"), MANY: tuple(f"10.1.0.{number}" for number in range(1, 101))}


class Site:
    """A charger's look-up and its three servers."""

    def __init__(self, changes: dict[str, Any]) -> None:
        loop, profile = asyncio.get_running_loop(), load_profile().with_changes(changes)
        self.net, self.recorder = SimNet(Random(1)), Recorder()
        self.host = self.net.host("charger", "10.0.0.7")
        self.servers = {address: self._server(label) for address, label in LABELS.items()}
        rtc = Rtc(loop.time, built_at=profile.firmware.built_at)
        env = Env(self.host, rtc, MemoryFlash(), Trace("charger", [self.recorder], loop.time), "1")
        self.lookup = Lookup(profile, env)
        self.lookup.use([PRIMARY])

    def _server(self, label: str) -> DnsServer:
        utc, now = datetime(2026, 1, 1, tzinfo=UTC), asyncio.get_running_loop().time
        return DnsServer(label=label, zone=ZONE, rng=Random(1), utc=lambda: utc, now=now)

    def inject(self, kind: str, address: str = PRIMARY, **fields: Any) -> Undo:
        table = {fault.kind: fault for fault in DnsServer.FAULTS}
        return self.servers[address].inject(fault_from({"kind": kind} | fields, table))

    def asked(self, address: str) -> int:
        """How many queries a server has had."""
        return len([each for each in self.servers[address].history if each.request != "TCP"])

    def told(self) -> list[tuple[str, dict[str, Any]]]:
        """What was traced."""
        return [(event.name, event.data) for event in self.recorder.events]

    async def error(self, name: str) -> NetReason:
        with pytest.raises(NetError) as caught:
            await self.lookup.addresses_of(name)
        return caught.value.reason


LABELS = {PRIMARY: "primary", GOOGLE: "google", CLOUDFLARE: "cloudflare"}


def play(story: Callable[[Site], Awaitable[None]], **changes: Any) -> None:
    async def told() -> None:
        site = Site({f"dns.{key}": value for key, value in changes.items()})
        for address, server in site.servers.items():
            await server.start(site.net.host(server.label, address))
        try:
            await story(site)
        finally:
            for server in site.servers.values():
                await server.stop()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(told())


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".com", ".".join(["abc"] * 70)])
def test_a_name_that_dns_cannot_carry_is_unreachable(name: str) -> None:
    async def story(site: Site) -> None:
        assert await site.error(name) is NetReason.UNREACHABLE
        assert await site.host.udp()  # the socket of the question is closed, its port may be used again

    play(story)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("dns.silence", NetReason.DNS_SILENT),
        ("dns.servfail", NetReason.DNS_FAILED),
        ("dns.nxdomain", NetReason.DNS_NOT_FOUND),
    ],
)
def test_why_a_name_has_no_address_is_told_and_traced(kind: str, reason: NetReason) -> None:
    async def story(site: Site) -> None:
        for address in site.servers:
            site.inject(kind, address)
        assert await site.error(HUB) is reason
        ((name, data),) = site.told()
        assert (name, data["host"], data["why"]) == ("dns.unresolved", HUB, reason.value)
        assert {line.split()[0] for line in data["tried"]} == {f"{address}:53" for address in LABELS}

    play(story)


def test_a_plain_answer_of_the_first_server_is_not_worth_a_word() -> None:
    async def story(site: Site) -> None:
        assert await site.lookup.addresses_of(HUB) == list(ZONE[HUB])
        assert await site.lookup.address_of(HUB) == "10.0.0.2"
        assert site.told() == []
        assert [site.asked(address) for address in LABELS] == [1, 0, 0]

    play(story)


def test_an_answer_of_a_fallback_is_traced_with_what_the_others_did_and_known_as_cached_after_that() -> None:
    async def story(site: Site) -> None:
        site.inject("dns.silence")
        site.inject("dns.refused", GOOGLE)
        (fresh,) = await site.lookup.find(HUB)
        (kept,) = await site.lookup.find(HUB)
        assert isinstance(fresh, Resolved) and isinstance(kept, Resolved)
        assert site.lookup.is_fallback(fresh.server)
        expected = [f"{PRIMARY}:53 silent", f"{GOOGLE}:53 refused", f"{CLOUDFLARE}:53 answered"]
        ((name, data),) = site.told()
        assert (name, data["server"], data["fallback"]) == ("dns.answered", f"{CLOUDFLARE}:53", True)
        assert (data["tried"], data["ignored"]) == (expected, [])
        assert [str(each.server) + " " + each.what for each in kept.tried] == [f"{CLOUDFLARE}:53 cached"]
        assert kept.addresses == fresh.addresses

    play(story)


def test_what_was_forged_is_traced_although_the_first_server_answered() -> None:
    async def story(site: Site) -> None:
        site.inject("dns.spoofed", answers=3)
        site.inject("dns.spoofed", by="port", host=MANY)
        assert await site.lookup.address_of(HUB) == "10.0.0.2"
        ((name, data),) = site.told()
        assert (name, data["fallback"], data["ignored"]) == ("dns.answered", False, [f"{PRIMARY}:53 wrong_id 3"])

    play(story)


def test_an_answer_that_does_not_fit_is_fetched_over_tcp() -> None:
    async def story(site: Site) -> None:
        assert await site.lookup.addresses_of(MANY) == list(ZONE[MANY])
        transports = [each.data.get("transport", "udp") for each in site.servers[PRIMARY].history]
        assert transports == ["udp", "tcp"]
        assert site.told() == []
        await asyncio.sleep(0.1)
        assert site.host.streams == {}, "the connection is closed"

    play(story)


TCP_TROUBLES: dict[str, tuple[dict[str, Any], str, float]] = {
    "silent": ({"kind": "dns.silence", "transport": "tcp"}, "tcp_timed_out", 5.0),
    "garbage": ({"kind": "dns.garbage", "transport": "tcp"}, "tcp_garbage", 0.0),
    "cut again": ({"kind": "dns.truncated", "transport": "*"}, "truncated", 0.0),
    "servfail": ({"kind": "dns.servfail", "transport": "tcp"}, "servfail", 0.0),
    "slower than allowed": ({"kind": "dns.slow", "transport": "tcp", "delay_s": 6.0}, "tcp_timed_out", 5.0),
}


@pytest.mark.parametrize("trouble", TCP_TROUBLES)
def test_a_connection_that_comes_to_nothing_leads_to_the_next_server(trouble: str) -> None:
    async def story(site: Site) -> None:
        fault, what, after_s = TCP_TROUBLES[trouble]
        site.inject(**fault)
        began = asyncio.get_running_loop().time()
        assert len(await site.lookup.addresses_of(MANY)) == 100
        assert asyncio.get_running_loop().time() - began == pytest.approx(after_s, abs=0.02)
        ((_, data),) = site.told()
        assert data["tried"] == [f"{PRIMARY}:53 {what}", f"{GOOGLE}:53 answered_tcp"]

    play(story)


async def _nobody(site: Site) -> str:
    """The server has no TCP port."""
    site.servers[PRIMARY]._listener.stop()
    return "tcp_refused"


def _serving(behave: Callable[[Stream], None]) -> Callable[[Site], Awaitable[None]]:
    """The server's TCP port is somebody else's."""

    async def serve(site: Site) -> None:
        site.servers[PRIMARY]._listener.stop()
        host = site.net.host_at(PRIMARY)
        assert host is not None
        await host.listen(53, behave)

    return serve


class Talker:
    """Says something to whoever connects, piece by piece."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def __call__(self, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        for number, piece in enumerate(self._pieces):
            loop.call_later(0.4 * number, stream.write, piece)
        if self._pieces[-1:] == (b"",):
            loop.call_later(0.4 * len(self._pieces), stream.close)


@pytest.mark.parametrize(
    ("talker", "what", "after_s"),
    [
        (Talker(b"\x00", b""), "tcp_closed", 0.8),
        (Talker(b"\xff\xff"), "tcp_too_long", 0.0),
        (Talker(b"\x01\x00", *[b"x"] * 30), "tcp_timed_out", 5.0),
    ],
    ids=["ends early", "too long", "byte by byte"],
)
def test_a_peer_that_breaks_the_framing_is_left_in_time(talker: Talker, what: str, after_s: float) -> None:
    async def story(site: Site) -> None:
        await _serving(talker)(site)
        began = asyncio.get_running_loop().time()
        assert len(await site.lookup.addresses_of(MANY)) == 100
        assert asyncio.get_running_loop().time() - began == pytest.approx(after_s, abs=0.02)
        ((_, data),) = site.told()
        assert data["tried"][0] == f"{PRIMARY}:53 {what}"

    play(story)


def test_a_server_without_a_tcp_port_leads_to_the_next_one() -> None:
    async def story(site: Site) -> None:
        what = await _nobody(site)
        assert len(await site.lookup.addresses_of(MANY)) == 100
        ((_, data),) = site.told()
        assert data["tried"] == [f"{PRIMARY}:53 {what}", f"{GOOGLE}:53 answered_tcp"]

    play(story)


def test_an_answer_over_tcp_may_come_in_pieces() -> None:
    async def story(site: Site) -> None:
        def serve(stream: Stream) -> None:
            Slow(stream)

        await _serving(serve)(site)
        assert await site.lookup.addresses_of(MANY) == ["10.9.9.9"]

    play(story)


class Slow:
    """Answers one query a byte at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._messages = Messages(512)
        stream.attach(self)

    def data_received(self, data: bytes) -> None:
        for query in self._messages.feed(data):
            whole = with_length(encode_reply(query, Answer(addresses=("10.9.9.9",))))
            for number in range(len(whole)):
                asyncio.get_running_loop().call_later(0.01 * number, self._stream.write, whole[number : number + 1])

    def connection_lost(self, error: NetError | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("lost_s", [0.0, 1.0], ids=["before the question", "while an answer is waited for"])
def test_an_address_that_is_lost_is_no_fault_of_a_server(transport: str, lost_s: float) -> None:
    async def story(site: Site) -> None:
        site.inject("dns.silence", transport=transport)
        lost = asyncio.get_running_loop().call_later(lost_s, site.host.set_interface, None)
        await asyncio.sleep(0.001 if lost_s == 0.0 else 0.0)
        assert await site.error(MANY) is NetReason.NO_ADDRESS
        lost.cancel()

    play(story)


def test_an_address_that_answered_is_the_first_to_try_as_long_as_the_name_has_it() -> None:
    async def story(site: Site) -> None:
        site.inject("dns.ttl", ttl_s=0)
        site.lookup.remember(HUB, "10.0.0.3")
        assert await site.lookup.addresses_of(HUB) == ["10.0.0.3", "10.0.0.2", "10.0.0.4"]
        assert (await site.lookup.addresses_of(MANY))[0] == "10.1.0.1"
        site.lookup.remember(HUB, "10.0.0.99")
        assert await site.lookup.addresses_of(HUB) == list(ZONE[HUB])

    play(story)


def test_what_is_remembered_has_a_limit() -> None:
    async def story(site: Site) -> None:
        for number in range(10):
            site.lookup.remember(f"n{number}.example", "10.0.0.1")
        assert len(site.lookup._good) == 4

    play(story, cache_max=4)


def test_an_answer_is_asked_for_again_when_its_time_is_over() -> None:
    async def story(site: Site) -> None:
        heal = site.inject("dns.ttl", ttl_s=60)
        for after_s, asked in ((0.0, 1), (59.9, 1), (0.2, 2)):
            await asyncio.sleep(after_s)
            await site.lookup.address_of(HUB)
            assert site.asked(PRIMARY) == asked
        heal()
        site.inject("dns.ttl", ttl_s=0)
        await asyncio.sleep(60)
        for asked in (3, 4):
            await site.lookup.address_of(HUB)
            assert site.asked(PRIMARY) == asked

    play(story)


def test_a_name_that_does_not_exist_is_asked_for_once_in_a_while() -> None:
    async def story(site: Site) -> None:
        for _ in range(10):
            assert await site.error("nowhere.example") is NetReason.DNS_NOT_FOUND
            await asyncio.sleep(1)
        assert [site.asked(address) for address in LABELS] == [1, 1, 1]
        assert await site.error("nowhere.example") is NetReason.DNS_NOT_FOUND
        assert [site.asked(address) for address in LABELS] == [2, 2, 2]

    play(story)


def test_of_many_servers_the_first_are_asked_and_then_the_fallbacks() -> None:
    async def story(site: Site) -> None:
        site.lookup.use([f"10.0.9.{number}" for number in range(60)])
        (answer,) = await site.lookup.find(HUB)
        assert isinstance(answer, Resolved)
        assert len(answer.tried) == SERVERS_MAX + 1
        assert answer.server.host == GOOGLE

    play(story)


def test_a_server_that_is_a_fallback_too_is_asked_once_a_round_and_is_none() -> None:
    async def story(site: Site) -> None:
        site.lookup.use([GOOGLE, GOOGLE])
        site.inject("dns.servfail", GOOGLE)
        (answer,) = await site.lookup.find(HUB)
        assert [tried.server.host for tried in answer.tried] == [GOOGLE, CLOUDFLARE]
        assert [site.lookup.is_fallback(tried.server) for tried in answer.tried] == [False, True]

    play(story)


@pytest.mark.parametrize(
    ("wording", "kind", "asked"),
    [
        ("in_addition", "dns.servfail", [1, 1, 0]),
        ("in_addition", "dns.silence", [1, 1, 0]),
        ("instead", "dns.servfail", [2, 0, 0]),
        ("instead", "dns.nxdomain", [1, 0, 0]),
        ("instead", "dns.silence", [2, 1, 0]),
    ],
)
def test_the_two_wordings_of_the_manual_differ_in_what_an_error_of_the_site_s_server_means(
    wording: str, kind: str, asked: list[int]
) -> None:
    async def story(site: Site) -> None:
        site.inject(kind)
        await site.lookup.find(HUB)
        assert [site.asked(address) for address in LABELS] == asked

    play(story, wording=wording)


@pytest.mark.parametrize("wording", ["in_addition", "instead"])
def test_without_servers_by_dhcp_both_wordings_ask_the_fallbacks(wording: str) -> None:
    async def story(site: Site) -> None:
        site.lookup.use([])
        (answer,) = await site.lookup.find(HUB)
        assert isinstance(answer, Resolved)
        assert (answer.server.host, site.lookup.is_fallback(answer.server)) == (GOOGLE, True)

    play(story, wording=wording)

"""Name servers that break, one by one and all together: outcome, reason and time of the stage, and what it tells."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from emulator.trace import Recorder, TraceEvent
from emulator.world import World
from tests.life import SERIAL, Life, live

HUB, NTP = "zapcloud.azure-devices.net", "no.pool.ntp.org"
HUB_ADDRESS, ROUTER, NOBODY = "198.51.100.88", "10.20.0.1", "10.20.9.9"
PRIMARY, GOOGLE, CLOUDFLARE = "10.20.0.53:53", "8.8.8.8:53", "1.1.1.1:53"
SOON = 0.5
"""Seconds that a stage takes at most in which nothing but packets is waited for."""
DAY_S = 86_400.0

Fault = dict[str, Any]


def breaking(*faults: Fault) -> Callable[[World], object]:
    """Break these before the power is on."""
    return lambda world: [world.inject(fault, where="test") for fault in faults]


async def online(life: Life) -> None:
    await life.until("device.online")


def the(trace: Recorder, name: str) -> TraceEvent:
    """The only event of this name."""
    (event,) = trace.where(name, SERIAL)
    return event


FIRST_SERVER: dict[str, tuple[Fault, str, float]] = {
    "silence": ({"kind": "dns.silence"}, "silent", 4.0),
    "slower than its time": ({"kind": "dns.slow", "delay_s": 2.5}, "silent", 4.0),
    "servfail": ({"kind": "dns.servfail"}, "servfail", 0.0),
    "refused": ({"kind": "dns.refused"}, "refused", 0.0),
    "nxdomain": ({"kind": "dns.nxdomain"}, "nxdomain", 0.0),
    "no address": ({"kind": "dns.empty"}, "no_address", 0.0),
    "garbage": ({"kind": "dns.garbage"}, "garbage", 0.0),
    "wrong id": ({"kind": "dns.wrong_id"}, "wrong_id", 4.0),
    "wrong question": ({"kind": "dns.wrong_question"}, "wrong_question", 4.0),
    "aliases in a circle": ({"kind": "dns.cname_loop"}, "cname_loop", 0.0),
    "too many aliases": ({"kind": "dns.cname_chain", "length": 16}, "cname_too_long", 0.0),
    "truncated over TCP too": ({"kind": "dns.truncated", "transport": "*"}, "truncated", 0.0),
}


@pytest.mark.parametrize("broken", FIRST_SERVER)
def test_a_first_server_that_breaks_is_passed_over_and_the_trace_says_what_it_did(broken: str) -> None:
    fault, what, seconds = FIRST_SERVER[broken]
    names = the(live(online, before=breaking(fault | {"server": "primary"})), "boot.names.*")
    assert (names.data["outcome"], names.data["why"]) == ("degraded", "fallback_dns")
    assert names.data["server"] == GOOGLE
    assert names.data["tried"] == {name: [f"{PRIMARY} {what}", f"{GOOGLE} answered"] for name in (NTP, HUB)}
    assert names.data["seconds"] == pytest.approx(seconds, abs=SOON)


ALL_SERVERS: dict[str, tuple[list[Fault], str, float]] = {
    "silence": ([{"kind": "dns.silence"}], "dns_silent", 24.0),
    "servfail": ([{"kind": "dns.servfail"}], "dns_failed", 0.0),
    "refused": ([{"kind": "dns.refused"}], "dns_failed", 0.0),
    "nxdomain": ([{"kind": "dns.nxdomain"}], "dns_not_found", 0.0),
    "no address": ([{"kind": "dns.empty"}], "dns_not_found", 0.0),
    "nxdomain where one answers": (
        [{"kind": "dns.silence", "server": "google"}, {"kind": "dns.nxdomain"}],
        "dns_not_found",
        8.0,
    ),
    "one errs, the others deny": (
        [{"kind": "dns.servfail", "server": "google"}, {"kind": "dns.nxdomain"}],
        "dns_failed",
        0.0,
    ),
    "garbage": ([{"kind": "dns.garbage"}], "dns_failed", 0.0),
    "wrong id": ([{"kind": "dns.wrong_id"}], "dns_failed", 24.0),
    "aliases in a circle": ([{"kind": "dns.cname_loop"}], "dns_failed", 0.0),
    "truncated, TCP rejected": (
        [{"kind": "dns.truncated"}, {"kind": "site.block", "protocol": "tcp", "port": 53, "action": "reject"}],
        "dns_failed",
        0.0,
    ),
    "truncated, TCP dropped": (
        [{"kind": "dns.truncated"}, {"kind": "site.block", "protocol": "tcp", "port": 53}],
        "dns_failed",
        60.0,
    ),
    "the hub's name only": ([{"kind": "dns.nxdomain", "host": HUB}], "dns_not_found", 0.0),
}


@pytest.mark.parametrize("broken", ALL_SERVERS)
def test_without_a_server_that_helps_the_stage_fails_with_its_own_why_until_one_does(broken: str) -> None:
    faults, why, seconds = ALL_SERVERS[broken]
    undo: list[Callable[[], None]] = []

    async def story(life: Life) -> None:
        failed = await life.until("boot.names.failed")
        assert failed.data["why"] == why
        assert failed.data["seconds"] == pytest.approx(seconds, abs=SOON)
        assert {line.split()[0] for line in failed.data["tried"][HUB]} == {PRIMARY, GOOGLE, CLOUDFLARE}
        for heal in undo:
            heal()
        passed = await life.until("boot.names.passed", within_s=60)
        assert passed.t - failed.t < 20  # the pause before the second try
        await online(life)

    live(story, before=lambda world: undo.extend(world.inject(fault, where="test") for fault in faults))


HARMLESS: dict[str, tuple[list[Fault], list[str], float]] = {
    "nothing": ([], ["answered"], 0.0),
    "a little slow": ([{"kind": "dns.slow", "delay_s": 1.5}], ["answered"], 3.0),
    "a few aliases": ([{"kind": "dns.cname_chain", "length": 15}], ["answered"], 0.0),
    "truncated": ([{"kind": "dns.truncated"}], ["answered_tcp"], 0.0),
    "too many addresses for a datagram": (
        [{"kind": "dns.addresses", "host": HUB, "addresses": [HUB_ADDRESS, *(f"10.20.9.{n}" for n in range(60))]}],
        ["answered_tcp"],
        0.0,
    ),
    "TTL of nothing": ([{"kind": "dns.ttl", "ttl_s": 0}], ["answered"], 0.0),
}


@pytest.mark.parametrize("broken", HARMLESS)
def test_what_a_client_must_cope_with_does_not_degrade_the_stage(broken: str) -> None:
    faults, whats, seconds = HARMLESS[broken]
    names = the(live(online, before=breaking(*faults)), "boot.names.*")
    assert (names.data["outcome"], names.data["server"]) == ("passed", PRIMARY)
    assert names.data["tried"][HUB] == [f"{PRIMARY} {what}" for what in whats]
    assert names.data["seconds"] == pytest.approx(seconds, abs=SOON)


def test_an_answer_that_comes_after_its_server_was_left_is_taken_and_is_no_fallback() -> None:
    names = the(live(online, before=breaking({"kind": "dns.slow", "delay_s": 2.5})), "boot.names.*")
    assert (names.data["outcome"], names.data["server"]) == ("passed", PRIMARY)
    assert names.data["tried"][HUB] == [f"{PRIMARY} silent", f"{GOOGLE} overtaken", f"{PRIMARY} answered"]
    assert names.data["seconds"] == pytest.approx(5.0, abs=SOON)


@pytest.mark.parametrize(
    ("fault", "ignored"),
    [
        ({"kind": "dns.spoofed", "answers": 64, "address": NOBODY}, f"{PRIMARY} wrong_id 64"),
        ({"kind": "dns.spoofed", "by": "port", "answers": 5, "address": NOBODY}, "stranger 5"),
    ],
    ids=["guessed id", "another port"],
)
def test_forged_answers_are_counted_and_the_true_one_is_taken(fault: Fault, ignored: str) -> None:
    names = the(live(online, before=breaking(fault)), "boot.names.*")
    assert names.data["outcome"] == "passed"
    assert names.data["addresses"][HUB] == [HUB_ADDRESS]
    for lines in (names.data["ignored"][NTP], names.data["ignored"][HUB]):
        (line,) = lines
        assert line.endswith(ignored)
        assert line.startswith(PRIMARY.partition(":")[0])


@pytest.mark.parametrize(
    ("fault", "outcome", "why", "seconds", "tried"),
    [
        ({"kind": "dns.servfail"}, "failed", "dns_failed", 0.0, [f"{PRIMARY} servfail"] * 2),
        ({"kind": "dns.nxdomain"}, "failed", "dns_not_found", 0.0, [f"{PRIMARY} nxdomain"]),
        (
            {"kind": "dns.silence"},
            "degraded",
            "fallback_dns",
            8.0,
            [f"{PRIMARY} silent", f"{PRIMARY} silent", f"{GOOGLE} answered"],
        ),
    ],
    ids=["servfail", "nxdomain", "silence"],
)
def test_by_the_polish_wording_an_error_is_an_answer_and_silence_is_none(
    fault: Fault, outcome: str, why: str, seconds: float, tried: list[str]
) -> None:
    async def story(life: Life) -> None:
        names = await life.until("boot.names.*")
        assert (names.data["outcome"], names.data["why"]) == (outcome, why)
        assert names.data["tried"][HUB] == tried
        assert names.data["seconds"] == pytest.approx(seconds, abs=SOON)

    live(story, changes={"dns.wording": "instead"}, before=breaking(fault | {"server": "primary"}))


def test_by_the_polish_wording_the_fallbacks_are_asked_when_dhcp_gives_no_server() -> None:
    names = the(
        live(online, changes={"dns.wording": "instead"}, before=breaking({"kind": "dhcp.no_dns"})), "boot.names.*"
    )
    assert (names.data["why"], names.data["tried"][HUB]) == ("fallback_dns", [f"{GOOGLE} answered"])


def queries(world: World, name: str) -> int:
    """How often a name was asked for, of all servers."""
    return sum(exchange["request"] == f"A {name}" for exchange in world.history("dns"))


@pytest.mark.parametrize(("ttl_s", "asked"), [(0, (2, 2)), (300, (1, 1))])
def test_what_may_not_be_kept_is_asked_for_again_by_the_stage_that_needs_it(ttl_s: int, asked: tuple[int, int]) -> None:
    async def story(life: Life) -> None:
        await online(life)
        assert (queries(life.world, NTP), queries(life.world, HUB)) == asked

    live(story, before=breaking({"kind": "dns.ttl", "ttl_s": ttl_s}))


def test_a_name_that_is_known_costs_no_question_until_its_time_is_over() -> None:
    async def story(life: Life) -> None:
        for _ in range(4):
            await life.until("boot.hub.failed")
        assert queries(life.world, HUB) == 1
        await asyncio.sleep(301)
        await life.until("boot.hub.failed")
        assert queries(life.world, HUB) == 2

    trace = live(story, before=breaking({"kind": "site.block", "protocol": "tcp", "port": 8883, "action": "reject"}))
    first, second = trace.where("boot.names.passed", SERIAL)[:2]
    assert (first.data["tried"][HUB], second.data["tried"][HUB]) == ([f"{PRIMARY} answered"], [f"{PRIMARY} cached"])
    assert first.data["addresses"] == second.data["addresses"]


def test_a_cached_answer_of_a_fallback_is_still_one() -> None:
    async def story(life: Life) -> None:
        await life.until("boot.time.failed")
        await life.until("boot.time.failed")

    trace = live(story, before=breaking({"kind": "dns.silence", "server": "primary"}, {"kind": "ntp.silence"}))
    first, second = trace.where("boot.names.degraded", SERIAL)[:2]
    assert second.data["tried"] == {NTP: [f"{GOOGLE} cached"], HUB: [f"{GOOGLE} cached"]}
    assert (first.data["server"], second.data["server"]) == (GOOGLE, GOOGLE)


def test_a_captive_portal_gives_its_own_address_for_every_name_until_somebody_pays() -> None:
    undo: list[Callable[[], None]] = []

    async def story(life: Life) -> None:
        names = await life.until("boot.names.passed")
        assert names.data["addresses"] == {NTP: [ROUTER], HUB: [ROUTER]}
        failed = await life.until("boot.time.failed")
        assert failed.data["why"] == "ntp_silent"
        undo[0]()
        await life.until("device.online", within_s=30)

    portal = {"kind": "dns.hijack", "address": ROUTER}
    live(story, before=lambda world: undo.append(world.inject(portal, where="test")))


def test_a_hijacked_hub_is_refused_at_its_door() -> None:
    async def story(life: Life) -> None:
        failed = await life.until("boot.hub.failed")
        assert (failed.data["why"], failed.data["tried"]) == ("refused", [f"{ROUTER}:8883 refused"])

    live(story, before=breaking({"kind": "dns.hijack", "address": ROUTER, "host": HUB}))


def test_the_next_address_of_the_hub_is_tried_when_the_first_does_not_answer_and_remembered() -> None:
    addresses = {"kind": "dns.addresses", "host": HUB, "addresses": [NOBODY, ROUTER, HUB_ADDRESS]}

    async def story(life: Life) -> None:
        passed = await life.until("boot.hub.passed")
        assert passed.data["to"] == f"{HUB_ADDRESS}:8883"
        assert passed.data["tried"] == [f"{NOBODY}:8883 timed_out", f"{ROUTER}:8883 refused"]
        assert passed.data["seconds"] == pytest.approx(10.0, abs=1.0)
        await online(life)
        await asyncio.sleep(DAY_S / 24)  # what the names stage has kept is over
        heal = await life.inject(kind="link.down")
        await life.until("device.offline")
        heal()
        again = await life.until("boot.hub.passed")
        assert again.data["seconds"] < 1.0
        assert "tried" not in again.data

    trace = live(story, before=breaking(addresses))
    to = [event.data["to"] for event in trace.where("boot.hub.connecting", SERIAL)]
    assert to == [f"{host}:8883" for host in (NOBODY, ROUTER, HUB_ADDRESS, HUB_ADDRESS)]


def test_when_no_address_of_the_hub_answers_the_last_one_gives_the_reason() -> None:
    async def story(life: Life) -> None:
        failed = await life.until("boot.hub.failed")
        assert failed.data["why"] == "refused"
        assert failed.data["tried"] == [f"{NOBODY}:8883 timed_out", f"{ROUTER}:8883 refused"]

    live(story, before=breaking({"kind": "dns.addresses", "host": HUB, "addresses": [NOBODY, ROUTER]}))


def test_a_refusal_by_the_hub_itself_is_no_reason_to_try_another_address() -> None:
    async def story(life: Life) -> None:
        failed = await life.until("boot.hub.failed")
        assert (failed.data["why"], len(failed.data["tried"])) == ("hub_refused", 1)

    both = {"kind": "dns.addresses", "host": HUB, "addresses": [HUB_ADDRESS, NOBODY]}
    live(story, before=breaking({"kind": "hub.connack", "code": 5}, both))


def test_a_fallback_that_answers_for_the_daily_time_is_traced() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await life.inject(kind="dns.silence", server="primary")
        told = await life.until("dns.answered", within_s=1.1 * DAY_S)
        assert (told.data["host"], told.data["server"], told.data["fallback"]) == (NTP, GOOGLE, True)
        assert told.data["tried"] == [f"{PRIMARY} silent", f"{GOOGLE} answered"]
        await life.until("clock.resynced", within_s=60)

    live(story)


def test_a_fallback_that_answers_for_a_download_is_traced() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await life.inject(kind="dns.servfail", server="primary")
        life.world.offer_firmware("6.0.0.0")
        await life.world.command(SERIAL, 200)
        told = await life.until("dns.answered", within_s=60)
        assert told.data["host"].endswith("zaptec.com")
        assert told.data["tried"] == [f"{PRIMARY} servfail", f"{GOOGLE} answered"]

    live(story)


def test_a_download_whose_host_is_unknown_asks_now_and_then_and_not_all_the_time() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await life.inject(kind="dns.nxdomain")
        life.world.offer_firmware("6.0.0.0")
        before = len(life.world.history("dns"))
        await life.world.command(SERIAL, 200)
        await life.until("dns.unresolved", why="dns_not_found", within_s=60)
        await asyncio.sleep(60)
        asked = Counter(exchange["request"] for exchange in life.world.history("dns")[before:])
        assert len(asked) == 3, "not every host that firmware comes from was tried"
        assert max(asked.values()) <= 3 * (60 / 10 + 1)

    live(story)


def test_equal_seeds_give_equal_forgeries() -> None:
    faults = [{"kind": "dns.spoofed", "answers": 9, "probability": 0.5}, {"kind": "dns.garbage", "probability": 0.5}]
    first, second = (live(online, seed=7, before=breaking(*faults)) for _ in range(2))
    assert first.digest() == second.digest()

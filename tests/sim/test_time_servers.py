"""Each thing that can be wrong with the time servers, at one of them and at all four: `Why`, words, seconds."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from cloud_stub.worlds import SIM_EPOCH
from emulator.trace import Recorder, TraceEvent
from emulator.world import World
from tests.life import Life, live

A, B, C, D = (f"198.51.100.{number}:123" for number in range(123, 127))
ALL = (A, B, C, D)
TRY_S, TRIES = 2.0, 2
AT_ONCE_S, ALL_SILENT_S = 0.2, len(ALL) * TRIES * TRY_S

AT_ONCE: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "ntp.leap"}, "unsynchronised", "ntp_refused"),
    ({"kind": "ntp.stratum"}, "stratum", "ntp_refused"),
    ({"kind": "ntp.stratum", "stratum": 255}, "stratum", "ntp_refused"),
    ({"kind": "ntp.zero_time"}, "zero_time", "ntp_absurd"),
    ({"kind": "ntp.backwards"}, "backwards", "ntp_absurd"),
    ({"kind": "ntp.wrong_mode"}, "wrong_mode", "ntp_absurd"),
    ({"kind": "ntp.wrong_mode", "mode": 3}, "wrong_mode", "ntp_absurd"),
    ({"kind": "ntp.wrong_version"}, "wrong_version", "ntp_absurd"),
    ({"kind": "ntp.absurd_root"}, "absurd_root", "ntp_absurd"),
    ({"kind": "ntp.absurd_root", "delay_s": 2.0, "dispersion_s": 0.0}, "absurd_root", "ntp_absurd"),
]
"""Fault, the word for it, and what the stage fails with: servers that are left as soon as they have answered."""

REFUSING: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "ntp.kiss", "code": code}, code, "ntp_refused") for code in ("RATE", "DENY", "RSTR", "ACST")
]
"""The same for servers that are not asked a second time."""

IN_VAIN: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "ntp.silence"}, "silent", "ntp_silent"),
    ({"kind": "ntp.garbage"}, "garbage", "ntp_absurd"),
    ({"kind": "ntp.wrong_origin"}, "wrong_origin", "ntp_absurd"),
]
"""The same for servers that are given their time."""


def name_of(value: object) -> str | None:
    return "-".join(str(each) for each in value.values()) if isinstance(value, dict) else None


def breaking(*faults: dict[str, Any]) -> Callable[[World], object]:
    return lambda world: [world.inject(fault, where="test") for fault in faults]


async def one_attempt(life: Life) -> None:
    await life.until("boot.time.*")


async def online(life: Life) -> None:
    await life.until("device.online", within_s=60)


def attempt(trace: Recorder) -> TraceEvent:
    """The first attempt at the stage."""
    return trace.where("boot.time.*")[0]


def test_in_the_good_case_one_server_is_asked_once() -> None:
    seen: list[dict[str, Any]] = []

    async def story(life: Life) -> None:
        await online(life)
        seen.extend(life.world.history("ntp"))

    data = attempt(live(story)).data
    assert (data["outcome"], data["tried"], data["server"]) == ("passed", [f"{A} answered"], A)
    assert data["seconds"] < AT_ONCE_S
    assert [exchange["data"] for exchange in seen] == [{"server": "a"}]


@pytest.mark.parametrize(("fault", "word", "why"), AT_ONCE, ids=name_of)
def test_when_no_reply_is_any_good_all_servers_are_asked_in_turn_and_the_stage_fails_at_once(
    fault: dict[str, Any], word: str, why: str
) -> None:
    data = attempt(live(one_attempt, before=breaking(fault))).data
    assert (data["outcome"], data["why"]) == ("failed", why)
    assert data["tried"] == [f"{server} {word}" for server in ALL * TRIES]
    assert data["seconds"] < AT_ONCE_S


@pytest.mark.parametrize(("fault", "word", "why"), REFUSING, ids=name_of)
def test_servers_that_refuse_are_asked_once_in_an_attempt(fault: dict[str, Any], word: str, why: str) -> None:
    data = attempt(live(one_attempt, before=breaking(fault))).data
    assert (data["outcome"], data["why"]) == ("failed", why)
    assert data["tried"] == [f"{server} {word}" for server in ALL]
    assert data["seconds"] < AT_ONCE_S


@pytest.mark.parametrize(("fault", "word", "why"), IN_VAIN, ids=name_of)
def test_what_says_nothing_that_can_be_believed_is_given_its_time(fault: dict[str, Any], word: str, why: str) -> None:
    data = attempt(live(one_attempt, before=breaking(fault))).data
    assert (data["outcome"], data["why"]) == ("failed", why)
    assert data["tried"] == [f"{server} {word}" for server in ALL * TRIES]
    assert data["seconds"] == pytest.approx(ALL_SILENT_S)


@pytest.mark.parametrize(
    ("fault", "word", "wait_s"),
    [
        *((fault, word, 0.0) for fault, word, _ in (*AT_ONCE, *REFUSING)),
        *((fault, word, TRY_S) for fault, word, _ in IN_VAIN),
    ],
    ids=name_of,
)
def test_when_one_server_is_bad_the_next_one_gives_the_time(fault: dict[str, Any], word: str, wait_s: float) -> None:
    data = attempt(live(online, before=breaking({**fault, "server": "a"}))).data
    assert (data["outcome"], data["tried"]) == ("passed", [f"{A} {word}", f"{B} answered"])
    assert wait_s <= data["seconds"] < wait_s + AT_ONCE_S
    assert data["after"].startswith("2026-06-01T12:00")


def test_the_last_of_four_is_enough_whatever_the_others_do() -> None:
    data = attempt(
        live(
            online,
            before=breaking(
                {"kind": "ntp.silence", "server": "a"},
                {"kind": "ntp.kiss", "code": "DENY", "server": "b"},
                {"kind": "ntp.absurd_root", "server": "c"},
            ),
        )
    ).data
    assert data["tried"] == [f"{A} silent", f"{B} DENY", f"{C} absurd_root", f"{D} answered"]
    assert TRY_S <= data["seconds"] < TRY_S + AT_ONCE_S


def test_a_mixture_without_the_time_is_a_refusal_if_any_server_refuses() -> None:
    faults = (
        {"kind": "ntp.silence", "server": "a"},
        {"kind": "ntp.garbage", "server": "b"},
        {"kind": "ntp.leap", "server": "c"},
        {"kind": "ntp.silence", "server": "d"},
    )
    assert attempt(live(one_attempt, before=breaking(*faults))).data["why"] == "ntp_refused"
    assert attempt(live(one_attempt, before=breaking(*faults[:2], faults[3], {**faults[0], "server": "c"}))).data[
        "why"
    ] == ("ntp_absurd")


def test_a_server_that_is_slow_but_not_too_slow_is_believed_after_its_time_is_over() -> None:
    event = attempt(live(online, before=breaking({"kind": "ntp.slow", "delay_s": 3.0})))
    data = event.data
    assert (data["outcome"], data["tried"], data["server"]) == ("passed", [f"{A} silent", f"{A} answered"], A)
    assert data["seconds"] == pytest.approx(3.0, abs=AT_ONCE_S)
    assert data["delay_s"] == pytest.approx(data["seconds"], abs=1e-3)
    late_s = event.t - (datetime.fromisoformat(data["after"]) - SIM_EPOCH).total_seconds()
    assert late_s == pytest.approx(1.5, abs=0.01), "half of a delay that is all on the way back"


def test_a_server_that_is_far_too_slow_is_absurd() -> None:
    data = attempt(live(one_attempt, before=breaking({"kind": "ntp.slow", "delay_s": 12.0}))).data
    assert (data["outcome"], data["why"]) == ("failed", "ntp_absurd")
    assert data["seconds"] == pytest.approx(ALL_SILENT_S)
    assert [words for words in data["tried"] if "absurd_delay" in words] == [f"{A} absurd_delay", f"{B} absurd_delay"]


def test_a_forgery_from_elsewhere_is_remarked_on_and_not_believed() -> None:
    data = attempt(live(online, before=breaking({"kind": "ntp.spoofed"}))).data
    spoofed, answered = data["tried"]
    assert spoofed.endswith(" spoofed") and not spoofed.startswith(A) and answered == f"{A} answered"
    assert data["seconds"] < AT_ONCE_S
    assert data["after"].startswith("2026-06-01T12:00")


def test_forgeries_alone_are_absurd() -> None:
    data = attempt(live(one_attempt, before=breaking({"kind": "ntp.spoofed"}, {"kind": "ntp.silence"}))).data
    assert (data["outcome"], data["why"]) == ("failed", "ntp_absurd")
    assert [words.partition(" ")[2] for words in data["tried"]] == ["spoofed", "silent"] * len(ALL) * TRIES
    assert data["seconds"] == pytest.approx(ALL_SILENT_S)


def test_servers_that_deny_are_left_alone_for_an_hour_and_asked_at_once_after_a_power_cut() -> None:
    async def story(life: Life) -> None:
        heal = await life.inject(kind="ntp.kiss", code="DENY")
        denied = await life.until("boot.time.failed", why="ntp_refused")
        heal()
        for _ in range(3):
            failed = await life.until("boot.time.failed", why="ntp_refused")
            assert failed.data["tried"] == [f"{server} left_alone" for server in ALL]
        assert [exchange["reply"] for exchange in life.world.history("ntp")] == ["KISS DENY"] * len(ALL)
        passed = await life.until("boot.time.passed", within_s=4000)
        assert 3600 <= passed.t - denied.t <= 3800

    async def cut_short(life: Life) -> None:
        heal = await life.inject(kind="ntp.kiss", code="DENY")
        await life.until("boot.time.failed", why="ntp_refused")
        heal()
        life.charger.inject({"kind": "device.power_cut", "for_s": 1.0})
        await life.until("boot.time.passed", within_s=60)
        await life.until("device.online", within_s=60)

    live(story)
    live(cut_short)


def test_servers_that_are_asked_too_often_are_left_alone_for_a_minute_and_longer_each_time() -> None:
    asked: list[float] = []

    async def story(life: Life) -> None:
        heal = await life.inject(kind="ntp.kiss", code="RATE")
        await asyncio.sleep(600)
        heal()
        await life.until("device.online", within_s=1200)
        asked.extend(exchange["t"] for exchange in life.world.history("ntp") if exchange["data"]["server"] == "a")

    trace = live(story)
    rests = [later - earlier for earlier, later in pairwise(asked)]
    assert len(rests) >= 3 and all(rest >= 64.0 * 2**n for n, rest in enumerate(rests))
    between = [e.data["tried"] for e in trace.where("boot.time.failed") if "left_alone" in str(e.data["tried"])]
    assert between and all(tried == [f"{server} left_alone" for server in ALL] for tried in between)

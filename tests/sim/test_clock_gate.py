"""Manual row M9: without the right time there is no authentication. Judged by what the hub saw."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from emulator.world import World
from tests.life import Life, live

NTP_SILENT = {"kind": "ntp.silence"}
LOOSE = {"ntp.gate": "wait-then-go-on"}
WAIT_S = 120.0
ASKED_ALL_S = 16.0
"""Four servers, each asked twice and waited for 2 s."""

YEAR_S = 365 * 86400.0


def silent(world: World) -> object:
    return world.inject(NTP_SILENT, where="test")


async def gone_on(life: Life) -> None:
    """Past the gate without the time."""
    await life.until("boot.time.degraded")


async def restarted(life: Life, by: str) -> Callable[[], None]:
    """Online, then started again while no server answers. Returns what lets them answer."""
    await life.until("device.online")
    heal = await life.inject(**NTP_SILENT)
    if by == "reboot":
        assert life.charger.reboot("test")
    else:
        life.charger.inject({"kind": "device.power_cut", "for_s": 3600.0})
        await asyncio.sleep(3600)
    return heal


def test_with_the_clock_unset_and_ntp_silent_no_tcp_connection_to_the_hub_is_ever_opened() -> None:
    seen: list[list[dict[str, object]]] = []

    async def story(life: Life) -> None:
        for _ in range(5):
            failed = await life.until("boot.time.failed")
            assert failed.data["why"] == "ntp_silent"
            assert failed.data["seconds"] == pytest.approx(ASKED_ALL_S)
        seen.append(life.world.history("hub"))

    trace = live(story, before=silent)
    assert seen == [[]]
    assert trace.where("boot.hub.*") == []


def test_the_gate_that_goes_on_waits_for_two_minutes_first() -> None:
    """60 x 2 s (zaptec.md section 4), then the clock as it is."""
    trace = live(gone_on, changes=LOOSE, before=silent)
    (time,) = trace.where("boot.time.*")
    assert (time.data["why"], time.data["gate"]) == ("clock_unset", "wait-then-go-on")
    assert time.data["seconds"] == pytest.approx(WAIT_S)
    assert time.data["before"].startswith("2025-03-01") and time.data["source"] == "build"
    assert set(time.data["tried"]) == {f"198.51.100.{number}:123 silent" for number in range(123, 127)}


def test_the_wait_can_be_another_one_and_ends_when_a_server_answers() -> None:
    async def story(life: Life) -> None:
        heal = await life.inject(**NTP_SILENT)
        await asyncio.sleep(40)
        heal()
        time = await life.until("boot.time.passed", within_s=2.0)
        assert 40 <= time.data["seconds"] < 42
        await life.until("device.online", within_s=10)

    live(story, changes=LOOSE)
    short = live(
        gone_on,
        changes={**LOOSE, "ntp.wait_s": 7.5},
        before=silent,
    )
    assert short.where("boot.time.degraded")[0].data["seconds"] == pytest.approx(7.5)


def test_servers_that_refuse_at_once_do_not_shorten_the_wait() -> None:
    trace = live(
        gone_on,
        changes=LOOSE,
        before=lambda world: world.inject({"kind": "ntp.kiss", "code": "DENY"}, where="test"),
    )
    (time,) = trace.where("boot.time.*")
    assert (time.data["why"], time.data["seconds"]) == ("clock_unset", pytest.approx(WAIT_S))
    assert time.data["detail"] == "goes on at 2025-03-01 although NTP is refused"
    assert {words.partition(" ")[2] for words in time.data["tried"]} == {"DENY", "left_alone"}


def test_the_wait_is_for_the_first_link_only() -> None:
    async def story(life: Life) -> None:
        for _ in range(3):
            await life.until("boot.hub.failed")

    trace = live(story, changes=LOOSE, before=silent)
    waits = [event.data["seconds"] for event in trace.where("boot.time.degraded")]
    assert waits == [pytest.approx(WAIT_S), *[pytest.approx(ASKED_ALL_S)] * (len(waits) - 1)] and len(waits) >= 3


def test_forced_past_the_gate_with_the_build_time_the_hub_refuses_the_token() -> None:
    """Built in 2025: the certificates are valid then, but a token that expires in 2025 is long over."""
    seen: list[dict[str, object]] = []

    async def story(life: Life) -> None:
        failed = await life.until("boot.hub.failed")
        assert failed.data["why"] == "hub_refused"
        seen.extend(life.world.history("hub"))

    trace = live(story, changes=LOOSE, before=silent)
    (time,) = trace.where("boot.time.degraded")[:1]
    assert time.data["why"] == "clock_unset"
    assert any("expired" in str(exchange["reply"]) for exchange in seen)


def test_forced_past_the_gate_before_the_certificates_begin_tls_refuses() -> None:
    async def story(life: Life) -> None:
        failed = await life.until("boot.hub.failed")
        assert failed.data["why"] == "tls_not_yet_valid"
        replies = [str(exchange["reply"]) for exchange in life.world.history("hub")]
        assert not any("CONNECT" in reply for reply in replies)

    live(story, changes={**LOOSE, "firmware.built_at": "2019-01-01T00:00:00Z"}, before=silent)


@pytest.mark.parametrize(("gate", "seconds"), [("strict", ASKED_ALL_S), ("wait-then-go-on", WAIT_S)])
@pytest.mark.parametrize("by", ["reboot", "power cut"])
def test_a_clock_that_its_battery_has_kept_is_trusted_under_both_gates(gate: str, seconds: float, by: str) -> None:
    async def story(life: Life) -> None:
        await restarted(life, by)
        time = await life.until("boot.time.degraded", why="ntp_silent")
        assert time.data["seconds"] == pytest.approx(seconds)
        assert time.data["source"] == "rtc"
        await life.until("device.online", within_s=60)

    live(story, changes={"ntp.gate": gate})


@pytest.mark.parametrize("by", ["reboot", "power cut"])
def test_with_a_flat_battery_a_power_cut_closes_the_strict_gate_and_a_reboot_does_not(by: str) -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        life.charger.inject({"kind": "device.rtc_battery"})
        heal = await life.inject(**NTP_SILENT)
        if by == "reboot":
            assert life.charger.reboot("test")
            await life.until("boot.time.degraded", why="ntp_silent")
            await life.until("device.online", within_s=60)
            return
        life.charger.inject({"kind": "device.power_cut", "for_s": 3600.0})
        failed = await life.until("boot.time.failed", why="ntp_silent", within_s=3700)
        assert failed.data["source"] == "build"
        assert failed.data["before"].startswith("2025-03-01T00:00"), "it counts from when the power came back"
        heal()
        await life.until("device.online", within_s=120)

    live(story)


def test_a_clock_that_is_lost_at_run_time_is_set_again_before_the_next_login() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        life.charger.inject({"kind": "device.rtc_lost"})
        assert life.charger.reboot("test")
        time = await life.until("boot.time.passed")
        assert (time.data["source"], time.data["offset_s"] > 365 * 86400) == ("build", True)
        await life.until("device.online", within_s=60)

    live(story)


@pytest.mark.parametrize(
    ("by_s", "why"), [(-8 * YEAR_S, "tls_not_yet_valid"), (30 * YEAR_S, "tls_expired"), (-40 * 86400.0, "hub_refused")]
)
def test_a_kept_clock_that_was_moved_fails_at_the_hub_and_ntp_is_asked_until_it_answers(by_s: float, why: str) -> None:
    async def story(life: Life) -> None:
        heal = await restarted(life, "reboot")
        life.charger.inject({"kind": "device.rtc_jump", "by_s": by_s})
        for _ in range(2):
            await life.until("boot.time.degraded", why="ntp_silent")
            await life.until("boot.hub.failed", why=why)
        heal()
        time = await life.until("boot.time.passed", within_s=60)
        assert time.data["offset_s"] == pytest.approx(-by_s, abs=1.0)
        await life.until("device.online", within_s=60)

    live(story)


@pytest.mark.parametrize(
    ("offset_s", "why"), [(-8 * YEAR_S, "tls_not_yet_valid"), (30 * YEAR_S, "tls_expired"), (-YEAR_S, "hub_refused")]
)
def test_a_wrong_time_that_was_taken_over_makes_the_login_fail_and_ntp_is_asked_again(
    offset_s: float, why: str
) -> None:
    undo: list[Callable[[], None]] = []
    seen: list[dict[str, Any]] = []

    async def story(life: Life) -> None:
        time = await life.until("boot.time.passed")
        assert time.data["offset_s"] == pytest.approx(offset_s + 457.5 * 86400, abs=1.0)
        await life.until("boot.hub.failed", why=why)
        undo[0]()
        again = await life.until("boot.time.passed", within_s=60)
        assert again.data["offset_s"] == pytest.approx(-offset_s, abs=1.0)
        await life.until("device.online", within_s=60)
        seen.extend(life.world.history("ntp"))

    fault = {"kind": "ntp.offset", "offset_s": offset_s}
    live(story, before=lambda world: undo.append(world.inject(fault, where="test")))
    assert len(seen) == 2

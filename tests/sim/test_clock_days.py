"""The clock over days: it drifts, is set again every day, and what the keeper does while nobody gives the time."""

import asyncio
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from cloud_stub.worlds import SIM_EPOCH
from emulator.trace import Recorder
from tests.life import Life, live

DAY_S = 86400.0
RETRY_S = 900.0


def error_s(life: Life) -> float:
    """How far the charger's clock is ahead of true time."""
    true_s = asyncio.get_running_loop().time()
    return (life.charger.env.rtc.now() - SIM_EPOCH).total_seconds() - true_s


def resyncs(trace: Recorder) -> list[tuple[str, float]]:
    """(name, seconds) of every attempt of the keeper."""
    return [(event.name, event.t) for event in trace.where("clock.*")]


def test_five_days_of_drift_are_corrected_every_day_and_the_drift_is_measured() -> None:
    errors: list[float] = []
    ppm: list[float] = []

    async def story(life: Life) -> None:
        await life.until("device.online")
        ppm.append(life.charger.env.rtc.drift_ppm)
        for _ in range(5):
            event = await life.until("clock.resynced", within_s=DAY_S + 60)
            assert event.data["drift_ppm"] == pytest.approx(ppm[0], abs=0.05)
            assert event.data["offset_s"] == pytest.approx(-ppm[0] * DAY_S / 1e6, rel=0.01)
            assert event.data["tried"] == ["198.51.100.123:123 answered"]
            errors.append(error_s(life))
        await asyncio.sleep(DAY_S / 2)
        errors.append(error_s(life))

    trace = live(story)
    assert 1.0 < abs(ppm[0]) <= 20.0, "the seed of this test draws a clock that is worth correcting"
    assert all(abs(error) < 0.01 for error in errors[:-1])
    assert errors[-1] == pytest.approx(ppm[0] * DAY_S / 2 / 1e6, abs=0.01)
    times = [t for _, t in resyncs(trace)]
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([DAY_S] * 4, abs=1.0)
    assert len(trace.where("device.online")) == 1


def test_chargers_differ_in_their_drift_and_a_seed_gives_the_same_one() -> None:
    drifts: list[float] = []

    async def story(life: Life) -> None:
        drifts.append(life.charger.env.rtc.drift_ppm)

    for seed in (1, 2, 1):
        live(story, seed=seed)
    assert drifts[0] == drifts[2] != drifts[1]
    live(story, changes={"clock.drift_ppm_max": 0.0})
    assert drifts[-1] == 0.0


def test_a_bad_quartz_is_measured_and_shows_between_two_corrections() -> None:
    async def story(life: Life) -> None:
        await life.until("clock.resynced", within_s=2 * DAY_S)
        undo = life.charger.inject({"kind": "device.rtc_drift", "ppm": 2000.0})
        await asyncio.sleep(DAY_S / 2)
        assert error_s(life) == pytest.approx(2000.0 * DAY_S / 2 / 1e6, rel=0.02)
        event = await life.until("clock.resynced", within_s=DAY_S)
        assert event.data["drift_ppm"] == pytest.approx(2000.0, rel=0.02)
        undo()
        event = await life.until("clock.resynced", within_s=2 * DAY_S)
        assert abs(event.data["drift_ppm"]) < 21.0

    live(story)


def test_a_resync_that_fails_is_tried_every_quarter_of_an_hour() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        heal = await life.inject(kind="ntp.silence")
        for number in range(4):
            failed = await life.until("clock.resync_failed", within_s=DAY_S + 60)
            assert failed.data["why"] == "ntp_silent"
            assert len(failed.data["tried"]) == 8
            assert failed.t == pytest.approx(DAY_S + number * (RETRY_S + 16) + 16, abs=10)
        heal()
        again = await life.until("clock.resynced", within_s=RETRY_S + 60)
        following = await life.until("clock.resynced", within_s=DAY_S + 60)
        assert following.t - again.t == pytest.approx(DAY_S, abs=1)

    trace = live(story)
    assert len(trace.where("device.online")) == 1, "the session does not mind"


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"kind": "ntp.leap"}, "ntp_refused"),
        ({"kind": "ntp.absurd_root"}, "ntp_absurd"),
        ({"kind": "dns.silence"}, "dns_silent"),
    ],
)
def test_the_keeper_says_why_it_has_no_time(fault: dict[str, str], why: str) -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await life.inject(**fault)
        failed = await life.until("clock.resync_failed", within_s=DAY_S + 60)
        assert failed.data["why"] == why

    live(story)


def test_a_charger_that_went_on_with_a_kept_clock_sets_it_when_a_server_answers() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        heal = await life.inject(kind="ntp.silence")
        assert life.charger.reboot("test")
        await life.until("boot.time.degraded", why="ntp_silent")
        await life.until("clock.resync_failed", within_s=RETRY_S + 60)
        heal()
        event = await life.until("clock.resynced", within_s=RETRY_S + 60)
        assert event.data["drift_ppm"] is None, "not set in this life before"
        assert life.charger.env.rtc.source == "ntp"

    live(story)


def test_a_clock_that_was_moved_is_stepped_back_at_the_next_resync() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        life.charger.inject({"kind": "device.rtc_jump", "by_s": 3600.0})
        event = await life.until("clock.resynced", within_s=DAY_S + 60)
        assert event.data["offset_s"] == pytest.approx(-3600.0, abs=3.0)
        assert abs(error_s(life)) < 0.01

    live(story)


def test_a_wrong_time_at_the_daily_resync_shows_at_the_next_login_and_not_before() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        heal = await life.inject(kind="ntp.offset", offset_s=-8 * 365 * DAY_S)
        await life.until("clock.resynced", within_s=DAY_S + 60)
        assert life.charger.env.rtc.now() < datetime(2019, 1, 1, tzinfo=UTC)
        await asyncio.sleep(3600)
        assert life.charger.snapshot().online
        cut = life.world.inject({"kind": "link.down", "for_s": 30.0}, where="test")
        await life.until("boot.hub.failed", why="tls_not_yet_valid")
        heal()
        cut()
        await life.until("device.online", within_s=120)
        assert abs(error_s(life)) < 0.01

    live(story)

"""The charger's wall clock: what it shows, what it gains, what it survives."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.clock import Rtc
from emulator.profile import load_profile

BUILT = datetime(2025, 3, 1, tzinfo=UTC)
TRUE = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY_S = 86400.0


class Uptime:
    """Monotonic seconds that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def clock(drift_ppm: float = 0.0) -> tuple[Rtc, Uptime]:
    uptime = Uptime()
    return Rtc(uptime, built_at=BUILT, drift_ppm=drift_ppm), uptime


def test_it_counts_from_the_build_time_and_nobody_believes_it_until_it_is_set() -> None:
    rtc, uptime = clock()
    uptime.seconds = 60.0
    assert (rtc.now(), rtc.trusted, rtc.source) == (BUILT + timedelta(seconds=60), False, "build")
    rtc.set(TRUE, source="ntp")
    uptime.seconds += 60.0
    assert (rtc.now(), rtc.trusted, rtc.source) == (TRUE + timedelta(seconds=60), True, "ntp")


def test_it_gains_its_drift_and_not_what_it_had_gained_before_it_was_set() -> None:
    rtc, uptime = clock(drift_ppm=20.0)
    uptime.seconds = 10 * DAY_S
    rtc.set(TRUE, source="ntp")
    uptime.seconds += DAY_S
    assert rtc.now() - TRUE == timedelta(seconds=DAY_S * (1 + 20e-6))


def test_what_hastens_it_begins_when_it_begins() -> None:
    rtc, uptime = clock(drift_ppm=5.0)
    rtc.set(TRUE, source="ntp")
    uptime.seconds = DAY_S
    rtc.hasten(1000.0)
    uptime.seconds += DAY_S
    rtc.hasten(-1000.0)
    uptime.seconds += DAY_S
    assert rtc.drift_ppm == pytest.approx(5.0)
    gained_s = (rtc.now() - TRUE).total_seconds() - 3 * DAY_S
    assert gained_s == pytest.approx(3 * DAY_S * 5e-6 + DAY_S * 1000e-6, abs=1e-3)


def test_a_reboot_keeps_it_and_says_who_kept_it() -> None:
    rtc, uptime = clock()
    rtc.power_on()
    assert rtc.source == "build"
    rtc.set(TRUE, source="ntp")
    uptime.seconds = 10.0
    rtc.power_on()
    assert (rtc.now(), rtc.trusted, rtc.source) == (TRUE + timedelta(seconds=10), True, "rtc")


def test_its_battery_carries_it_through_a_power_cut() -> None:
    rtc, uptime = clock()
    rtc.set(TRUE, source="ntp")
    rtc.power_cut()
    uptime.seconds = DAY_S
    rtc.power_on()
    assert (rtc.now(), rtc.trusted, rtc.source) == (TRUE + timedelta(days=1), True, "rtc")


def test_with_a_flat_battery_a_power_cut_loses_it_and_it_counts_from_power_on() -> None:
    rtc, uptime = clock()
    rtc.set(TRUE, source="ntp")
    rtc.battery_flat = True
    rtc.power_on()
    assert rtc.trusted, "a reboot is no power cut"
    rtc.power_cut()
    rtc.battery_flat = False  # a new one does not bring the time back
    uptime.seconds = DAY_S
    rtc.power_on()
    assert (rtc.now(), rtc.trusted, rtc.source) == (BUILT, False, "build")
    rtc.set(TRUE, source="ntp")
    rtc.power_on()
    assert rtc.trusted


@given(st.lists(st.tuples(st.sampled_from(["wait", "jump", "hasten"]), st.floats(-1e3, 1e3)), max_size=20))
def test_jumps_and_drifts_never_make_it_forget_what_it_has_counted(story: list[tuple[str, float]]) -> None:
    rtc, uptime = clock()
    shown_s, ppm = 0.0, 0.0
    for what, amount in story:
        if what == "wait":
            uptime.seconds += abs(amount)
            shown_s += abs(amount) * (1 + ppm * 1e-6)
        elif what == "jump":
            rtc.jump(amount)
            shown_s += amount
        else:
            rtc.hasten(amount)
            ppm += amount
    assert (rtc.now() - BUILT).total_seconds() == pytest.approx(shown_s, abs=1e-3)


def test_each_charger_draws_its_own_drift_within_the_profile_and_the_same_every_time() -> None:
    profile = load_profile()
    drifts = [profile.clock.drift_ppm(Random(f"1/{number}")) for number in range(100)]
    assert drifts == [profile.clock.drift_ppm(Random(f"1/{number}")) for number in range(100)]
    assert len(set(drifts)) == 100
    assert max(map(abs, drifts)) <= profile.clock.drift_ppm_max
    assert min(drifts) < 0 < max(drifts)
    still = profile.with_changes({"clock.drift_ppm_max": 0.0})
    assert still.clock.drift_ppm(Random(1)) == 0.0

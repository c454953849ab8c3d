"""Bytes per day by the charger's own date, and what flash keeps of them."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.device.usage import DAYS_MAX, KEY, DataUsage, DayUsage, until_midnight_s
from emulator.flash import MemoryFlash
from emulator.net.meter import DataMeter, Purpose

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
BUILT = datetime(2025, 3, 1, tzinfo=UTC)


def life(flash: MemoryFlash, meter: DataMeter, now: datetime = NOON, *, trusted: bool = True) -> DataUsage:
    return DataUsage(flash, meter.totals, now, trusted=trusted)


def used(meter: DataMeter, up: int, down: int) -> None:
    meter.up(Purpose.TELEMETRY, up)
    meter.down(Purpose.DNS, down)


def test_a_day_ends_at_midnight_and_is_written_down() -> None:
    flash, meter = MemoryFlash(), DataMeter()
    usage = life(flash, meter)
    used(meter, 10, 3)
    assert usage.turn(NOON + timedelta(hours=11), trusted=True) is None
    assert flash.get(KEY) is None
    over = usage.turn(NOON + DAY / 2, trusted=True)
    assert over == DayUsage(date(2026, 6, 1), 10, 3)
    assert over.as_json() == '{"Date":"2026-06-01","Up":10,"Down":3}'
    used(meter, 1, 1)
    assert usage.days == (over, DayUsage(date(2026, 6, 2), 1, 1))


def test_an_orderly_end_loses_nothing_and_a_power_cut_what_came_since() -> None:
    flash, meter = MemoryFlash(), DataMeter()
    first = life(flash, meter)
    used(meter, 10, 0)
    first.save()
    used(meter, 100, 0)  # the plug is pulled
    second = life(flash, meter)
    used(meter, 1, 0)
    assert second.days == (DayUsage(date(2026, 6, 1), 11, 0),)


def test_what_was_counted_before_the_clock_was_set_belongs_to_the_day_that_it_is() -> None:
    flash, meter = MemoryFlash(), DataMeter()
    usage = life(flash, meter, BUILT, trusted=False)
    used(meter, 10, 0)
    assert usage.turn(NOON, trusted=True) is None
    assert usage.days == (DayUsage(date(2026, 6, 1), 10, 0),)


def test_a_clock_that_jumps_back_goes_on_with_the_day_that_was() -> None:
    usage = life(MemoryFlash(), meter := DataMeter())
    used(meter, 1, 0)
    usage.turn(NOON + DAY, trusted=True)
    used(meter, 2, 0)
    usage.turn(NOON, trusted=True)
    used(meter, 4, 0)
    assert usage.days == (DayUsage(date(2026, 6, 2), 2, 0), DayUsage(date(2026, 6, 1), 5, 0))


def test_no_more_than_32_days_are_kept() -> None:
    flash, meter = MemoryFlash(), DataMeter()
    usage = life(flash, meter)
    for number in range(1, 50):
        used(meter, number, 0)
        usage.turn(NOON + number * DAY, trusted=True)
    assert len(usage.days) == DAYS_MAX + 1
    assert usage.days[-2] == DayUsage(date(2026, 7, 19), 49, 0)
    assert len(life(flash, meter, NOON + 60 * DAY).days) == DAYS_MAX + 1


@given(
    st.one_of(st.binary(max_size=200), st.sampled_from([b"[" * 4000, b"[[1,2,3]]", b'[["2026-06-01",1e999,1]]', b"5"]))
)
def test_flash_may_hold_anything(record: bytes) -> None:
    flash = MemoryFlash()
    flash.put(KEY, record)
    assert life(flash, DataMeter()).days[-1].day == date(2026, 6, 1)


@pytest.mark.parametrize("record", [b'[["2026-05-31",-1,5]]', b'[["2026-05-31",1]]', b'{"a":1}', b"[[1]]"])
def test_what_nobody_here_has_written_counts_as_nothing(record: bytes) -> None:
    flash = MemoryFlash()
    flash.put(KEY, record)
    assert len(life(flash, DataMeter()).days) == 1


def test_midnight_is_always_ahead() -> None:
    assert until_midnight_s(NOON) == 43_200
    assert until_midnight_s(NOON.replace(hour=0)) == 86_400
    assert until_midnight_s(NOON.replace(hour=23, minute=59, second=59, microsecond=999_999)) == pytest.approx(1e-6)

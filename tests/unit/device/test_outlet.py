"""Electricity: meter, car, and what happens between pilot and contactor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.device.car import Car
from emulator.device.meter import IDLE, Meter
from emulator.device.outlet import Outlet
from emulator.errors import UsageError
from emulator.machines.charge_events import CarDraws, CarFull, CloseContactor, OpenContactor, SetPilot


def outlet(**car: float) -> Outlet:
    made = Outlet(Meter(230.0))
    made.plug_in(Car(**car), 0.0)  # type: ignore[arg-type]
    return made


def test_the_register_grows_with_power_and_time() -> None:
    meter = Meter(230.0)
    meter.set_load((10.0, 10.0, 10.0), 100.0)
    assert meter.power_w == 6900.0
    assert meter.energy_kwh(3700.0) == pytest.approx(6.9)
    meter.set_load(IDLE, 3700.0)
    assert meter.energy_kwh(99_999.0) == pytest.approx(6.9)
    assert meter.read(4000.0).currents_a == IDLE


@given(st.lists(st.tuples(st.floats(0, 32), st.floats(0, 1e5)), max_size=20))
def test_the_register_never_goes_back(loads: list[tuple[float, float]]) -> None:
    meter, now, last = Meter(230.0), 0.0, 0.0
    for amps, seconds in loads:
        meter.set_load((amps, amps, amps), now)
        now += seconds
        assert meter.energy_kwh(now) >= last
        last = meter.energy_kwh(now)


def test_the_meter_knows_when_it_will_reach_something() -> None:
    meter = Meter(230.0)
    assert meter.reaches(1.0, 0.0) is None
    assert meter.reaches(0.0, 5.0) == 5.0
    meter.set_load((10.0, 0.0, 0.0), 0.0)
    at = meter.reaches(1.0, 0.0)
    assert at is not None
    assert meter.energy_kwh(at) == pytest.approx(1.0)


def test_a_car_begins_after_its_delay_and_draws_what_both_can() -> None:
    made = outlet(start_delay_s=3.0, max_current_a=13.0, phases=1)
    assert made.deadline(0.0) is None
    made.apply([SetPilot(16.0)], 10.0)
    assert made.deadline(10.0) == 13.0
    assert made.wake(12.0) is None
    assert made.wake(13.0) == CarDraws()
    made.apply([CloseContactor(4)], 13.0)
    assert made.meter.read(13.0).currents_a == (13.0, 0.0, 0.0)
    made.apply([SetPilot(8.0)], 20.0)
    assert made.meter.power_w == 230.0 * 8


def test_a_car_that_is_full_says_so_on_time() -> None:
    made = outlet(energy_wanted_kwh=1.0, start_delay_s=0.0)
    made.apply([SetPilot(10.0)], 0.0)
    assert made.wake(0.0) == CarDraws()
    made.apply([CloseContactor(4)], 0.0)
    at = made.deadline(0.0)
    assert at is not None
    assert at == pytest.approx(3600 / 6.9)
    assert made.wake(at - 1) is None
    assert made.wake(at) == CarFull()
    made.apply([OpenContactor()], at)
    assert made.deadline(at) is None
    assert made.car is not None
    assert made.car.received_kwh == pytest.approx(1.0)


def test_a_full_car_asks_for_nothing() -> None:
    made = outlet(energy_wanted_kwh=0.0, start_delay_s=0.0)
    made.apply([SetPilot(10.0)], 0.0)
    assert made.wake(1.0) is None


def test_a_power_cut_opens_the_contactor_and_the_car_keeps_what_it_has() -> None:
    made = outlet(start_delay_s=0.0)
    made.apply([SetPilot(10.0), CloseContactor(4)], 0.0)
    made.cut(3600.0)
    assert not made.closed
    assert made.meter.power_w == 0.0
    assert made.car is not None
    assert made.car.received_kwh == pytest.approx(6.9)


def test_an_offer_that_was_taken_back_starts_nothing() -> None:
    made = outlet(start_delay_s=5.0)
    made.apply([SetPilot(10.0)], 0.0)
    made.apply([SetPilot(0.0)], 1.0)
    assert made.deadline(1.0) is None
    assert made.wake(10.0) is None


@pytest.mark.parametrize(("offer_a", "drawn_a"), [(5.9, 0.0), (6.0, 6.0), (16.0, 16.0), (40.0, 32.0)])
def test_no_car_draws_below_six_amperes_or_above_its_own_limit(offer_a: float, drawn_a: float) -> None:
    assert Car().draws_a(offer_a) == drawn_a


@pytest.mark.parametrize(
    "values",
    [
        {"phases": 0},
        {"phases": 4},
        {"energy_wanted_kwh": -1},
        {"max_current_a": float("nan")},
        {"cable_a": float("inf")},
    ],
)
def test_impossible_cars_are_refused_by_name(values: dict[str, float]) -> None:
    (name,) = values
    with pytest.raises(UsageError, match=f"car: {name}"):
        Car(**values)  # type: ignore[arg-type]

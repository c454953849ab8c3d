"""When something is due: pure decisions over numbers, no charger and no hub."""

from dataclasses import replace

import pytest

from emulator.device.observations import FULL
from emulator.device.reporter import Beat, Due, Interval, Report, Reporter, Sample, energy_step_kwh, power_step_w
from emulator.profile import load_profile

TIMING = load_profile().telemetry
IDLE = Sample(online=False, charging=False, power_w=0.0, energy_kwh=0.0)
POWER = Report((513, 507, 508, 509))
VOLTAGE = Report((501, 502, 503))


class Values(dict[int, str]):
    """Values that the reporter reads."""

    def __call__(self, id_: int) -> str | None:
        return self.get(id_)


def reporter(values: Values | None = None) -> tuple[Reporter, Values]:
    values = values if values is not None else Values({702: "12", 708: "0.000", 519: "4", 710: "1"})
    made = Reporter(TIMING, 0.0)
    made.prime(values, 0.0)
    return made, values


def due(made: Reporter, now: float, sample: Sample, values: Values) -> list[Due]:
    result = made.due(now, sample, values)
    for item in result:
        match item:
            case Report(ids):
                for id_ in ids:
                    made.sent(id_, values.get(id_, ""))
            case Interval(seconds):
                made.announced(seconds, delivered=True)
            case Beat():
                pass
    return result


def test_what_is_known_at_power_on_is_not_news() -> None:
    made, values = reporter()
    assert due(made, 1.0, IDLE, values) == []


def test_a_change_is_due_at_once_with_its_companions_and_once() -> None:
    made, values = reporter()
    values[708] = "16.000"
    assert due(made, 1.0, IDLE, values) == [Report((708, 519))]
    assert due(made, 1.0, IDLE, values) == []
    values.update({710: "5", 702: "9"})
    assert due(made, 2.0, IDLE, values) == [Report((702, 710, 553))]


def test_a_new_session_with_the_hub_gets_interval_then_pulse_at_once() -> None:
    made, values = reporter()
    made.connected()
    online = replace(IDLE, online=True)
    assert due(made, 5.0, online, values) == [Interval(120), Beat()]
    assert made.deadline(5.0, online) == 120.0
    assert due(made, 120.0, online, values) == [Report(FULL)]
    assert due(made, 125.0, online, values) == [Beat()]


def test_an_interval_that_cannot_be_announced_is_used_after_ten_tries() -> None:
    made, values = reporter()
    busy = Sample(online=True, charging=True, power_w=0.0, energy_kwh=0.0)
    for _ in range(9):
        assert Interval(180) in made.due(1.0, busy, values)
        made.announced(180, delivered=False)
        assert made.interval_s == 120
    made.announced(180, delivered=False)
    assert made.interval_s == 180
    assert Interval(180) not in made.due(2.0, busy, values)


def test_full_telemetry_every_two_minutes_at_first_then_rarely() -> None:
    made, values = reporter()
    times, now = [], 0.0
    while now < 100_000:
        if Report(FULL) in due(made, now, IDLE, values):
            times.append(now)
        now = made.deadline(now, IDLE)
    assert times == [120, 240, 360, 480, 600, 43_800, 87_000]


def test_full_telemetry_is_hourly_while_charging() -> None:
    made, values = reporter()
    busy = replace(IDLE, charging=True)
    assert Report(FULL) in due(made, 700.0, busy, values)
    assert made.deadline(700.0, busy) == 4300.0


def test_power_must_move_far_enough_and_settle() -> None:
    made, values = reporter()
    small, big = replace(IDLE, power_w=199.0), replace(IDLE, power_w=1400.0)
    assert POWER not in due(made, 1.0, small, values)
    assert POWER not in due(made, 2.0, big, values)
    assert made.deadline(2.0, big) == 7.0
    assert POWER not in due(made, 6.9, big, values)
    assert POWER in due(made, 7.0, big, values)
    assert POWER not in due(made, 20.0, big, values)


def test_power_that_falls_back_in_time_was_nothing() -> None:
    made, values = reporter()
    due(made, 2.0, replace(IDLE, power_w=1400.0), values)
    due(made, 4.0, IDLE, values)
    assert POWER not in due(made, 8.0, replace(IDLE, power_w=1400.0), values)


@pytest.mark.parametrize(("power_w", "step_w"), [(0, 200), (7000, 200), (7001, 500), (22_000, 500)])
def test_steps_of_power(power_w: float, step_w: float) -> None:
    assert power_step_w(power_w) == step_w


@pytest.mark.parametrize(("energy_kwh", "step_kwh"), [(0, 0.1), (0.99, 0.1), (1, 0.2), (4.9, 0.2), (5, 0.5), (50, 0.5)])
def test_steps_of_energy(energy_kwh: float, step_kwh: float) -> None:
    assert energy_step_kwh(energy_kwh) == step_kwh


def test_energy_goes_in_steps_and_knows_when_the_next_one_comes() -> None:
    made, values = reporter()
    energy_kwh, now, reported = 0.0, 1000.0, []
    due(made, now, IDLE, values)
    while energy_kwh < 7:
        sample = Sample(online=False, charging=True, power_w=10_000.0, energy_kwh=energy_kwh)
        if Report((553,)) in due(made, now, sample, values):
            reported.append(round(energy_kwh, 3))
        later = made.deadline(now, sample)
        assert later > now
        energy_kwh += 10.0 * (later - now) / 3600
        now = later
    assert reported[:13] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6]
    assert [step for step in reported if 4.5 < step < 7] == [4.6, 4.8, 5.0, 5.5, 6.0, 6.5]


def test_voltage_goes_with_every_tenth_of_a_kilowatt_hour() -> None:
    made, values = reporter()
    assert VOLTAGE not in due(made, 1.0, replace(IDLE, energy_kwh=0.09), values)
    assert VOLTAGE in due(made, 2.0, replace(IDLE, energy_kwh=0.1), values)
    assert VOLTAGE not in due(made, 3.0, replace(IDLE, energy_kwh=0.15), values)


def test_another_session_counts_from_zero() -> None:
    made, values = reporter()
    due(made, 1.0, replace(IDLE, energy_kwh=20.0), values)
    due(made, 2.0, IDLE, values)
    assert Report((553,)) in due(made, 3.0, replace(IDLE, energy_kwh=0.1), values)

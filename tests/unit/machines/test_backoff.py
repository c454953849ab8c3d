from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.backoff import reconnect_delay_s
from emulator.profile import load_profile

TIMING = load_profile("pro").backoff


class Fixed(Random):
    """A random source that always draws the same."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self._value = value

    def random(self) -> float:
        return self._value


@pytest.mark.parametrize(
    ("attempt", "car", "draw", "expected_s"),
    [
        (0, False, 0.9, 10.0),
        (0, True, 0.9, 10.0),
        (1, False, 0.0, 11.0),
        (3, False, 0.0, 19.0),
        (3, False, 0.75, 19.0 + 0.75 * 19.0 / 3),
        (3, True, 0.75, 19.0 + 0.75 * 19.0 / 2),
        (6, True, 0.0, 46.0),
        (7, True, 0.0, 55.0),
        (13, False, 0.0, 179.0),
        (14, False, 0.0, 190.0),
        (1000, True, 0.0, 55.0),
    ],
)
def test_the_delay_follows_the_formula(attempt: int, car: bool, draw: float, expected_s: float) -> None:
    assert reconnect_delay_s(attempt, car=car, timing=TIMING, rng=Fixed(draw)) == pytest.approx(expected_s)


@given(st.integers(0, 10**9), st.booleans(), st.integers(0, 99))
def test_a_charger_waits_between_ten_seconds_and_about_four_minutes(attempt: int, car: bool, seed: int) -> None:
    delay_s = reconnect_delay_s(attempt, car=car, timing=TIMING, rng=Random(seed))
    assert 10.0 <= delay_s <= (10 + 45) * 1.5 if car else (10 + 180) * 4 / 3


def test_a_fleet_that_fails_together_does_not_come_back_together() -> None:
    delays = {reconnect_delay_s(14, car=False, timing=TIMING, rng=Random(serial)) for serial in range(1000)}
    assert len(delays) == 1000
    assert max(delays) - min(delays) > 60

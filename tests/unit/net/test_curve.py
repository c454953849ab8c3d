"""What a Wi-Fi signal is worth (manual row M11)."""

from dataclasses import astuple
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.net.curve import Quality, quality_at
from emulator.net.wifi import KNEE_DBM, WEAKEST_DBM, wifi_params
from emulator.net.wifi_air import ApState
from emulator.net.wifi_site import AccessPoint

LINE = (Quality(-80.0, 0.0, 0.4, 2.0, 4.0), Quality(-70.0, 1.0, 0.0, 1.0, 2.0))


def test_between_two_points_it_is_a_straight_line_and_beyond_them_it_is_level() -> None:
    assert astuple(quality_at(LINE, -77.5)) == pytest.approx((-77.5, 0.25, 0.3, 1.75, 3.5))
    assert quality_at(LINE, -90.0) == quality_at(LINE, -80.0) == LINE[0]
    assert quality_at(LINE, -20.0) == quality_at(LINE, -70.0) == LINE[1]


def params_at(dbm: float, standard: Any = "n", neighbours: int = 0) -> Any:
    ap = AccessPoint(standard=standard)
    return wifi_params(dbm, ap, ApState(up=True, ssid=ap.ssid, channel=ap.channel, password=ap.password), neighbours)


@given(st.floats(WEAKEST_DBM, -20.0), st.floats(WEAKEST_DBM, -20.0), st.sampled_from("bgn"), st.integers(0, 100))
def test_a_stronger_signal_is_never_worse(one: float, other: float, standard: str, neighbours: int) -> None:
    weak, strong = (params_at(dbm, standard, neighbours) for dbm in sorted((one, other)))
    assert weak.rate_bps <= strong.rate_bps
    assert (weak.loss, weak.delay_s, weak.jitter_s) >= (strong.loss, strong.delay_s, strong.jitter_s)
    assert weak.loss >= strong.loss and weak.delay_s >= strong.delay_s and weak.jitter_s >= strong.jitter_s


def test_below_the_knee_every_decibel_costs_much_more_than_above_it() -> None:
    above = [params_at(KNEE_DBM + step).loss for step in range(6)]
    below = [params_at(KNEE_DBM - step).loss for step in range(6)]
    worst_above = max(near - far for near, far in pairwise(above))
    least_below = min(far - near for near, far in pairwise(below))
    assert least_below > 10 * worst_above > 0


def test_an_older_standard_is_slower_and_neighbours_share_the_air() -> None:
    rates = [params_at(-50.0, standard).rate_bps for standard in "bgn"]
    assert rates == sorted(rates) and rates[0] < 6e6
    assert params_at(-50.0, neighbours=3).rate_bps == pytest.approx(params_at(-50.0).rate_bps / 4)

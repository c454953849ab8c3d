"""How good a power line is: cable, noise, and two links in series."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.net.params import DOWN, LAN, LinkParams
from emulator.net.plc_line import (
    FULL_RATE_DB,
    LEAST_LOSS,
    NEEDED_DB,
    RATE_BPS,
    in_series,
    line_params,
    margin_db,
)


@given(st.floats(0, 500), st.floats(0, 60), st.floats(0.1, 100), st.floats(0.1, 60))
def test_more_cable_and_more_noise_never_make_a_line_better(cable: float, noise: float, more: float, db: float) -> None:
    here = line_params(margin_db(cable, noise))
    for worse in (line_params(margin_db(cable + more, noise)), line_params(margin_db(cable, noise + db))):
        assert here.up or not worse.up
        if worse.up:
            assert worse.loss >= here.loss and (worse.rate_bps or 0) <= (here.rate_bps or 0)


def test_the_curve_ends_where_it_says() -> None:
    assert line_params(FULL_RATE_DB).loss == pytest.approx(LEAST_LOSS)
    assert line_params(FULL_RATE_DB).rate_bps == RATE_BPS
    assert line_params(NEEDED_DB).up and not line_params(NEEDED_DB - 0.001).up


def test_two_links_in_series_are_as_bad_as_both() -> None:
    near = LinkParams(delay_s=0.1, jitter_s=0.01, loss=0.5, rate_bps=1e6, burst_s=0.1)
    far = LinkParams(delay_s=0.2, jitter_s=0.02, loss=0.5, mtu_bytes=1400)
    both = in_series(near, far)
    assert (both.loss, both.rate_bps, both.mtu_bytes, both.burst_s, both.up) == (0.75, 1e6, 1400, 0.1, True)
    assert (both.delay_s, both.jitter_s) == pytest.approx((0.3, 0.03))
    assert in_series(near, LAN).rate_bps == 1e6
    assert not in_series(near, DOWN).up

"""The hub under everything at once, for ten seconds; ``python -m tests.hub.soak`` goes on for longer."""

import sys

import pytest

from tests.hub.soak import soak

pytestmark = [pytest.mark.needs("mosquitto"), pytest.mark.slow]

SECONDS = 10.0


def test_after_ten_busy_seconds_nothing_is_lost_and_nothing_is_left_over() -> None:
    soaked = soak(SECONDS)
    print(f"\n{soaked}", file=sys.stderr)
    assert soaked.complaints == []
    assert soaked.up.acknowledged > 500 and soaked.down.acknowledged > 100 and soaked.logins > 10

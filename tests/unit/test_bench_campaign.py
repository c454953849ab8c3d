"""The benchmark of a campaign fails loudly unless it has halted at the very moment when it should."""

from typing import Any

import pytest

from tests.bench.campaign import halted_at
from tests.bench.processes import BenchError

CHARGERS, WORN = 200, 4


def shown(reason: str, state: str = "halted") -> dict[str, Any]:
    return {"state": state, "reason": reason, "devices": {}}


@pytest.mark.parametrize(("reason", "done"), [("4 of 50 chargers failed", 50), ("1 of 50 chargers failed", 50)])
def test_it_halts_once_enough_are_done(reason: str, done: int) -> None:
    assert halted_at(shown(reason), CHARGERS, WORN) == done


@pytest.mark.parametrize("reason", ["2 of 52 chargers failed", "3 of 102 chargers failed", "4 of 200 chargers failed"])
def test_or_later_with_the_failure_that_is_one_too_many(reason: str) -> None:
    assert halted_at(shown(reason), CHARGERS, WORN)


@pytest.mark.parametrize(
    "reason", ["4 of 49 chargers failed", "4 of 51 chargers failed", "1 of 60 chargers failed", "stage 0: tired", ""]
)
def test_any_other_moment_is_an_error(reason: str) -> None:
    with pytest.raises(BenchError, match="halted"):
        halted_at(shown(reason), CHARGERS, WORN)


def test_so_is_a_campaign_that_runs_on_and_one_that_misses_a_failure() -> None:
    for bad, failed in ((shown("", "completed"), WORN), (shown("4 of 50 chargers failed"), WORN - 1)):
        with pytest.raises(BenchError, match="not halted as configured"):
            halted_at(bad, CHARGERS, failed)

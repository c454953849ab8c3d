"""Random sites, links and faults: once all is healed, every charger comes online. ``make swarm`` runs thousands."""

from random import Random

import pytest

from tests.swarm.case import Case, Strike, draw_case, fault_kinds
from tests.swarm.trial import BOUND_S, live_through
from tests.swarm.values import draw_fault

SEED = 2026
CASES = 40


@pytest.mark.parametrize("number", range(CASES))
def test_once_all_is_healed_the_charger_comes_online(number: int) -> None:
    ended = live_through(draw_case(SEED, number))
    assert ended.ok, f"python -m tests.swarm --seed {SEED} --only {number}\n{ended.case}\n{ended.why}"
    assert ended.online_s is not None and ended.online_s <= BOUND_S


@pytest.mark.parametrize("number", [1, 7, 23])
def test_a_case_replays_exactly(number: int) -> None:
    one, other = live_through(draw_case(SEED, number)), live_through(draw_case(SEED, number))
    assert one.case == other.case
    assert one.digest == other.digest and len(one.recorder.events) > 10


def test_a_charger_that_is_not_healed_is_reported_with_the_last_that_was_heard_of_it() -> None:
    blocked = Strike(0.0, {"kind": "site.block", "port": 8883})
    ended = live_through(Case(1, 1, {}, {"mode": "ethernet"}, {}, {}, None, (blocked,)), heal=False)
    assert not ended.ok and ended.online_s is None
    assert "timed_out" in ended.why


def test_every_kind_of_fault_can_be_drawn_and_is_drawn() -> None:
    for cls in fault_kinds():
        for seed in range(30):
            assert draw_fault(cls, Random(seed))["kind"] == cls.kind
    drawn = {strike.fault["kind"] for number in range(1500) for strike in draw_case(SEED, number).strikes}
    assert drawn == {cls.kind for cls in fault_kinds()}

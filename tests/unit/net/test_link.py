"""A link as numbers."""

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import UsageError
from emulator.faults import fault_from
from emulator.net.link import (
    BACKLOG_S,
    FAULTS,
    LAN,
    Down,
    Link,
    LinkFault,
    LinkParams,
    Slow,
    Way,
)

WIFI = LinkParams(delay_s=0.02, jitter_s=0.03, loss=0.05, rate_bps=1e6)
LTE = LinkParams(delay_s=0.06, jitter_s=0.03, loss=0.005, rate_bps=375e3)

TABLE = {fault.kind: fault for fault in FAULTS}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def link_fault(data: Mapping[str, Any]) -> LinkFault:
    fault = fault_from(data, TABLE)
    assert isinstance(fault, LinkFault)
    return fault


def test_a_perfect_wire_delivers_at_once() -> None:
    assert Link(LAN, Random(1), Clock()).plan(1500, Way.UP) == 100.0


def test_delay_and_jitter_bound_the_arrival() -> None:
    link = Link(LinkParams(delay_s=0.5, jitter_s=0.25), Random(1), Clock())
    arrivals = [link.plan(100, Way.UP) for _ in range(200)]
    assert all(at is not None and 100.5 <= at <= 100.75 for at in arrivals)
    assert len(set(arrivals)) > 100


def test_loss_is_about_as_often_as_it_says_and_a_fragmented_packet_is_lost_more_often() -> None:
    link = Link(LinkParams(loss=0.1, mtu_bytes=1000), Random(1), Clock())
    one = sum(link.plan(1000, Way.UP) is None for _ in range(5000)) / 5000
    three = sum(link.plan(2001, Way.UP) is None for _ in range(5000)) / 5000
    assert one == pytest.approx(0.1, abs=0.02)
    assert three == pytest.approx(1 - 0.9**3, abs=0.02)


def test_a_rate_queues_packets_behind_each_other_in_each_direction_for_itself() -> None:
    link = Link(LinkParams(rate_bps=8000), Random(1), Clock())
    assert [link.plan(500, Way.UP) for _ in range(3)] == [100.5, 101.0, 101.5]
    assert link.plan(500, Way.DOWN) == 100.5


def test_the_queue_of_a_slow_link_has_an_end() -> None:
    clock = Clock()
    link = Link(LinkParams(rate_bps=8000), Random(1), clock)
    fates = [link.plan(1000, Way.UP) for _ in range(10)]
    assert sum(fate is not None for fate in fates) == BACKLOG_S
    clock.now += BACKLOG_S
    assert link.plan(1000, Way.UP) is not None


def test_a_link_that_is_down_delivers_nothing_and_tells_who_uses_it() -> None:
    link = Link(LAN, Random(1), Clock())
    told: list[str] = []
    link.went_down = lambda: told.append("down")
    undo = link.inject(link_fault({"kind": "link.down"}))
    assert told == ["down"] and link.plan(10, Way.UP) is None and not link.params.up
    undo()
    undo()
    assert link.plan(10, Way.UP) == 100.0


def test_faults_stack_and_the_later_wins_until_it_is_undone() -> None:
    link = Link(WIFI, Random(1), Clock())
    first = link.inject(link_fault({"kind": "link.slow", "delay_s": 2.0}))
    second = link.inject(link_fault({"kind": "link.slow", "delay_s": 5.0, "loss": 0.5}))
    assert (link.params.delay_s, link.params.loss) == (5.0, 0.5)
    second()
    assert (link.params.delay_s, link.params.loss) == (2.0, 0.0)
    first()
    assert link.params == WIFI


def test_a_fault_with_an_end_heals_by_itself() -> None:
    clock = Clock()
    link = Link(LAN, Random(1), clock)
    link.inject(Down(for_s=30))
    clock.now += 29.9
    assert not link.params.up
    clock.now += 0.1
    assert link.params.up


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "link.slow", "loss": 1.5},
        {"kind": "link.slow", "delay_s": -1},
        {"kind": "link.slow", "speed": 1},
        {"kind": "link.melted"},
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError):
        link_fault(fault)


@given(
    params=st.sampled_from([LAN, WIFI, LTE]),
    sizes=st.lists(st.integers(0, 65_535), max_size=50),
    seed=st.integers(),
    slow=st.booleans(),
)
def test_nothing_arrives_before_it_is_sent_and_the_same_seed_has_the_same_fate(
    params: LinkParams, sizes: list[int], seed: int, slow: bool
) -> None:
    def fates() -> list[float | None]:
        link = Link(params, Random(seed), Clock())
        if slow:
            link.inject(Slow(delay_s=1.0, loss=0.3))
        return [link.plan(size, Way.UP) for size in sizes]

    first = fates()
    assert first == fates()
    assert all(fate is None or fate >= 100.0 + (1.0 if slow else 0.0) for fate in first)

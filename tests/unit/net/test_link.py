"""A link as numbers: when packets arrive, what faults make of it, and when the carrier is lost."""

from collections.abc import Mapping
from itertools import pairwise
from math import exp
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import NetReason, UsageError
from emulator.faults import FaultSet, fault_from
from emulator.local import FACTORY, Mode
from emulator.net.bearer import Attached, Cable, NotAttached
from emulator.net.bursts import Bursts
from emulator.net.link import BACKLOG_S, Link, Way
from emulator.net.link_faults import FAULTS, Down, Flapping, Lossy, Slow
from emulator.net.params import DOWN, LAN, LinkParams
from emulator.net.rounds import Rounds

WIFI = LinkParams(delay_s=0.02, jitter_s=0.03, loss=0.05, rate_bps=1e6)
LTE = LinkParams(delay_s=0.06, jitter_s=0.03, loss=0.005, rate_bps=375e3)
FADING = LinkParams(loss=0.2, burst_s=0.5)

TABLE = {fault.kind: fault for fault in FAULTS}
WHO = "ZPR000001"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A link over a cable with these numbers, attached."""

    def __init__(self, params: LinkParams = LAN, seed: int = 1) -> None:
        self.clock = Clock()
        self.faults = FaultSet(Random(0), self.clock)
        self.link = Link(WHO, {Mode.ETHERNET: Cable(params)}, self.faults, Random(seed), self.clock)
        self.told: list[str] = []
        self.link.went_down = lambda: self.told.append("down")
        self.link.attach(Mode.ETHERNET, FACTORY)

    def up(self, size_bytes: int = 100) -> float | None:
        return self.link.plan(size_bytes, Way.UP)


def test_a_perfect_wire_delivers_at_once() -> None:
    assert Bench().up(1500) == 100.0


def test_without_an_attachment_there_is_no_carrier_and_nothing_passes() -> None:
    bench = Bench()
    bench.link.detach()
    assert (bench.link.up, bench.link.carrier, bench.link.next_change(), bench.up()) == (False, None, None, None)
    assert bench.link.params == DOWN


def test_a_bearer_that_is_not_there_is_named() -> None:
    bench = Bench()
    result = bench.link.attach(Mode.PLC, FACTORY)
    assert isinstance(result, NotAttached)
    assert (result.reason, result.detail, bench.link.up) == (NetReason.NO_CARRIER, "there is no plc here", False)
    assert bench.link.cause == "there is no plc here"
    bench.link.attach(Mode.ETHERNET, FACTORY)
    assert bench.link.cause == ""


def test_delay_and_jitter_bound_the_arrival() -> None:
    bench = Bench(LinkParams(delay_s=0.5, jitter_s=0.25))
    arrivals = [bench.up() for _ in range(200)]
    assert all(at is not None and 100.5 <= at <= 100.75 for at in arrivals)
    assert len(set(arrivals)) > 100


def test_loss_is_about_as_often_as_it_says_and_a_fragmented_packet_is_lost_more_often() -> None:
    bench = Bench(LinkParams(loss=0.1, mtu_bytes=1000))
    one = sum(bench.up(1000) is None for _ in range(5000)) / 5000
    three = sum(bench.up(2001) is None for _ in range(5000)) / 5000
    assert one == pytest.approx(0.1, abs=0.02)
    assert three == pytest.approx(1 - 0.9**3, abs=0.02)


@pytest.mark.parametrize("gap_s", [0.01, 0.1, 2.0], ids=["dense", "sparse", "sparser than the bursts"])
def test_bursts_are_as_long_and_as_frequent_at_any_packet_rate(gap_s: float) -> None:
    loss, burst_s = 0.2, 1.0
    bursts = Bursts(Random(1))
    lost = [bursts.lost(loss, burst_s, number * gap_s) for number in range(200_000)]
    assert sum(lost) / len(lost) == pytest.approx(loss, rel=0.1)
    after_a_loss = [later for earlier, later in pairwise(lost) if earlier]
    # Two exponential states: what is left of the knowledge after gap_s is exp(-gap / burst / (1 - loss)).
    expected = loss + (1 - loss) * exp(-gap_s / burst_s / (1 - loss))
    assert sum(after_a_loss) / len(after_a_loss) == pytest.approx(expected, rel=0.05)


def test_a_burst_takes_every_packet_whatever_its_size() -> None:
    bench = Bench(LinkParams(loss=0.5, burst_s=10.0, mtu_bytes=100))
    for _ in range(200):
        bench.clock.now += 7.0
        assert (bench.up(100) is None) is (bench.up(10_000) is None)


def test_a_link_that_passes_nothing_still_has_a_carrier() -> None:
    bench = Bench(LinkParams(loss=1.0))
    assert bench.link.up and {bench.up() for _ in range(100)} == {None}


def test_a_rate_queues_packets_behind_each_other_in_each_direction_for_itself() -> None:
    bench = Bench(LinkParams(rate_bps=8000))
    assert [bench.up(500) for _ in range(3)] == [100.5, 101.0, 101.5]
    assert bench.link.plan(500, Way.DOWN) == 100.5


def test_the_queue_of_a_slow_link_has_an_end_and_does_not_outlive_the_attachment() -> None:
    bench = Bench(LinkParams(rate_bps=8000))
    fates = [bench.up(1000) for _ in range(10)]
    assert sum(fate is not None for fate in fates) == BACKLOG_S
    bench.link.attach(Mode.ETHERNET, FACTORY)
    assert bench.up(1000) == 101.0


def test_what_was_carried_is_counted_per_bearer() -> None:
    bench = Bench(LinkParams(loss=0.5))
    for _ in range(10):
        bench.up(100)
    bench.link.plan(50, Way.DOWN)
    assert bench.link.carried_bytes == {Mode.ETHERNET: 1050, Mode.WIFI: 0, Mode.LTE: 0, Mode.PLC: 0}


def test_a_link_that_is_down_delivers_nothing_and_tells_who_uses_it_once() -> None:
    bench = Bench()
    undo = bench.faults.inject(Down())
    assert bench.up(10) is None
    bench.link.check()
    bench.link.check()
    assert bench.told == ["down"] and bench.link.carrier is None
    refused = bench.link.attach(Mode.ETHERNET, FACTORY)
    assert isinstance(refused, NotAttached) and refused.reason is NetReason.NO_CARRIER
    undo()
    assert bench.up(10) is None, "a carrier that was lost has to be brought up again"
    assert isinstance(bench.link.attach(Mode.ETHERNET, FACTORY), Attached)
    assert bench.up(10) == 100.0


def test_faults_only_make_it_worse_whatever_their_order() -> None:
    bench = Bench(LTE)
    slow = bench.faults.inject(Slow(delay_s=2.0, loss=0.5))
    bench.faults.inject(Slow(delay_s=0.001))
    assert (bench.link.params.delay_s, bench.link.params.loss) == (2.0, 0.5)
    slow()
    assert bench.link.params == LTE


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        ({"kind": "link.lossy", "loss": 0.3, "burst_s": 2.0}, {"loss": 0.3, "burst_s": 2.0}),
        ({"kind": "link.lossy", "loss": 0.0001}, {"loss": 0.005}),
        ({"kind": "link.rate", "rate_bps": 9600.0}, {"rate_bps": 9600.0}),
        ({"kind": "link.rate", "rate_bps": 1e9}, {"rate_bps": 375e3}),
        ({"kind": "link.mtu", "mtu_bytes": 576}, {"mtu_bytes": 576}),
        ({"kind": "link.mtu", "mtu_bytes": 9000}, {"mtu_bytes": 1500}),
        ({"kind": "link.flapping", "carrier": False}, {"loss": 1.0, "up": True}),
        ({"kind": "link.flapping"}, {"up": False}),
    ],
)
def test_each_fault_sets_its_numbers(data: Mapping[str, Any], numbers: Mapping[str, Any]) -> None:
    bench = Bench(LTE)
    bench.faults.inject(fault_from(data, TABLE))
    params = bench.link.params
    assert {name: getattr(params, name) for name in numbers} == numbers


def test_a_fault_is_only_about_who_it_names() -> None:
    bench = Bench()
    bench.faults.inject(Down(who="ZPR000002"))
    assert bench.link.up
    bench.faults.inject(Down(who=WHO))
    assert not bench.link.up


def test_a_fault_with_an_end_heals_by_itself() -> None:
    bench = Bench()
    bench.faults.inject(Slow(for_s=30))
    bench.clock.now += 29.9
    assert bench.link.params.delay_s == 1.0
    bench.clock.now += 0.1
    assert bench.link.params == LAN


def test_a_flapping_link_is_down_first_and_says_when_it_will_be_down_again() -> None:
    bench = Bench()
    bench.clock.now = 130.0
    bench.faults.inject(Flapping(up_s=60.0, down_s=5.0))
    bench.link.check()
    assert bench.told == ["down"]
    states = {}
    for at in (134.9, 135.0, 194.9, 195.0, 199.9, 200.0):
        bench.clock.now = at
        states[at] = isinstance(bench.link.attach(Mode.ETHERNET, FACTORY), Attached)
        if states[at]:
            assert bench.link.next_change() == (195.0 if at < 195.0 else 260.0)
    assert states == {134.9: False, 135.0: True, 194.9: True, 195.0: False, 199.9: False, 200.0: True}


def test_a_flapping_link_with_carrier_needs_no_looking_at() -> None:
    bench = Bench()
    bench.faults.inject(Flapping(up_s=10.0, down_s=10.0, carrier=False))
    assert bench.link.next_change() is None
    fates = []
    for _ in range(4):
        fates.append(bench.up() is not None)
        bench.clock.now += 10.0
    assert fates == [False, True, False, True]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "link.slow", "loss": 1.5},
        {"kind": "link.slow", "delay_s": -1},
        {"kind": "link.slow", "speed": 1},
        {"kind": "link.lossy", "burst_s": -1},
        {"kind": "link.rate", "rate_bps": 0},
        {"kind": "link.rate", "rate_bps": float("nan")},
        {"kind": "link.mtu", "mtu_bytes": 67},
        {"kind": "link.flapping", "up_s": 0},
        {"kind": "link.flapping", "count": 1},
        {"kind": "link.melted"},
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError):
        fault_from(fault, TABLE)


@given(
    params=st.sampled_from([LAN, WIFI, LTE, FADING]),
    sizes=st.lists(st.integers(0, 65_535), max_size=50),
    seed=st.integers(),
    slow=st.booleans(),
)
def test_nothing_arrives_before_it_is_sent_and_the_same_seed_has_the_same_fate(
    params: LinkParams, sizes: list[int], seed: int, slow: bool
) -> None:
    def fates() -> list[float | None]:
        bench = Bench(params, seed)
        if slow:
            bench.faults.inject(Slow(delay_s=1.0, loss=0.3))
            bench.faults.inject(Lossy(loss=0.2, burst_s=3.0))
        return [bench.up(size) for size in sizes]

    first = fates()
    assert first == fates()
    assert all(fate is None or fate >= 100.0 + (1.0 if slow else 0.0) for fate in first)


@given(start=st.floats(0, 1e9), period_s=st.floats(0.1, 1e9), now=st.floats(0, 1e9))
def test_a_round_always_ends_after_now(start: float, period_s: float, now: float) -> None:
    rounds = Rounds(start, period_s)
    number = rounds.number(now)
    assert rounds.begin(number) <= now < rounds.begin(number + 1) == rounds.next_begin(now)


FAULT_DATA = st.one_of(
    st.builds(Down, for_s=st.none() | st.floats(0.1, 50)),
    st.builds(Slow, delay_s=st.floats(0, 60), for_s=st.none() | st.floats(0.1, 50)),
    st.builds(
        Flapping, up_s=st.floats(0.1, 100), down_s=st.floats(0.1, 100), carrier=st.booleans(), for_s=st.floats(1, 99)
    ),
    st.builds(Lossy, loss=st.floats(0, 1), burst_s=st.floats(0, 10)),
)


@given(st.lists(st.tuples(st.floats(0, 100), st.none() | FAULT_DATA), max_size=30), st.integers())
def test_whatever_strikes_the_next_change_is_ahead_and_the_numbers_stay_possible(
    steps: list[tuple[float, Any]], seed: int
) -> None:
    bench = Bench(WIFI, seed)
    for pause_s, fault in steps:
        bench.clock.now += pause_s
        if fault is not None:
            bench.faults.inject(fault)
        bench.link.check()
        if not bench.link.up:
            bench.link.attach(Mode.ETHERNET, FACTORY)
        when = bench.link.next_change()
        assert when is None or when > bench.clock.now
        params = bench.link.params
        assert 0 <= params.loss <= 1 and params.delay_s >= 0 and params.mtu_bytes >= 68
        assert bench.link.up or bench.up() is None
        if when is not None and bench.link.up:
            bench.clock.now = when
            bench.link.check()

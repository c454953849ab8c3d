from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.hub.throttle import (
    BURST_S,
    LIMITS,
    LINE_S,
    Bucket,
    Capacity,
    Operation,
    Throttle,
    Tier,
    metered,
    method_bytes,
)
from emulator.errors import UsageError

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class Clock:
    """Both clocks of a hub."""

    def __init__(self) -> None:
        self.t = 0.0

    def now(self) -> float:
        return self.t

    def utc(self) -> datetime:
        return NOON + timedelta(seconds=self.t)


def new_throttle(tier: Tier = Tier.S1, units: int = 1) -> tuple[Throttle, Clock]:
    clock = Clock()
    return Throttle(Capacity(tier, units), now=clock.now, utc=clock.utc), clock


@pytest.mark.parametrize(
    ("tier", "units", "operation", "rate"),
    [
        (Tier.S1, 1, Operation.CONNECT, 100),
        (Tier.S1, 8, Operation.CONNECT, 100),
        (Tier.S1, 10, Operation.CONNECT, 120),
        (Tier.S2, 1, Operation.D2C, 120),
        (Tier.S2, 2, Operation.D2C, 240),
        (Tier.S3, 1, Operation.CONNECT, 6_000),
        (Tier.S1, 3, Operation.TWIN_READ, 100),
        (Tier.S2, 20, Operation.TWIN_READ, 200),
        (Tier.S3, 2, Operation.TWIN_UPDATE, 500),
        (Tier.S1, 2, Operation.METHOD_BYTES, 327_680),
        (Tier.S3, 3, Operation.QUERY, 50),
        (Tier.S1, 3, Operation.REGISTRY, 5.01),
    ],
)
def test_the_vendors_table(tier: Tier, units: int, operation: Operation, rate: float) -> None:
    assert Capacity(tier, units).rate(operation) == pytest.approx(rate)


def test_every_tier_limits_every_operation() -> None:
    assert all(set(limits) == set(Operation) for limits in LIMITS.values()) and set(LIMITS) == set(Tier)


def test_a_burst_is_served_then_waits_in_line_then_is_refused() -> None:
    throttle, clock = new_throttle()
    burst, line = int(100 * BURST_S), int(100 * LINE_S)
    waits = [throttle.wait_s(Operation.CONNECT) for _ in range(burst + line + 10)]
    assert waits[:burst] == [0.0] * burst
    assert waits[burst : burst + 3] == pytest.approx([0.01, 0.02, 0.03])
    assert waits[burst + line - 1] == pytest.approx(LINE_S)
    assert waits[burst + line :] == [None] * 10
    clock.t += 1.0
    assert [throttle.wait_s(Operation.CONNECT) is None for _ in range(101)] == [False] * 100 + [True]
    assert throttle.wait_s(Operation.D2C) == 0.0


def test_a_rest_restores_the_burst_and_no_more() -> None:
    bucket = Bucket(10.0, 0.0)
    assert bucket.take(600.0, 0.0) == 0.0
    assert bucket.take(1.0, 30.0) == 0.0
    assert [bucket.take(600.0, 10_000.0), bucket.take(1.0, 10_000.0)] == [0.0, pytest.approx(0.1)]


def test_work_that_is_larger_than_a_whole_burst_is_served_after_a_rest() -> None:
    bucket = Bucket(1.0, 0.0)
    assert bucket.take(200.0, 0.0) == 140.0
    assert bucket.take(1.0, 0.0) is None


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1_000)), max_size=60))
def test_nobody_waits_longer_than_the_line_allows(steps: list[tuple[float, float]]) -> None:
    bucket, now = Bucket(10.0, 0.0), 0.0
    for passed, cost in steps:
        now += passed
        wait_s = bucket.take(cost, now)
        assert wait_s is None or 0 <= wait_s <= max(LINE_S, 100) + 1e-6


def test_the_daily_quota_counts_in_steps_of_4_kb_and_is_renewed_at_midnight() -> None:
    throttle, clock = new_throttle()
    assert throttle.quota_left == 400_000
    assert throttle.spend(0) and throttle.spend(4_096) and throttle.spend(4_097)
    assert throttle.quota_left == 400_000 - 4
    assert throttle.spend(4_096 * 399_995)
    assert not throttle.spend(4_097) and throttle.spend(1) and not throttle.spend(1)
    clock.t += 12 * 3_600
    assert throttle.quota_left == 400_000


@pytest.mark.parametrize(("size", "messages"), [(0, 1), (1, 1), (4_096, 1), (4_097, 2), (262_144, 64)])
def test_how_messages_are_counted(size: int, messages: int) -> None:
    assert metered(size) == messages and method_bytes(size) == messages * 4_096


@pytest.mark.parametrize("units", [0, 201])
def test_units_that_cannot_be_bought(units: int) -> None:
    with pytest.raises(UsageError, match="units"):
        Capacity(Tier.S1, units)

"""What a tier of the hub serves per second and per day, pure (iothub-mqtt.md section 1.16).

A burst is served at once, then work waits in line at the limit's rate, then it is refused. How long a burst and the
line may be is not known: `BURST_S` and `LINE_S` are assumptions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from emulator.errors import UsageError

BURST_S = 60.0
"""Seconds of the limit that may be used at once after a rest."""
LINE_S = 30.0
"""Seconds that work may wait in line before it is refused."""
METER_BYTES = 4_096
"""Messages count in steps of this size."""
UNITS_MAX = 200


class Tier(StrEnum):
    """What a hub's owner pays for."""

    S1 = "S1"
    S2 = "S2"
    S3 = "S3"


class Operation(StrEnum):
    """What is limited, each by itself."""

    CONNECT = "connect"
    D2C = "d2c"
    C2D = "c2d"
    METHOD_BYTES = "method_bytes"
    TWIN_READ = "twin_read"
    TWIN_UPDATE = "twin_update"
    REGISTRY = "registry"
    QUERY = "query"
    JOB_DEVICE = "job_device"


@dataclass(frozen=True, slots=True)
class Limit:
    """Operations per second: the larger of a fixed number and a number for each unit."""

    fixed: float = 0.0
    per_unit: float = 0.0

    def rate(self, units: int) -> float:
        """With so many units."""
        return max(self.fixed, self.per_unit * units)


_SLOW = Limit(per_unit=1.67)
_FAST = Limit(per_unit=83.33)
LIMITS: Mapping[Tier, Mapping[Operation, Limit]] = {
    Tier.S1: {
        Operation.CONNECT: Limit(100, 12),
        Operation.D2C: Limit(100, 12),
        Operation.C2D: _SLOW,
        Operation.METHOD_BYTES: Limit(per_unit=160 * 1024),
        Operation.TWIN_READ: Limit(100),
        Operation.TWIN_UPDATE: Limit(50),
        Operation.REGISTRY: _SLOW,
        Operation.QUERY: Limit(per_unit=20 / 60),
        Operation.JOB_DEVICE: Limit(10),
    },
    Tier.S2: {
        Operation.CONNECT: Limit(per_unit=120),
        Operation.D2C: Limit(per_unit=120),
        Operation.C2D: _SLOW,
        Operation.METHOD_BYTES: Limit(per_unit=480 * 1024),
        Operation.TWIN_READ: Limit(100, 10),
        Operation.TWIN_UPDATE: Limit(50, 5),
        Operation.REGISTRY: _SLOW,
        Operation.QUERY: Limit(per_unit=20 / 60),
        Operation.JOB_DEVICE: Limit(10, 1),
    },
    Tier.S3: {
        Operation.CONNECT: Limit(per_unit=6_000),
        Operation.D2C: Limit(per_unit=6_000),
        Operation.C2D: _FAST,
        Operation.METHOD_BYTES: Limit(per_unit=24 * 1024 * 1024),
        Operation.TWIN_READ: Limit(per_unit=500),
        Operation.TWIN_UPDATE: Limit(per_unit=250),
        Operation.REGISTRY: _FAST,
        Operation.QUERY: Limit(per_unit=1_000 / 60),
        Operation.JOB_DEVICE: Limit(per_unit=50),
    },
}
"""The vendor's table. A method counts with the bytes that `method_bytes` gives it."""

MESSAGES_PER_DAY: Mapping[Tier, int] = {Tier.S1: 400_000, Tier.S2: 6_000_000, Tier.S3: 300_000_000}
"""For each unit. S1 from the reference; S2 and S3 as the vendor's price list has had them (not verified)."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The size of a hub. UsageError for units that cannot be bought."""

    tier: Tier
    units: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.units <= UNITS_MAX:
            raise UsageError(f"units {self.units}: must be 1 to {UNITS_MAX}")

    def rate(self, operation: Operation) -> float:
        """How many a second."""
        return LIMITS[self.tier][operation].rate(self.units)

    @property
    def messages_per_day(self) -> int:
        """The daily quota."""
        return MESSAGES_PER_DAY[self.tier] * self.units


def metered(size_bytes: int) -> int:
    """How many messages a payload counts for (of no bytes: one)."""
    return max(1, -(-size_bytes // METER_BYTES))


def method_bytes(size_bytes: int) -> int:
    """What a method with its answer counts for: steps of 4 KB."""
    return metered(size_bytes) * METER_BYTES


class Bucket:
    """One limit over time. It holds what a burst may use; below zero, work waits in line."""

    __slots__ = ("_at", "_filled", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._filled = rate * BURST_S
        self._at = now

    def take(self, cost: float, now: float) -> float | None:
        """How many seconds the work must wait, 0 for none; None: refused, and nothing is taken."""
        self._filled = min(self._rate * BURST_S, self._filled + (now - self._at) * self._rate)
        self._at = now
        left = self._filled - cost
        if left < -self._rate * LINE_S and self._filled < self._rate * BURST_S:
            return None
        self._filled = left
        return max(0.0, -left / self._rate)


class Throttle:
    """The limits of one hub. `now` is monotonic seconds, `utc` the hub's clock, whose midnight renews the quota."""

    def __init__(
        self, capacity: Capacity, *, now: Callable[[], float], utc: Callable[[], datetime], share: float = 1.0
    ) -> None:
        """`share` is this process's part of the limits."""
        self.capacity = capacity
        self._now = now
        self._utc = utc
        self._share = share
        started = now()
        self._buckets = {operation: Bucket(capacity.rate(operation) * share, started) for operation in Operation}
        self._day: date | None = None
        self._messages = 0

    def wait_s(self, operation: Operation, cost: float = 1.0) -> float | None:
        """How long an operation must wait in line, 0 to be served at once; None: it is refused (429001)."""
        return self._buckets[operation].take(cost, self._now())

    def spend(self, size_bytes: int) -> bool:
        """Count a message of this size towards today's quota; False if that is used up (403002)."""
        left = self.quota_left
        cost = metered(size_bytes)
        if cost > left:
            return False
        self._messages += cost
        return True

    @property
    def quota_left(self) -> int:
        """Messages that today's quota still has."""
        today = self._utc().date()
        if today != self._day:
            self._day, self._messages = today, 0
        return int(self.capacity.messages_per_day * self._share) - self._messages

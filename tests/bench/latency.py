"""How long messages took, pure: when each is due, and the spread of the waits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import quantiles


def due_times(count: int, per_s: float, *, number: int, clients: int) -> Iterator[float]:
    """When a client sends its `count` messages, in seconds from the start; 0.0 for all when `per_s` is 0.

    The `clients` together send `per_s`, each at the same pace and one after the other.
    """
    return ((turn * clients + number) / per_s if per_s else 0.0 for turn in range(count))


@dataclass(frozen=True, slots=True)
class Waits:
    """Milliseconds."""

    p50_ms: float
    p99_ms: float
    max_ms: float


def waits(seconds: Sequence[float]) -> Waits:
    """The spread of at least one wait."""
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 99
    return Waits(1000 * cuts[49], 1000 * cuts[98], 1000 * max(seconds))

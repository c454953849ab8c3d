"""How good a radio link is at a signal strength: straight lines between stated points. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class Quality:
    """A radio link at one signal strength."""

    signal_dbm: float
    rate_share: float
    """Of the rate that it has at its best."""
    loss: float
    delay_s: float
    jitter_s: float


def quality_at(points: Sequence[Quality], signal_dbm: float) -> Quality:
    """The quality at a signal. `points` go from weak to strong; beyond the first and the last nothing changes."""
    after = bisect_right(points, signal_dbm, key=lambda point: point.signal_dbm)
    if after in (0, len(points)):
        return points[max(after - 1, 0)]
    weak, strong = points[after - 1], points[after]
    share = (signal_dbm - weak.signal_dbm) / (strong.signal_dbm - weak.signal_dbm)
    pairs = zip(astuple(weak), astuple(strong), strict=True)
    return Quality(*(low + share * (high - low) for low, high in pairs))

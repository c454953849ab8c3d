"""Losses that come in bursts. Pure."""

from math import exp
from random import Random


class Bursts:
    """Gilbert's two states, good and bad, by time: the bursts are as long at any packet rate.

    E. N. Gilbert, "Capacity of a burst-noise channel", 1960; here every packet is lost while the state is bad. The
    times in both states are exponential: `burst_s` on average in the bad one, and so long in the good one that `loss`
    is the mean.
    """

    __slots__ = ("_bad", "_burst_s", "_loss", "_rng", "_until")

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._loss = self._burst_s = 0.0
        self._bad = False
        self._until = float("-inf")

    def lost(self, loss: float, burst_s: float, now: float) -> bool:
        """Whether a packet is lost now, for 0 < `loss` < 1 and `burst_s` > 0. `now` (seconds) must not go back."""
        good_s = burst_s * (1 - loss) / loss
        if (loss, burst_s) != (self._loss, self._burst_s):
            self._loss, self._burst_s = loss, burst_s
            self._enter(self._rng.random() < loss, good_s, now)
        elif now >= self._until:
            # The other state began at `_until`; what has come of it since is forgotten at the rate of both together.
            left = exp(-(now - self._until) * (1 / burst_s + 1 / good_s))
            bad_before = 0.0 if self._bad else 1.0
            self._enter(self._rng.random() < loss + (bad_before - loss) * left, good_s, now)
        return self._bad

    def _enter(self, bad: bool, good_s: float, now: float) -> None:
        self._bad = bad
        self._until = now + self._rng.expovariate(1 / (self._burst_s if bad else good_s))

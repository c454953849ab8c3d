"""How much work the benchmarks do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of one session; `runs` of each benchmark give medians and spread."""

    runs: int
    chargers: int
    handshake_s: int
    logins: int
    messages: int
    paced_s: float
    held: int
    updates: int


FULL = Scale(runs=3, chargers=1000, handshake_s=5, logins=400, messages=20_000, paced_s=5, held=5_000, updates=200)
QUICK = Scale(runs=1, chargers=200, handshake_s=1, logins=100, messages=2_000, paced_s=1, held=500, updates=50)
"""Shows that everything runs; its figures say little."""

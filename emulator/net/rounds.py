"""What comes round again at fixed times. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rounds:
    """Rounds of `period_s` (above 0) that follow each other from `start` on, numbered from 0; monotonic seconds."""

    start: float
    period_s: float

    def begin(self, number: int) -> float:
        """When a round begins."""
        return self.start + number * self.period_s

    def number(self, now: float) -> int:
        """The round that `now` is in, so that ``begin(number) <= now < begin(number + 1)`` holds to the last bit."""
        number = int((now - self.start) // self.period_s)
        while self.begin(number) > now:
            number -= 1
        while self.begin(number + 1) <= now:
            number += 1
        return number

    def next_begin(self, now: float) -> float:
        """When the round after the one that `now` is in begins: always after `now`."""
        return self.begin(self.number(now) + 1)

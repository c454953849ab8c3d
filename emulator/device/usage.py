"""The charger's own record of its data: bytes per day by its own date, the last days of them in flash (M15).

A day is written when it is over, and the one that runs at an orderly end; a power cut loses what has been counted
since. Both are invented, as is the form of observation 822, of which only the id and the name are known.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

from emulator.flash.api import Flash, kept

KEY = "data.days"
DAYS_MAX = 32
SECONDS_PER_DAY = 86_400
RECORD_MAX_BYTES = 4096  # what we write is shorter; anything else is not ours


@dataclass(frozen=True, slots=True)
class DayUsage:
    """What went over the link on one day."""

    day: date
    up_bytes: int
    down_bytes: int

    def as_json(self) -> str:
        """The value of observation 822."""
        values = {"Date": self.day.isoformat(), "Up": self.up_bytes, "Down": self.down_bytes}
        return json.dumps(values, separators=(",", ":"))


class DataUsage:
    """Days of one life of the charger, which begins at `now` by its own clock, on top of what flash has kept.

    What was counted before the clock was set belongs to the day that it is set to. A clock that jumps begins another
    day; a date that comes again goes on where it was.
    """

    __slots__ = ("_counted", "_day", "_days", "_flash", "_read", "_trusted")

    def __init__(self, flash: Flash, read: Callable[[], tuple[int, int]], now: datetime, *, trusted: bool) -> None:
        """`read` gives the meter's totals, up and down, which only grow; `trusted` tells whether the clock is set."""
        self._flash = flash
        self._read = read
        self._day = now.date()
        self._trusted = trusted
        self._counted = read()
        self._days = dict(_stored(flash.get(KEY)))

    @property
    def days(self) -> tuple[DayUsage, ...]:
        """At most `DAYS_MAX`, as they were written; the day that runs is the last, up to now."""
        now = self._so_far()
        others = (DayUsage(day, *counts) for day, counts in self._days.items() if day != self._day)
        return (*others, now)

    def turn(self, now: datetime, *, trusted: bool) -> DayUsage | None:
        """Take in the date. A day that is over is written to flash and returned."""
        was_set, self._trusted = trusted and not self._trusted, trusted
        if was_set:
            self._day = now.date()
        if now.date() == self._day:
            return None
        over = self._so_far()
        self.save()
        self._day = now.date()
        return over

    def save(self) -> None:
        """Write everything down."""
        now = self._so_far()
        self._counted = self._read()
        self._days.pop(self._day, None)
        self._days[self._day] = (now.up_bytes, now.down_bytes)
        for day in list(self._days)[:-DAYS_MAX]:
            del self._days[day]
        rows = [[day.isoformat(), *counts] for day, counts in self._days.items()]
        kept(self._flash, KEY, json.dumps(rows, separators=(",", ":")).encode())

    def _so_far(self) -> DayUsage:
        up, down = self._days.get(self._day, (0, 0))
        (all_up, all_down), (old_up, old_down) = self._read(), self._counted
        return DayUsage(self._day, up + all_up - old_up, down + all_down - old_down)


def until_midnight_s(now: datetime) -> float:
    """Seconds until the date changes."""
    elapsed_s = now.hour * 3600 + now.minute * 60 + now.second
    return ((SECONDS_PER_DAY - elapsed_s) * 1_000_000 - now.microsecond) / 1e6


def _stored(record: bytes | None) -> list[tuple[date, tuple[int, int]]]:
    """What flash has kept; nothing if that is not what `save` writes."""
    if record is None or len(record) > RECORD_MAX_BYTES:
        return []
    try:
        rows = json.loads(record)
        days = [(date.fromisoformat(day), (int(up), int(down))) for day, up, down in rows]
    except (TypeError, ValueError, OverflowError, RecursionError):
        return []
    return [(day, counts) for day, counts in days[-DAYS_MAX:] if min(counts) >= 0]

"""Decides what is reported when (zaptec.md section 12). Knows no hub: the charger asks what is due and sends it."""

from collections.abc import Callable
from dataclasses import dataclass

from emulator.device.meter import SECONDS_PER_HOUR, WATTS_PER_KILOWATT
from emulator.device.observations import CURRENTS, FULL, OBSERVATIONS, VOLTAGES, Cadence, by_cadence
from emulator.profile import Telemetry

Read = Callable[[int], str | None]
"""Observation id -> value now."""

INTERVAL_ATTEMPTS = 10
"""A pulse interval that could not be announced so often is used anyway."""
VOLTAGE_STEP_KWH = 0.1
TOLERANCE_KWH = 1e-6
"""A step counts as reached this early: its time was computed in floats."""

_WATCHED = by_cadence(Cadence.ON_CHANGE)
_ON_POWER = (513, *CURRENTS)


@dataclass(frozen=True, slots=True)
class Sample:
    """What the decision needs to know of the charger."""

    online: bool
    charging: bool
    power_w: float
    energy_kwh: float
    """Of the charge session."""


@dataclass(frozen=True, slots=True)
class Report:
    """Send these observations, in one message."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """Announce this pulse interval (147); call `announced` when it is through."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Beat:
    """Send the pulse."""


Due = Report | Interval | Beat


def power_step_w(power_w: float) -> float:
    """How far the power must move to be reported."""
    return 500.0 if power_w > 7000 else 200.0


def energy_step_kwh(energy_kwh: float) -> float:
    """How far the session's energy must grow to be reported."""
    if energy_kwh < 1:
        return 0.1
    return 0.2 if energy_kwh < 5 else 0.5


class Reporter:
    """One life's reporting, from power-on at `now` (monotonic seconds)."""

    __slots__ = (
        "_announce",
        "_announcements",
        "_beat_at",
        "_began",
        "_energy_kwh",
        "_full_at",
        "_last",
        "_moved_at",
        "_power_w",
        "_timing",
        "_voltage_kwh",
        "interval_s",
    )

    def __init__(self, timing: Telemetry, now: float) -> None:
        self._timing = timing
        self._began = now
        self.interval_s = int(timing.pulse_boot_s)
        """The pulse interval in use."""
        self._announce = False
        self._announcements = 0
        self._beat_at = now
        self._full_at = now
        self._last: dict[int, str] = {}
        self._power_w = 0.0
        self._moved_at: float | None = None
        self._energy_kwh = 0.0
        self._voltage_kwh = 0.0

    def prime(self, read: Read, energy_kwh: float) -> None:
        """Take the values of now as known: the startup set will tell them."""
        self._last = {id_: value for id_ in _WATCHED if (value := read(id_)) is not None}
        self._energy_kwh = self._voltage_kwh = energy_kwh

    def sent(self, id_: int, value: str) -> None:
        """This value is on its way."""
        if OBSERVATIONS[id_].cadence is Cadence.ON_CHANGE:
            self._last[id_] = value

    def connected(self) -> None:
        """A hub session began: interval and pulse are due at once."""
        self._announce = True

    def announced(self, seconds: int, *, delivered: bool) -> None:
        """The cloud has heard of a pulse interval, or it could not be told."""
        self._announcements += not delivered
        self._announce = not delivered and self._announcements < INTERVAL_ATTEMPTS
        if not self._announce:
            self.interval_s, self._announcements = seconds, 0

    def due(self, now: float, sample: Sample, read: Read) -> list[Due]:
        """What to send now, in order. It counts as sent."""
        due: list[Due] = []
        for ids in (self._changed(read), self._power(now, sample), self._energy(sample), self._voltage(sample)):
            if ids:
                due.append(Report(ids))
        if now >= self._full_due_at(sample):
            self._full_at = now
            due.append(Report(FULL))
        return due + (self._pulse(now, sample) if sample.online else [])

    def deadline(self, now: float, sample: Sample) -> float:
        """When to ask again if nothing happens meanwhile."""
        times = [self._full_due_at(sample)]
        if self._moved_at is not None:
            times.append(self._moved_at + self._timing.settle_s)
        if sample.power_w > 0:
            step_kwh = min(self._next_energy_kwh(), self._voltage_kwh + VOLTAGE_STEP_KWH) - sample.energy_kwh
            times.append(now + max(step_kwh, 0.0) * WATTS_PER_KILOWATT / sample.power_w * SECONDS_PER_HOUR)
        if sample.online:
            times.append(self._beat_at + self.interval_s)
            if now < self._first_period_ends():
                times.append(self._first_period_ends())
        return min(times)

    def _changed(self, read: Read) -> tuple[int, ...]:
        ids: dict[int, None] = {}
        for id_ in _WATCHED:
            value = read(id_)
            if value is not None and value != self._last.get(id_):
                ids[id_] = None
                ids.update(dict.fromkeys(OBSERVATIONS[id_].sent_with(value)))
        return tuple(ids)

    def _power(self, now: float, sample: Sample) -> tuple[int, ...]:
        if abs(sample.power_w - self._power_w) < power_step_w(sample.power_w):
            self._moved_at = None
            return ()
        if self._moved_at is None:
            self._moved_at = now
        if now < self._moved_at + self._timing.settle_s:
            return ()
        self._moved_at, self._power_w = None, sample.power_w
        return _ON_POWER

    def _energy(self, sample: Sample) -> tuple[int, ...]:
        if sample.energy_kwh + TOLERANCE_KWH < self._energy_kwh:
            self._energy_kwh = 0.0  # another session
        step_kwh = self._next_energy_kwh()
        if sample.energy_kwh + TOLERANCE_KWH < step_kwh:
            return ()
        self._energy_kwh = max(sample.energy_kwh, step_kwh)
        return (553,)

    def _next_energy_kwh(self) -> float:
        return self._energy_kwh + energy_step_kwh(self._energy_kwh + TOLERANCE_KWH)

    def _voltage(self, sample: Sample) -> tuple[int, ...]:
        if sample.energy_kwh + TOLERANCE_KWH < self._voltage_kwh:
            self._voltage_kwh = 0.0
        step_kwh = self._voltage_kwh + VOLTAGE_STEP_KWH
        if sample.energy_kwh + TOLERANCE_KWH < step_kwh:
            return ()
        self._voltage_kwh = max(sample.energy_kwh, step_kwh)
        return VOLTAGES

    def _pulse(self, now: float, sample: Sample) -> list[Due]:
        due: list[Due] = []
        wanted_s = self._wanted_interval_s(now, sample)
        if self._announce or wanted_s != self.interval_s:
            due.append(Interval(wanted_s))
        if self._announce or now >= self._beat_at + self.interval_s:
            self._beat_at = now
            due.append(Beat())
        return due

    def _wanted_interval_s(self, now: float, sample: Sample) -> int:
        if sample.charging:
            return int(self._timing.pulse_charging_s)
        first = now < self._first_period_ends()
        return int(self._timing.pulse_boot_s if first else self._timing.pulse_idle_s)

    def _full_due_at(self, sample: Sample) -> float:
        early = self._full_at + self._timing.full_first_s
        if early <= self._first_period_ends():
            return early
        return self._full_at + (self._timing.full_charging_s if sample.charging else self._timing.full_idle_s)

    def _first_period_ends(self) -> float:
        return self._began + self._timing.first_period_s

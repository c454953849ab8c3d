"""The outlet: pilot, contactor and meter of the charger, and the car on it. Knows electricity, not the cloud."""

from collections.abc import Iterable

from emulator.device.car import Car
from emulator.device.meter import IDLE, Lines, Meter
from emulator.machines.charge_events import CarDraws, CarFull, CloseContactor, Effect, Event, OpenContactor, SetPilot
from emulator.machines.charge_modes import PHASES


class Outlet:
    """Does the effects of the charging machine and returns what the car does in answer, when its time has come."""

    __slots__ = ("_draws_at", "_lines", "_pilot_a", "_register_kwh", "car", "meter")

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.car: Car | None = None
        self._pilot_a = 0.0
        self._lines: tuple[int, ...] = ()
        self._draws_at: float | None = None
        self._register_kwh = 0.0

    @property
    def closed(self) -> bool:
        """The contactor connects the car."""
        return bool(self._lines)

    def apply(self, effects: Iterable[Effect], now: float) -> None:
        """Set pilot and contactor."""
        for effect in effects:
            match effect:
                case SetPilot():
                    self._set_pilot(effect.amps, now)
                case CloseContactor():
                    self._lines = PHASES[effect.phases]
                case OpenContactor():
                    self._lines = ()
        self._set_load(now)

    def cut(self, now: float) -> None:
        """The power is gone: no pilot, the contactor falls open."""
        self._pilot_a, self._lines, self._draws_at = 0.0, (), None
        self._set_load(now)

    def plug_in(self, car: Car, now: float) -> None:
        """Put a car on the cable."""
        self.car, self._register_kwh = car, self.meter.energy_kwh(now)

    def unplug(self, now: float) -> None:
        """Take the car off; a contactor that is closed opens, for the pilot is gone with the car."""
        self.cut(now)
        self.car = None

    def deadline(self, now: float) -> float | None:
        """When the car will do something next."""
        if self.car is None:
            return None
        if not self.closed:
            return self._draws_at
        self._settle(now)
        if self.car.missing_kwh == 0:
            return now
        return self.meter.reaches(self._register_kwh + self.car.missing_kwh, now)

    def wake(self, now: float) -> Event | None:
        """What the car does now, if anything."""
        if self.car is None:
            return None
        self._settle(now)
        if self.closed:
            return CarFull() if self.car.missing_kwh == 0 else None
        if self._draws_at is None or now < self._draws_at:
            return None
        self._draws_at = None
        return CarDraws() if self.car.draws_a(self._pilot_a) else None

    def _set_pilot(self, amps: float, now: float) -> None:
        if amps == 0:
            self._draws_at = None
        elif self._pilot_a == 0 and self.car is not None:
            self._draws_at = now + self.car.start_delay_s
        self._pilot_a = amps

    def _set_load(self, now: float) -> None:
        self._settle(now)
        self.meter.set_load(self._currents_a(), now)

    def _currents_a(self) -> Lines:
        if self.car is None or not self._lines:
            return IDLE
        amps = self.car.draws_a(self._pilot_a)
        live = self._lines[: self.car.phases]
        return (amps * (1 in live), amps * (2 in live), amps * (3 in live))

    def _settle(self, now: float) -> None:
        register_kwh = self.meter.energy_kwh(now)
        if self.car is not None:
            self.car.received_kwh += register_kwh - self._register_kwh
        self._register_kwh = register_kwh

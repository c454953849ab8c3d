"""The charge at the outlet: the car, the charging machine and the charge session, held together."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from emulator.device.car import Car
from emulator.device.card import Cards
from emulator.device.meter import Meter, Reading
from emulator.device.outlet import Outlet
from emulator.device.session import Identity, Sessions
from emulator.device.settings import Settings
from emulator.env import Env
from emulator.errors import UsageError
from emulator.machines.charge_events import Event, LimitSet, PluggedIn, Unplugged
from emulator.machines.charging import ChargingMachine, Refused
from emulator.profile import Electrical

TN_GRIDS = (3, 4)
ALL_PHASES_TN, ALL_PHASES_IT = 4, 9


class Charge:
    """What the electrical side of the charger does. The meter, the car and the session record outlive a power cut.

    `changed` is called after everything that may have to be reported.
    """

    def __init__(self, env: Env, electrical: Electrical, settings: Settings, changed: Callable[[], None]) -> None:
        self._env = env
        self._electrical = electrical
        self._settings = settings
        self._changed = changed
        self._held_at: datetime | None = None
        self.powered = False
        self.outlet = Outlet(Meter(electrical.nominal_voltage_v))
        self.sessions = Sessions(env.flash, env.rng)
        self.cards = Cards(self.sessions, settings)
        self.sessions_wait = True
        """Finished sessions may lie in flash."""
        self.machine = self._new_machine()

    def power_on(self, identity: Identity) -> None:
        """The computer starts: whatever was plugged in or out meanwhile is seen now."""
        self._identity = identity
        self.powered, self.sessions_wait = True, True
        self.machine = self._new_machine()
        if self.outlet.car is not None:
            self._welcome(self.outlet.car)
        elif self.sessions.current is not None:
            self._finish_session(reliable_end=False)

    def power_off(self) -> None:
        """The contactor falls open."""
        self.powered = False
        self.cards.forget()
        self.outlet.cut(_now())

    def plug_in(self, car: Car) -> None:
        """Connect a car. UsageError: there is one already."""
        if self.outlet.car is not None:
            raise UsageError(f"{self._env.trace.who}: a car is connected already")
        self.outlet.plug_in(car, _now())
        if self.powered:
            self._welcome(car)

    def unplug(self) -> None:
        """Take the car away. UsageError: there is none."""
        if self.outlet.car is None:
            raise UsageError(f"{self._env.trace.who}: no car is connected")
        self.feed(Unplugged())
        self.outlet.unplug(_now())
        if self.powered:
            self._finish_session(reliable_end=self._env.rtc.trusted)

    def feed(self, event: Event) -> bool:
        """Give an event to the charging machine and do its effects. False: refused, or the power is off."""
        if not self.powered:
            return False
        before = self.machine.state
        result = self.machine.handle(event)
        if isinstance(result, Refused):
            self._env.trace.emit("device.refused", event=result.event, state=result.state.value)
            return False
        self.outlet.apply(result, _now())
        if self.machine.state is not before:
            self._env.trace.emit("device.charging", state=self.machine.state.value, before=before.value)
        self._changed()
        return True

    def serve_car(self) -> None:
        """Let the car do what is due."""
        event = self.outlet.wake(_now())
        if event is not None:
            self.feed(event)

    def limit(self) -> None:
        """Settings that limit the current have changed."""
        self.feed(LimitSet(self._limit_a()))

    def rename_session(self, session_id: str) -> bool:
        """Take the cloud's id for the charge session."""
        self.sessions.rename(session_id)
        self._changed()
        return True

    def restart_session(self) -> bool:
        """The cloud cleared the charge session: the car that is still there begins another."""
        self._finish_session(reliable_end=self._env.rtc.trusted)
        self._begin_session()
        return True

    def observed_at(self, operation_mode: str) -> datetime:
        """The time to report 710 with. The first 2 of a session carries the session's own start (zaptec.md 7)."""
        if operation_mode == "2" and self._held_at is not None:
            held, self._held_at = self._held_at, None
            return held
        return self._env.rtc.now()

    def reading(self) -> Reading:
        """What the meter shows."""
        return self.outlet.meter.read(_now())

    def session_kwh(self) -> float:
        """Energy of the charge session."""
        return self.sessions.energy_kwh(self.outlet.meter.energy_kwh(_now()))

    def _welcome(self, car: Car) -> None:
        if self.sessions.current is None:
            self._begin_session()
        self.feed(PluggedIn(car.cable_a))

    def _begin_session(self) -> None:
        self._held_at = self._env.rtc.now()
        register_kwh = self.outlet.meter.energy_kwh(_now())
        self.sessions.begin(self._held_at, register_kwh, reliable_clock=self._env.rtc.trusted)

    def _finish_session(self, *, reliable_end: bool) -> None:
        register_kwh = self.outlet.meter.energy_kwh(_now())
        session, at = self.sessions.current, self._env.rtc.now()
        if not self.sessions.finish(at, register_kwh, self._identity, reliable_clock=reliable_end):
            self._env.trace.emit("session.lost", session_id=session.session_id if session is not None else None)
        self.sessions_wait = True
        self.cards.forget()
        self._changed()

    def _new_machine(self) -> ChargingMachine:
        phases = ALL_PHASES_TN if self._electrical.network_type in TN_GRIDS else ALL_PHASES_IT
        return ChargingMachine(limit_a=self._limit_a(), min_a=self._electrical.min_current_a, phases=phases)

    def _limit_a(self) -> float:
        """Setting 510; nothing while the charger is not activated (M18)."""
        return self._settings.amps(510) if self._settings.activated else 0.0


def _now() -> float:
    return asyncio.get_running_loop().time()

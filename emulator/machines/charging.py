"""What the charger does with a connected car: one table of transitions, and outputs that follow from the state.

Everything that decides is in this file; the values are in `charge_modes` and `charge_events`. An event is a lookup
in `TRANSITIONS`; a lookup that fails is a `Refused`. Pilot and contactor are functions of the state alone, and the
effects of an event are what changed in them, so no path through the table can forget to open the contactor.
Source: zaptec.md section 9.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from emulator.machines.charge_events import (
    CarDraws,
    CarFull,
    CloseContactor,
    Effect,
    Event,
    FinalStop,
    LimitSet,
    OpenContactor,
    PluggedIn,
    Resumed,
    SessionIdSet,
    SessionReset,
    SetPilot,
    StartGranted,
    StopRequested,
    TooLittle,
    Unplugged,
)
from emulator.machines.charge_modes import CHARGE_MODES, OPERATION_MODES, ChargeMode, OperationMode, State

OFFERING = frozenset({State.READY, State.CHARGING, State.FINISHED})
"""States in which the pilot offers current."""

_ANY_CAR: dict[type, State] = {Unplugged: State.DISCONNECTED, SessionReset: State.REQUESTING}


def _with_car(state: State, own: dict[type, State]) -> dict[type, State]:
    return {**_ANY_CAR, SessionIdSet: state, LimitSet: state, **own}


TRANSITIONS: Mapping[State, Mapping[type, State]] = {
    State.DISCONNECTED: {
        PluggedIn: State.REQUESTING,
        LimitSet: State.DISCONNECTED,
    },
    State.REQUESTING: _with_car(
        State.REQUESTING,
        {
            StartGranted: State.READY,
            TooLittle: State.REQUESTING,
            StopRequested: State.PAUSED,
            FinalStop: State.STOPPED,
        },
    ),
    State.READY: _with_car(
        State.READY,
        {
            StartGranted: State.READY,
            TooLittle: State.REQUESTING,
            StopRequested: State.PAUSED,
            FinalStop: State.STOPPED,
            CarDraws: State.CHARGING,
        },
    ),
    State.CHARGING: _with_car(
        State.CHARGING,
        {
            StartGranted: State.CHARGING,
            TooLittle: State.PAUSED,
            StopRequested: State.PAUSED,
            FinalStop: State.STOPPED,
            CarFull: State.FINISHED,
        },
    ),
    State.PAUSED: _with_car(
        State.PAUSED,
        {
            StartGranted: State.READY,
            TooLittle: State.PAUSED,
            FinalStop: State.STOPPED,
            Resumed: State.REQUESTING,
        },
    ),
    State.STOPPED: _with_car(
        State.STOPPED,
        {
            Resumed: State.REQUESTING,
        },
    ),
    State.FINISHED: _with_car(
        State.FINISHED,
        {
            StartGranted: State.FINISHED,
            TooLittle: State.PAUSED,
            StopRequested: State.PAUSED,
            FinalStop: State.STOPPED,
            CarDraws: State.CHARGING,
        },
    ),
}
"""State -> type of event -> next state. What is not here is refused."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The event is not allowed in this state; nothing changed."""

    state: State
    event: str


@dataclass(frozen=True, slots=True)
class _Outputs:
    pilot_a: float
    contactor: int | None


class ChargingMachine:
    """The charge as a state machine. `min_a` is the least current that a pilot can offer (IEC 61851: 6 A)."""

    __slots__ = ("_cable_a", "_limit_a", "_min_a", "granted_a", "phases", "state")

    def __init__(self, *, limit_a: float, min_a: float, phases: int) -> None:
        self.state = State.DISCONNECTED
        self.granted_a = 0.0
        """What the cloud allows (708), before the limits of charger and cable."""
        self.phases = phases
        """Phase id in force (519)."""
        self._limit_a = limit_a
        self._min_a = min_a
        self._cable_a = math.inf

    @property
    def operation_mode(self) -> OperationMode:
        """Observation 710."""
        return OPERATION_MODES[self.state]

    @property
    def charge_mode(self) -> ChargeMode:
        """Observation 702."""
        return CHARGE_MODES[self.state]

    @property
    def final_stop(self) -> bool:
        """Observation 718."""
        return self.state is State.STOPPED

    def allowed(self) -> frozenset[type]:
        """The events that would not be refused now."""
        return frozenset(TRANSITIONS[self.state]) - {TooLittle}

    def handle(self, event: Event) -> list[Effect] | Refused:
        """Take an event; the effects come in the order in which they must be done."""
        row = TRANSITIONS[self.state]
        if type(event) not in row:
            return Refused(self.state, type(event).__name__)
        before = self._outputs()
        self._absorb(event)
        self.state = row[TooLittle if self._starves(event) else type(event)]
        return _changes(before, self._outputs())

    def _absorb(self, event: Event) -> None:
        match event:
            case PluggedIn():
                self._cable_a = event.cable_a
            case StartGranted():
                self.granted_a, self.phases = event.amps, event.phases
            case LimitSet():
                self._limit_a = event.amps
            case Unplugged() | SessionReset():
                self.granted_a = 0.0
            case _:
                pass

    def _starves(self, event: Event) -> bool:
        concerned = isinstance(event, StartGranted) or (isinstance(event, LimitSet) and self.state in OFFERING)
        return concerned and self._offer_a() < self._min_a

    def _offer_a(self) -> float:
        return min(self.granted_a, self._limit_a, self._cable_a)

    def _outputs(self) -> _Outputs:
        return _Outputs(
            self._offer_a() if self.state in OFFERING else 0.0,
            self.phases if self.state is State.CHARGING else None,
        )


def _changes(before: _Outputs, after: _Outputs) -> list[Effect]:
    effects: list[Effect] = []
    if before.pilot_a != after.pilot_a:
        effects.append(SetPilot(after.pilot_a))  # first: the car lets go before the contactor has to break a current
    if before.contactor not in (None, after.contactor):
        effects.append(OpenContactor())
    if after.contactor not in (None, before.contactor):
        effects.append(CloseContactor(after.contactor))
    return effects

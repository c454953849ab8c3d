"""What can happen to a charge, and what the charge then asks of pilot and contactor."""

import math
from dataclasses import dataclass

from emulator.errors import EmulatorError
from emulator.machines.charge_modes import PHASES


class IllegalValue(EmulatorError):
    """An event with a current or a phase id that does not exist."""


@dataclass(frozen=True, slots=True)
class PluggedIn:
    """A car was connected by a cable that carries `cable_a` amperes."""

    cable_a: float = math.inf


@dataclass(frozen=True, slots=True)
class Unplugged:
    """The car was disconnected."""


@dataclass(frozen=True, slots=True)
class StartGranted:
    """The cloud allows `amps` on the phases of the phase id (command 501). IllegalValue: no such current or id."""

    amps: float
    phases: int

    def __post_init__(self) -> None:
        if not 0 <= self.amps < math.inf or self.phases not in PHASES:
            raise IllegalValue(f"{self.amps} A on phase id {self.phases}")


@dataclass(frozen=True, slots=True)
class TooLittle:
    """What is allowed is below the least current of the pilot. The machine itself reads grants and limits so."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Stop for a while (command 502)."""


@dataclass(frozen=True, slots=True)
class FinalStop:
    """Stop until resumed or unplugged (command 506)."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Take back a stop (command 507)."""


@dataclass(frozen=True, slots=True)
class CarDraws:
    """The car has closed its side and draws (pilot state C)."""


@dataclass(frozen=True, slots=True)
class CarFull:
    """The car draws no more (back to pilot state B)."""


@dataclass(frozen=True, slots=True)
class SessionIdSet:
    """The cloud named the charge session (command 504)."""


@dataclass(frozen=True, slots=True)
class SessionReset:
    """The cloud cleared the charge session (command 504 with an empty id): the car has to ask again."""


@dataclass(frozen=True, slots=True)
class LimitSet:
    """The charger's own maximum changed (setting 510). IllegalValue: not a current."""

    amps: float

    def __post_init__(self) -> None:
        if not 0 <= self.amps < math.inf:
            raise IllegalValue(f"limit of {self.amps} A")


Event = (
    PluggedIn
    | Unplugged
    | StartGranted
    | StopRequested
    | FinalStop
    | Resumed
    | CarDraws
    | CarFull
    | SessionIdSet
    | SessionReset
    | LimitSet
)


@dataclass(frozen=True, slots=True)
class SetPilot:
    """Offer `amps` to the car; 0: none."""

    amps: float


@dataclass(frozen=True, slots=True)
class CloseContactor:
    """Connect the lines of a phase id to the car."""

    phases: int


@dataclass(frozen=True, slots=True)
class OpenContactor:
    """Take the lines away from the car."""


Effect = SetPilot | CloseContactor | OpenContactor

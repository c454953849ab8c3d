"""The LTE-M cell and the modem of a charger as data, and what breaks there (manual row M10). Pure."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Annotated, Any, ClassVar

from pydantic import Field

from emulator.faults import Active, Condition
from emulator.net.link_faults import RATE_MIN_BPS
from emulator.net.rounds import Rounds
from emulator.net.table import Seconds, Table

Dbm = Annotated[float, Field(ge=-140, le=-44)]
Db = Annotated[float, Field(ge=0, le=100)]
Operator = Annotated[str, Field(min_length=1, max_length=40)]


class Sim(StrEnum):
    """The subscription in the charger."""

    ABSENT = "absent"
    INACTIVE = "inactive"
    ACTIVE = "active"


class LteSite(Table):
    """The operator whose cell a site is in (M10)."""

    operator: Operator = "Telenor"
    roaming: bool = False
    """The operator is a partner of the SIM's own."""
    attach_s: Seconds = 3.0
    """Search, registration and PPP. Invented."""


class LtePlace(Table):
    """What the modem of one charger has and hears."""

    sim: Annotated[Sim, Field(strict=False)] = Sim.ACTIVE
    coverage_dbm: Dbm = -95.0
    """Reference signal power in the open."""
    garage_door_db: Db = 0.0
    """What walls and a closed door take away."""
    data_budget_mb: Annotated[float, Field(gt=0)] | None = None
    """What the SIM may use in 30 days before the operator throttles it."""
    throttled_bps: Annotated[float, Field(ge=RATE_MIN_BPS)] = 64_000.0
    """Invented."""


@dataclass(frozen=True, slots=True)
class LteState:
    """SIM, cell and modem at one moment, and until when that is sure to hold."""

    sim: Sim
    operator: str
    roaming: bool
    coverage_dbm: float
    walls_db: float
    hung: bool = False
    stuck: bool = False
    dropped: bool = False
    """The network has ended the attachment that there was."""
    until: float = inf

    @property
    def signal_dbm(self) -> float:
        """What arrives at the modem."""
        return self.coverage_dbm - self.walls_db


@dataclass(frozen=True, slots=True)
class Marks:
    """Numbers of the first fault that struck after the modem's last start, PPP's last start and the attachment."""

    powered: int = 0
    dialled: int = 0
    attached: int = 0
    attached_at: float = inf


@dataclass(frozen=True, kw_only=True)
class LteFault(Condition):
    """Something wrong with SIM, cell or modem."""

    def changes(self, state: LteState, active: Active, now: float, marks: Marks) -> dict[str, Any]:
        """The fields of `LteState` that it sets; `until` is when they are others, always after `now`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class SimState(LteFault):
    """The SIM is not active, or not there at all."""

    kind: ClassVar[str] = "lte.sim"
    state: Annotated[Sim, Field(strict=False)] = Sim.INACTIVE

    def changes(self, state: LteState, active: Active, now: float, marks: Marks) -> dict[str, Any]:
        return {"sim": self.state}


@dataclass(frozen=True, kw_only=True)
class Roaming(LteFault):
    """Only a partner of the SIM's operator covers the site."""

    kind: ClassVar[str] = "lte.roaming"
    operator: Operator = "Orange"

    def changes(self, state: LteState, active: Active, now: float, marks: Marks) -> dict[str, Any]:
        return {"operator": self.operator, "roaming": True}


@dataclass(frozen=True, kw_only=True)
class Coverage(LteFault):
    """The cell arrives with this strength in the open."""

    kind: ClassVar[str] = "lte.coverage"
    dbm: Dbm = -130.0

    def changes(self, state: LteState, active: Active, now: float, marks: Marks) -> dict[str, Any]:
        return {"coverage_dbm": self.dbm}


@dataclass(frozen=True, kw_only=True)
class GarageDoor(LteFault):
    """The garage door is closed: the signal drops by so much at once (M10)."""

    kind: ClassVar[str] = "lte.garage_door"
    db: Db = 30.0

    def changes(self, state: LteState, active: Active, now: float, marks: Marks) -> dict[str, Any]:
        return {"walls_db": state.walls_db + self.db}


@dataclass(frozen=True, kw_only=True)
class ModemHung(LteFault):
    """The modem answers nothing and passes nothing, until it gets a power cycle."""

    kind: ClassVar[str] = "lte.modem_hung"

    def changes(self, state: LteState, active: Active, now: float, marks: Marks) -> dict[str, Any]:
        return {"hung": True} if active.number >= marks.powered else {}


@dataclass(frozen=True, kw_only=True)
class PppStuck(LteFault):
    """The link looks up but passes nothing, until it is taken down and up again."""

    kind: ClassVar[str] = "lte.ppp_stuck"

    def changes(self, state: LteState, active: Active, now: float, marks: Marks) -> dict[str, Any]:
        return {"stuck": True} if active.number >= marks.dialled else {}


@dataclass(frozen=True, kw_only=True)
class Detach(LteFault):
    """The network ends the attachment, once or again and again; the modem may attach again at once."""

    kind: ClassVar[str] = "lte.detach"
    every_s: Annotated[float, Field(ge=1, le=1e9)] | None = None

    def changes(self, state: LteState, active: Active, now: float, marks: Marks) -> dict[str, Any]:
        if active.number >= marks.attached:
            return {"dropped": True}
        if self.every_s is None:
            return {}
        rounds = Rounds(active.since, self.every_s)
        latest = rounds.begin(rounds.number(now))
        if latest > marks.attached_at:
            return {"dropped": True}
        return {"until": rounds.next_begin(now)}


FAULTS = (SimState, Roaming, Coverage, GarageDoor, ModemHung, PppStuck, Detach)

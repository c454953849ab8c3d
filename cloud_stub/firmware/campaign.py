"""What a campaign is, and when it goes on, halts or is over: decisions alone (how the vendor does it is not public).

A campaign gives one release to its chargers in stages, each with more of them. All times are seconds since 1970.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from fractions import Fraction
from math import ceil
from typing import Any

from cloud_stub.firmware.offer import Offer
from emulator.errors import UsageError

STAGES_MAX = 16
RATE_PER_S_MAX = 1_000.0
DEADLINE_S = 5_400.0
"""The charger's own timer is 3600 s (zaptec.md section 14)."""


class State(StrEnum):
    """How a campaign is."""

    RUNNING = "running"
    PAUSED = "paused"
    """Somebody holds it: nothing new is offered, what has begun may end."""
    HALTED = "halted"
    """It holds itself, because too much went wrong."""
    COMPLETED = "completed"
    """Every charger runs the release, or has failed."""
    ABORTED = "aborted"
    """Ended for good by somebody: its images are gone as well."""

    @property
    def over(self) -> bool:
        """Whether it never goes on."""
        return self in (State.COMPLETED, State.ABORTED)


class Action(StrEnum):
    """What people may do with one."""

    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Stage:
    """Up to `percent` of the chargers. The next begins `wait_s` after `success_share` of them run the release; the last
    ends `wait_s` after each of them runs it or has failed."""

    percent: float = 100.0
    wait_s: float = 0.0
    success_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Limit:
    """Halt when this share of the chargers that are done have failed, once at least `count_min` are done."""

    failure_share: float = 0.1
    count_min: int = 10


@dataclass(frozen=True, slots=True)
class Targets:
    """Whom it is for: these serials and the chargers of these installations, or all chargers; `percent` of them."""

    serials: tuple[str, ...] = ()
    installations: tuple[str, ...] = ()
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What somebody wants. `command`, 200 or 201, is called on each charger when its stage has come; None: chargers
    come by themselves. One that has begun has `deadline_s` to report the release."""

    offer: Offer
    targets: Targets = Targets()
    stages: tuple[Stage, ...] = (Stage(),)
    limit: Limit = Limit()
    command: int | None = None
    calls_per_s: float = 1.0
    deadline_s: float = DEADLINE_S

    def __post_init__(self) -> None:
        percents = [stage.percent for stage in self.stages]
        if not 0 < len(percents) <= STAGES_MAX or percents[-1] != 100 or percents != sorted(set(percents)):
            raise UsageError(f"stages: need 1 to {STAGES_MAX} growing percentages, the last of which is 100")

    def to_json(self) -> dict[str, Any]:
        """As the control API shows it and the state keeps it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Course:
    """How far a campaign is. `stage` counts from 0; `reached_s` is since when its share runs the release."""

    state: State = State.RUNNING
    stage: int = 0
    reached_s: float | None = None
    reason: str = ""
    forgiven: int = 0
    """Failures that there were when somebody let it go on all the same."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Of the chargers whose stage has come: how many they are, run the release, and have failed."""

    chargers: int
    installed: int
    failed: int


def plan_from(data: dict[str, Any]) -> Plan:
    """The inverse of `Plan.to_json`."""
    targets, stages = data["targets"], data["stages"]
    return Plan(
        **data
        | {
            "offer": Offer(**data["offer"]),
            "targets": Targets(**targets | {key: tuple(targets[key]) for key in ("serials", "installations")}),
            "stages": tuple(Stage(**stage) for stage in stages),
            "limit": Limit(**data["limit"]),
        }
    )


def drawn(campaign_id: str, serials: Iterable[str], percent: float) -> list[str]:
    """`percent` of the serials, at least one, in the order in which their turn comes: by lot, another one for each
    campaign, so that it is not always the same chargers that go first."""
    lots = sorted(serials, key=lambda serial: hashlib.sha256(f"{campaign_id}/{serial}".encode()).digest())
    return lots[: share_of(percent, len(lots))]


def share_of(percent: float, count: int) -> int:
    """So many of `count`, rounded up."""
    return ceil(Fraction(str(percent)) * count / 100)


def stage_of(stages: Sequence[Stage], position: int, count: int) -> int:
    """The stage in which the turn of the charger at a position comes."""
    return next(number for number, stage in enumerate(stages) if position < share_of(stage.percent, count))


def decided(plan: Plan, course: Course, tally: Tally, now_s: float) -> Course:
    """How a campaign is after a look at its chargers; to be called again until it stays the same."""
    if course.state is not State.RUNNING:
        return course
    if reason := _trouble(plan, course, tally):
        return replace(course, state=State.HALTED, reached_s=None, reason=reason)
    if not _reached(plan, course, tally):
        return replace(course, reached_s=None)
    if course.reached_s is None:
        return replace(course, reached_s=now_s)
    if now_s < course.reached_s + plan.stages[course.stage].wait_s:
        return course
    if course.stage == len(plan.stages) - 1:
        return replace(course, state=State.COMPLETED)
    return replace(course, stage=course.stage + 1, reached_s=None)


def _trouble(plan: Plan, course: Course, tally: Tally) -> str:
    """Why a campaign must halt; empty: it need not. Failures that were forgiven are left out of every count."""
    failed, chargers = max(tally.failed - course.forgiven, 0), tally.chargers - course.forgiven
    done = failed + tally.installed
    if failed and done >= plan.limit.count_min and failed >= Fraction(str(plan.limit.failure_share)) * done:
        return f"{failed} of {done} chargers failed"
    last = course.stage == len(plan.stages) - 1
    if failed and not last and chargers - failed < _needed(plan.stages[course.stage], chargers):
        return f"stage {course.stage}: {failed} of {chargers} chargers failed"
    return ""


def _reached(plan: Plan, course: Course, tally: Tally) -> bool:
    """Enough chargers run the release for the next stage; in the last one: all are done."""
    if course.stage == len(plan.stages) - 1:
        return tally.installed + tally.failed >= tally.chargers
    return tally.installed >= _needed(plan.stages[course.stage], tally.chargers - course.forgiven)


def _needed(stage: Stage, chargers: int) -> int:
    return ceil(Fraction(str(stage.success_share)) * chargers)


def due_s(plan: Plan, course: Course) -> float | None:
    """When time alone will change what `decided` says; None: never."""
    if course.state is not State.RUNNING or course.reached_s is None:
        return None
    return course.reached_s + plan.stages[course.stage].wait_s


def acted(course: Course, action: Action, tally: Tally) -> Course:
    """How a campaign is after somebody did something. UsageError: that cannot be done to one like this."""
    match action, course.state:
        case Action.PAUSE, State.RUNNING:
            return replace(course, state=State.PAUSED)
        case Action.RESUME, State.PAUSED:
            return replace(course, state=State.RUNNING)
        case Action.RESUME, State.HALTED:
            return replace(course, state=State.RUNNING, reason="", forgiven=tally.failed)
        case Action.ABORT, state if not state.over:
            return replace(course, state=State.ABORTED)
    raise UsageError(f"action: cannot {action.value} a campaign that is {course.state.value}")

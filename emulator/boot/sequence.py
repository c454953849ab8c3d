"""Runs the boot stages in order, again and again until all are through, and keeps the report."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from emulator.boot.outcome import Degraded, Failed, Outcome, Passed, Why, failed_by
from emulator.boot.recovery import recover
from emulator.boot.state import Boot
from emulator.errors import NetError

ROWS_MAX = 500


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the boot. `back_to` names the stage that is tried next when this one fails."""

    name: str
    doc: str
    run: Callable[[Boot], Awaitable[Outcome]]
    back_to: str


@dataclass(frozen=True, slots=True)
class StageRow:
    """One attempt at one stage."""

    stage: str
    attempt: int
    outcome: str
    """passed, degraded or failed."""
    why: Why | None
    seconds: float
    detail: str

    def as_json(self) -> dict[str, Any]:
        """The row as the demo and the reports print it."""
        return {
            "stage": self.stage,
            "attempt": self.attempt,
            "outcome": self.outcome,
            "why": self.why.value if self.why else None,
            "seconds": round(self.seconds, 6),
            "detail": self.detail,
        }


class BootReport:
    """Every attempt at every stage since power-on, at most `ROWS_MAX`, the oldest go first."""

    __slots__ = ("_attempts", "rows")

    def __init__(self) -> None:
        self.rows: list[StageRow] = []
        self._attempts: dict[str, int] = {}

    def add(self, row: StageRow) -> None:
        """An attempt is over."""
        self.rows.append(row)
        del self.rows[:-ROWS_MAX]

    def next_attempt(self, stage: str) -> int:
        """Number of the attempt that begins now, from 1."""
        self._attempts[stage] = self._attempts.get(stage, 0) + 1
        return self._attempts[stage]


class BootSequence:
    """The order of stages as a loop: a failed stage waits and goes back, a passed one goes on."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = tuple(stages)
        self._index = {stage.name: position for position, stage in enumerate(stages)}

    async def run(self, boot: Boot, report: BootReport, *, start: str) -> None:
        """Return once every stage from `start` on has passed or degraded. Retries without end; cancel to stop.

        What is done about a failure, `machines.reconnect` says.
        """
        position = self._index[start]
        while position < len(self._stages):
            stage = self._stages[position]
            outcome = await self._attempt(stage, boot, report)
            if isinstance(outcome, Failed):
                position = self._index[await recover(boot, stage.name, outcome.why, back_to=stage.back_to)]
            else:
                boot.passed(stage.name)
                position += 1

    async def _attempt(self, stage: Stage, boot: Boot, report: BootReport) -> Outcome:
        loop = asyncio.get_running_loop()
        attempt, began = report.next_attempt(stage.name), loop.time()
        boot.notes = {}
        try:
            outcome = await stage.run(boot)
        except NetError as error:
            outcome = failed_by(error)
        word, why = _in_words(outcome)
        row = StageRow(stage.name, attempt, word, why, loop.time() - began, outcome.detail)
        report.add(row)
        boot.env.trace.emit(f"boot.{stage.name}.{word}", **{**row.as_json(), **boot.notes})
        boot.notes = {}
        return outcome


def _in_words(outcome: Outcome) -> tuple[str, Why | None]:
    match outcome:
        case Passed():
            return "passed", None
        case Degraded():
            return "degraded", outcome.why
        case Failed():
            return "failed", outcome.why

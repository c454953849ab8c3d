"""Holds a run against what its scenario expects, event by event."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from emulator.scenario import EventWanted, Expect, HistoryWanted, Plain, StageWanted
from emulator.trace import TraceEvent

History = Callable[[str], list[dict[str, Any]]]


class Watch:
    """Sees every event of a run and knows what is still missing and what is broken."""

    def __init__(self, expect: Expect, charger: str) -> None:
        self._expect = expect
        self._charger = charger
        self._stages = list(expect.stages)
        self._events = list(expect.events)
        self._last: dict[str, str] = {}
        self._came = ""
        """The last of the expected stages that came, in words."""
        self.broken: list[str] = []
        """What happened and must not, in words."""

    def see(self, event: TraceEvent) -> None:
        """Take one event into account."""
        if event.who == self._charger and "outcome" in event.data:
            self._see_stage(event)
        self._events = [wanted for wanted in self._events if not matches(event, wanted)]
        for wanted in self._expect.never:
            if matches(event, wanted):
                self.broken.append(f"event {event.name} must never happen, and did at {event.t:.3f} s")

    def missing(self) -> list[str]:
        """The stages and events that are still to come, in words."""
        stages = [self._stage_in_words(wanted) for wanted in self._stages[:1]]
        return stages + [f"event {in_words(wanted)} did not happen" for wanted in self._events]

    def _see_stage(self, event: TraceEvent) -> None:
        data = event.data
        self._last[data["stage"]] = _outcome(data["stage"], data["outcome"], data.get("why"))
        if self._stages and _is_attempt(self._stages[0], data):
            self._came = f" after {self._last[data['stage']]}"
            del self._stages[0]

    def _stage_in_words(self, wanted: StageWanted) -> str:
        words = _outcome(wanted.stage, wanted.outcome, wanted.why) + _values(wanted.where)
        last = self._last.get(wanted.stage)
        return f"stage {words} did not happen{self._came}; " + (
            f"the last was {last}" if last else "the stage was never reached"
        )


def check_history(wanted: HistoryWanted, history: History) -> str | None:
    """What is wrong with what a service has seen, in words; None: nothing."""
    count = sum(fnmatchcase(exchange["request"], wanted.request) for exchange in history(wanted.service))
    requests = "requests" if wanted.request == "*" else f"requests {wanted.request!r}"
    if wanted.count is not None and count != wanted.count:
        return f"{wanted.service} saw {count} {requests}, expected {wanted.count}"
    if wanted.at_least is not None and count < wanted.at_least:
        return f"{wanted.service} saw {count} {requests}, expected at least {wanted.at_least}"
    return None


def matches(event: TraceEvent, wanted: EventWanted) -> bool:
    """The event has a name of that pattern and those values."""
    return fnmatchcase(event.name, wanted.name) and _carries(event.data, wanted.where)


def in_words(wanted: EventWanted) -> str:
    """``device.charging with state = charging``."""
    return wanted.name + _values(wanted.where)


def _is_attempt(wanted: StageWanted, data: Mapping[str, Any]) -> bool:
    return (
        data["stage"] == wanted.stage
        and data["outcome"] == wanted.outcome
        and (wanted.why is None or data.get("why") == wanted.why)
        and _carries(data, wanted.where)
    )


def _carries(data: Mapping[str, Any], where: Mapping[str, Plain]) -> bool:
    return all(key in data and data[key] == value for key, value in where.items())


def _outcome(stage: str, outcome: str, why: str | None) -> str:
    return f"{stage} {outcome} ({why})" if why else f"{stage} {outcome}"


def _values(where: Mapping[str, Plain]) -> str:
    return f" with {', '.join(f'{key} = {value}' for key, value in where.items())}" if where else ""

"""The trace: one record of what happened, for people, tests, logs and counters alike."""

import fnmatch
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """Something that happened."""

    t: float
    """Seconds of the loop's clock."""
    wall: datetime | None
    """The charger's own clock; None while it is not trusted, or for events of services."""
    who: str
    """Serial of the charger, or name of the service."""
    name: str
    """Dotted, most general word first: ``boot.names.degraded``."""
    data: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        """One line of JSON with sorted keys, the same on every run."""
        wall = self.wall.isoformat() if self.wall else None
        record = {"t": round(self.t, 6), "wall": wall, "who": self.who, "name": self.name, "data": self.data}
        return json.dumps(record, sort_keys=True, separators=(",", ":"), default=str)


Sink = Callable[[TraceEvent], None]


class Recorder:
    """A sink that keeps events, up to `limit`; the oldest go first."""

    def __init__(self, limit: int = 1_000_000) -> None:
        self.events: list[TraceEvent] = []
        self.dropped = 0
        self._limit = limit

    def __call__(self, event: TraceEvent) -> None:
        self.events.append(event)
        if len(self.events) > self._limit:
            half = self._limit // 2
            self.dropped += len(self.events) - half
            del self.events[:-half]

    def where(self, name: str = "*", who: str = "*") -> list[TraceEvent]:
        """Events whose name and owner match the shell-style patterns."""
        return [e for e in self.events if fnmatch.fnmatchcase(e.name, name) and fnmatch.fnmatchcase(e.who, who)]

    def digest(self) -> str:
        """SHA-256 over all events: equal digests mean equal runs."""
        lines = hashlib.sha256()
        for event in self.events:
            lines.update(event.as_json().encode() + b"\n")
        return lines.hexdigest()


class Trace:
    """Emits events of one owner into sinks. Secrets never go in: callers pass names, sizes and outcomes."""

    __slots__ = ("_now", "_sinks", "_wall", "who")

    def __init__(
        self,
        who: str,
        sinks: Iterable[Sink],
        now: Callable[[], float],
        wall: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self.who = who
        self._sinks = tuple(sinks)
        self._now = now
        self._wall = wall

    def emit(self, name: str, **data: Any) -> None:
        """Record that `name` happened, now. Values must be JSON-able."""
        if self._sinks:
            event = TraceEvent(self._now(), self._wall(), self.who, name, data)
            for sink in self._sinks:
                sink(event)

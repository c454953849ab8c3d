"""The last events of a runner, numbered, for readers that come and go at their own pace."""

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Any

from emulator.trace import TraceEvent

EVENTS_MAX = 10_000
"""How many are kept; the oldest go first."""
PAGE_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Page:
    """Events in order, the first of them with the number `first`."""

    events: tuple[TraceEvent, ...]
    first: int
    dropped: int
    """Events that the reader missed before `first`: they are gone."""

    @property
    def after(self) -> int:
        """Where to go on: the number of the last event read."""
        return self.first + len(self.events) - 1

    def numbered(self) -> list[tuple[int, TraceEvent]]:
        """Each event with its number."""
        return list(enumerate(self.events, start=self.first))


class Timeline:
    """A `Sink` that keeps up to `limit` events. A reader holds a cursor and nothing else, so none costs memory.

    Numbers begin at 1 in every process; `began` (UTC, of the machine) tells one process from the next.
    """

    def __init__(self, began: str, limit: int = EVENTS_MAX) -> None:
        self.began = began
        self.last = 0
        """Number of the newest event; 0: there was none yet."""
        self._kept: deque[TraceEvent] = deque(maxlen=limit)
        self._news = asyncio.Event()
        self._closed = False

    def see(self, event: TraceEvent) -> None:
        """Keep an event, and wake who waits for one."""
        self._kept.append(event)
        self.last += 1
        self._wake()

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closed = True
        self._wake()

    @property
    def closed(self) -> bool:
        """The runner ends; nothing more is waited for."""
        return self._closed

    def read(self, after: int, limit: int = PAGE_MAX) -> Page:
        """Up to `limit` events after the one with the number `after`."""
        oldest = self.last - len(self._kept) + 1
        first = max(min(after, self.last) + 1, oldest)
        events = tuple(islice(self._kept, first - oldest, first - oldest + limit))
        return Page(events, first, max(0, oldest - 1 - after))

    async def news(self, within_s: float) -> bool:
        """Wait for the next event. False: none came in time, or the timeline was closed."""
        if self._closed:
            return False
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return not self._closed

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def event_json(number: int, event: TraceEvent) -> dict[str, Any]:
    """An event as readers get it: as its line of ``run --json``, with its number `n`. JSON has no infinity: null."""
    return {"n": number, **json.loads(event.as_json(), parse_constant=lambda name: None)}

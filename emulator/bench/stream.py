"""The timeline as server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from emulator.bench.errors import Busy
from emulator.bench.timeline import Timeline, event_json

READERS_MAX = 64
"""Requests that wait for events at one time, streams included."""
BATCH = 100
KEEP_ALIVE_S = 15.0
"""How often a stream without events says that it is there."""


class Readers:
    """How many requests wait for events."""

    def __init__(self, limit: int = READERS_MAX) -> None:
        self._limit = limit
        self._count = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """For as long as a request waits. Busy: as many as may are there."""
        if self._count >= self._limit:
            raise Busy(f"events: {self._limit} readers wait already")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


async def server_sent(timeline: Timeline, after: int) -> AsyncIterator[str]:
    """Events from the one after this number on, until the timeline is closed.

    Who reads slower than events come is told how many were dropped meanwhile, with an event ``dropped``.
    """
    while True:
        page = timeline.read(after, BATCH)
        if page.dropped:
            yield f'event: dropped\ndata: {{"dropped":{page.dropped}}}\n\n'
        for number, event in page.numbered():
            data = json.dumps(event_json(number, event), separators=(",", ":"))
            yield f"id: {number}\nevent: {event.name}\ndata: {data}\n\n"
        after = page.after
        if page.events:
            continue
        if not await timeline.news(KEEP_ALIVE_S):
            if timeline.closed:
                return
            yield ": nothing new\n\n"


class EventStream(StreamingResponse):
    """The answer that goes on. It counts as one of `readers` from its first byte to its last."""

    def __init__(self, timeline: Timeline, after: int, readers: Readers) -> None:
        super().__init__(
            server_sent(timeline, after), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )
        self._readers = readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._readers.one_more():
            await super().__call__(scope, receive, send)

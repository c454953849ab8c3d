"""The timeline: numbered events, a limit, cursors, and what a slow reader is told."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from math import inf

from emulator.bench.stream import KEEP_ALIVE_S, server_sent
from emulator.bench.timeline import Timeline, event_json
from emulator.clock import SimLoop
from emulator.trace import TraceEvent


def event(number: int) -> TraceEvent:
    return TraceEvent(float(number), None, "ZPR000001", f"test.e{number}", {"number": number})


def filled(count: int, limit: int = 100) -> Timeline:
    timeline = Timeline("now", limit)
    for number in range(1, count + 1):
        timeline.see(event(number))
    return timeline


def in_virtual_time(story: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(story())  # type: ignore[arg-type]


def numbers(timeline: Timeline, after: int, limit: int = 100) -> list[int]:
    return [number for number, _ in timeline.read(after, limit).numbered()]


def test_a_reader_goes_on_where_it_stopped() -> None:
    timeline = filled(5)
    assert numbers(timeline, 0, 2) == [1, 2]
    assert timeline.read(0, 2).after == 2
    assert numbers(timeline, 2, 2) == [3, 4]
    assert numbers(timeline, 4, 2) == [5]
    assert (numbers(timeline, 5), timeline.read(5).after) == ([], 5)


def test_an_empty_timeline_and_a_cursor_beyond_its_end() -> None:
    assert (numbers(filled(0), 0), filled(0).read(0).after) == ([], 0)
    assert (numbers(filled(3), 7), filled(3).read(7).after, filled(3).read(7).dropped) == ([], 3, 0)


def test_who_reads_too_slowly_is_told_how_many_are_gone() -> None:
    timeline = filled(10, limit=4)
    assert numbers(timeline, 0) == [7, 8, 9, 10]
    assert [timeline.read(after).dropped for after in (0, 3, 6, 7, 10)] == [6, 3, 0, 0, 0]


def test_an_event_is_the_line_of_the_trace_with_its_number() -> None:
    shown = event_json(3, TraceEvent(1.0, None, "ZPR000001", "lease.won", {"lease_s": inf}))
    assert shown == {"n": 3, "t": 1.0, "wall": None, "who": "ZPR000001", "name": "lease.won", "data": {"lease_s": None}}


def test_news_wakes_and_patience_ends() -> None:
    async def story() -> None:
        loop, timeline = asyncio.get_running_loop(), filled(1)
        loop.call_later(2, timeline.see, event(2))
        assert await timeline.news(5) and loop.time() == 2
        assert not await timeline.news(5) and loop.time() == 7
        loop.call_later(1, timeline.close)
        assert not await timeline.news(5) and loop.time() == 8
        assert not await timeline.news(5) and loop.time() == 8

    in_virtual_time(story)


def test_a_stream_tells_what_was_dropped_and_ends_with_the_timeline() -> None:
    async def story() -> None:
        timeline = filled(10, limit=3)
        stream = server_sent(timeline, 2)
        said = [await anext(stream) for _ in range(4)]
        assert said[0] == 'event: dropped\ndata: {"dropped":5}\n\n'
        lines = [text.splitlines() for text in said[1:]]
        assert [line[:2] for line in lines] == [[f"id: {n}", f"event: test.e{n}"] for n in (8, 9, 10)]
        assert [json.loads(line[2].removeprefix("data: "))["n"] for line in lines] == [8, 9, 10]
        began = asyncio.get_running_loop().time()
        assert await anext(stream) == ": nothing new\n\n"
        assert asyncio.get_running_loop().time() == began + KEEP_ALIVE_S
        for number in range(11, 16):  # more than are kept, while the reader is away
            timeline.see(event(number))
        assert await anext(stream) == 'event: dropped\ndata: {"dropped":2}\n\n'
        timeline.close()
        assert [text.splitlines()[0] async for text in stream] == ["id: 13", "id: 14", "id: 15"]

    in_virtual_time(story)

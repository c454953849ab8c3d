"""Replies that carry an image, piece by piece: in good order, or as a fault has it.

A client that reads slowly holds up its own reply and no more than a piece of it lies in memory.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from starlette.responses import Response, StreamingResponse

PIECE_BYTES = 65_536
ENDLESS_BYTES = 1 << 34
"""What goes on for ever ends here."""
SLOW_PIECE_S = 1.0
"""Time between two pieces of a slow reply, unless a byte takes longer."""
GONE_S = 1.0
"""How long a connection that was aborted may take to be gone."""

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a reply is sent: `bytes_per_s` bounds its speed, `endless` lets zeros follow it, `cut` breaks the connection
    when half of it is out."""

    bytes_per_s: float | None = None
    endless: bool = False
    cut: Callable[[], None] | None = None


PLAIN = Manner()


def body(status: int, headers: Mapping[str, str], span: range, read: Read, manner: Manner = PLAIN) -> Response:
    """A reply with these bytes."""
    media = "application/octet-stream"
    if manner == PLAIN and len(span) <= PIECE_BYTES:
        return Response(read(span.start, len(span)), status, headers, media)
    length = {} if manner.endless else {"Content-Length": str(len(span))}
    return StreamingResponse(_pieces(span, read, manner), status, {**headers, **length}, media)


async def _pieces(span: range, read: Read, manner: Manner) -> AsyncIterator[bytes]:
    """Others have a turn before each piece: a connection that is full says so only then."""
    step = PIECE_BYTES
    if manner.bytes_per_s is not None:
        step = min(PIECE_BYTES, max(1, int(manner.bytes_per_s * SLOW_PIECE_S)))
    stop = span.start + len(span) // 2 if manner.cut else span.stop
    for first in range(span.start, stop, step):
        await asyncio.sleep(step / manner.bytes_per_s if manner.bytes_per_s is not None else 0)
        yield read(first, min(step, stop - first))
    if manner.cut is not None:
        manner.cut()
        await asyncio.sleep(GONE_S)  # whoever hears of the end cancels this
    for _ in range(ENDLESS_BYTES // PIECE_BYTES if manner.endless else 0):
        await asyncio.sleep(0)
        yield bytes(PIECE_BYTES)

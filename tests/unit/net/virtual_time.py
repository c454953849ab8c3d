"""What stories in virtual time begin with."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from emulator.clock import SimLoop
from emulator.errors import NetError, NetReason
from emulator.net.api import Stream
from emulator.net.reader import Reader


def run(story: Coroutine[Any, Any, None]) -> None:
    """Tell it on a loop of its own."""
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(story)


def now() -> float:
    """Seconds since the story began."""
    return asyncio.get_running_loop().time()


def serve(stream: Stream) -> None:
    """A peer that takes what comes."""
    Reader(stream)


async def reason_of(attempt: Coroutine[Any, Any, Any]) -> NetReason:
    """Why it fails."""
    with pytest.raises(NetError) as caught:
        await attempt
    return caught.value.reason

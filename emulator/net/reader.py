"""A pull-style view of a `Stream`, for code that awaits bytes instead of being called with them."""

import asyncio
from collections.abc import Callable

from emulator.errors import NetError, NetReason
from emulator.net.api import Stream

HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = 16 * 1024


class Reader:
    """The `Receiver` of a stream. One task at a time may wait in `read`, one in `drain`.

    What nobody reads is kept up to `HIGH_WATER_BYTES` and a little more; then the stream is paused.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._buffer = bytearray()
        self._ended = False
        self._error: NetError | None = None
        self._reading_paused = False
        self._writing_paused = False
        self._changed = asyncio.Event()
        stream.attach(self)

    @property
    def readable(self) -> bool:
        """Whether `read` would return or raise at once: bytes wait, or the stream has ended."""
        return bool(self._buffer) or self._ended

    async def read(self, max_bytes: int, timeout_s: float | None = None) -> bytes:
        """Wait for 1 to `max_bytes` bytes. b"" is the end; NetError if the end was not in order, or TIMED_OUT."""
        await self._wait(lambda: bool(self._buffer) or self._ended, timeout_s, "nothing to read")
        if not self._buffer and self._error is not None:
            raise self._error
        data = bytes(self._buffer[:max_bytes])
        del self._buffer[:max_bytes]
        if self._reading_paused and len(self._buffer) <= LOW_WATER_BYTES:
            self._reading_paused = False
            self.stream.resume_reading()
        return data

    async def drain(self, timeout_s: float | None = None) -> None:
        """Wait until the stream has room for more. NetError if it has ended, or TIMED_OUT."""
        await asyncio.sleep(0)  # the stream tells of a full buffer from the loop, never from inside `write`
        await self._wait(lambda: not self._writing_paused or self._ended, timeout_s, "no room to write")
        if self._ended:
            raise self._error or NetError(NetReason.CLOSED, "by the peer")

    async def _wait(self, done: Callable[[], bool], timeout_s: float | None, what: str) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise NetError(NetReason.TIMED_OUT, f"{what} for {timeout_s:g} s") from None

    def data_received(self, data: bytes) -> None:
        """Part of `Receiver`."""
        self._buffer += data
        if len(self._buffer) > HIGH_WATER_BYTES and not self._reading_paused:
            self._reading_paused = True
            self.stream.pause_reading()
        self._changed.set()

    def connection_lost(self, error: NetError | None) -> None:
        """Part of `Receiver`."""
        self._ended, self._error = True, error
        self._changed.set()

    def pause_writing(self) -> None:
        """Part of `Receiver`."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Part of `Receiver`."""
        self._writing_paused = False
        self._changed.set()

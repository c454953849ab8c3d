"""The bounded queue between a UDP socket and its one reader."""

import asyncio
from collections import deque

from emulator.errors import NetError, NetReason
from emulator.net.api import DATAGRAM_QUEUE_MAX, Address


class Inbox:
    """Datagrams that wait for `receive`, at most `DATAGRAM_QUEUE_MAX`. One task at a time may wait."""

    __slots__ = ("_closed", "_queue", "_waiter")

    def __init__(self) -> None:
        self._queue: deque[tuple[bytes, Address]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def put(self, data: bytes, sender: Address) -> None:
        """Keep one datagram; it is dropped when the queue is full or closed."""
        if not self._closed and len(self._queue) < DATAGRAM_QUEUE_MAX:
            self._queue.append((data, sender))
            self._wake()

    async def receive(self) -> tuple[bytes, Address]:
        """Wait for one datagram. Raises NetError(CLOSED) once closed."""
        while not self._queue:
            if self._closed:
                raise NetError(NetReason.CLOSED, "socket")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._queue.popleft()

    def close(self) -> None:
        """Drop what waits and wake the reader."""
        self._closed = True
        self._queue.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

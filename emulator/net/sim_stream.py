"""Connections of the in-memory network."""

import asyncio
from collections import deque
from enum import Enum, auto

from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Receiver

HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = 16 * 1024
SEGMENT_BYTES = 64 * 1024  # the most that one `data_received` brings, like one read of a socket


class _State(Enum):
    OPEN = auto()
    CLOSING = auto()  # ended by us: nothing more is sent or delivered, connection_lost is on its way
    ENDED = auto()


class SimStream:
    """One end of a connection, with the queue of what is on its way to the other end.

    It is in `owner` for as long as it lives. The network has no receive window of its own: bytes count as unsent until
    the other receiver has them.
    """

    __slots__ = (
        "_arrived",
        "_error",
        "_latency_s",
        "_loop",
        "_other",
        "_owner",
        "_queue",
        "_read_paused",
        "_receiver",
        "_state",
        "_write_paused",
        "local",
        "peer",
        "unsent_bytes",
    )

    def __init__(self, owner: "dict[SimStream, None]", local: Address, peer: Address, latency_s: float) -> None:
        self.local = local
        self.peer = peer
        self.unsent_bytes = 0
        self._owner = owner
        self._latency_s = latency_s
        self._loop = asyncio.get_running_loop()
        self._other: SimStream | None = None
        self._receiver: Receiver | None = None
        self._queue: deque[bytes | None] = deque()  # None is the FIN
        self._arrived = 0
        self._read_paused = self._write_paused = False
        self._state = _State.OPEN
        self._error: NetError | None = None
        owner[self] = None

    def join(self, other: "SimStream") -> None:
        """Connect the two ends."""
        self._other = other

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._loop.call_soon(self._pull)

    def write(self, data: bytes) -> None:
        if self._state is not _State.OPEN or not data:
            return
        self.unsent_bytes += len(data)
        for start in range(0, len(data), SEGMENT_BYTES):
            self._put(bytes(data[start : start + SEGMENT_BYTES]))
        if self.unsent_bytes > HIGH_WATER_BYTES and not self._write_paused:
            self._write_paused = True
            self._loop.call_soon(self._tell_paused)

    def close(self) -> None:
        if self._state is _State.OPEN:
            self._state = _State.CLOSING
            self._put(None)
            self._pull_discarded()

    def abort(self) -> None:
        self._break(None)

    def lose(self) -> None:
        """The link below is gone: both ends see a reset."""
        self._break(NetError(NetReason.RESET, "the link went down"))

    def pause_reading(self) -> None:
        self._read_paused = True

    def resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            self._loop.call_soon(self._pull)

    def _put(self, item: bytes | None) -> None:
        self._queue.append(item)
        self._loop.call_later(self._latency_s, self._arrive)

    def _arrive(self) -> None:
        self._arrived += 1
        self._deliver()

    def _takes(self) -> bool:
        """Whether what arrives can be passed on now, or is thrown away because we ended the stream."""
        return self._state is not _State.OPEN or (self._receiver is not None and not self._read_paused)

    def _deliver(self) -> None:
        other = self._other
        while other is not None and self._arrived and self._queue and other._takes():
            item = self._queue.popleft()
            self._arrived -= 1
            if item is None:
                other._end(None)
                self._end(None)
                return
            self.unsent_bytes -= len(item)
            if other._state is _State.OPEN and other._receiver is not None:
                other._receiver.data_received(item)
        if self._write_paused and self.unsent_bytes <= LOW_WATER_BYTES:
            self._write_paused = False
            if self._receiver is not None:
                self._receiver.resume_writing()

    def _pull(self) -> None:
        """The receiver is ready again: take what waits for us."""
        if self._state is _State.ENDED:
            self._report()
        elif self._other is not None:
            self._other._deliver()

    def _pull_discarded(self) -> None:
        if self._other is not None:
            self._loop.call_soon(self._other._deliver)

    def _tell_paused(self) -> None:
        if self._write_paused and self._receiver is not None:
            self._receiver.pause_writing()

    def _break(self, error: NetError | None) -> None:
        if self._state is _State.ENDED or self._other is None:
            return
        self._state = _State.CLOSING
        self._queue.clear()
        self._loop.call_soon(self._end, error)
        self._loop.call_later(self._latency_s, self._other._end, NetError(NetReason.RESET, f"by {self.local}"))

    def _end(self, error: NetError | None) -> None:
        if self._state is _State.ENDED:
            return
        self._state, self._error = _State.ENDED, error
        self._other = None
        self._queue.clear()
        self.unsent_bytes = 0
        self._owner.pop(self, None)
        self._report()

    def _report(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.connection_lost(self._error)

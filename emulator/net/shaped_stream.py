"""A TCP connection behind a link and a firewall: bytes come late but in order, or stop coming."""

import asyncio
from collections import deque
from collections.abc import Callable

from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Receiver, Stream
from emulator.net.link import Link, Way
from emulator.net.site import Firewall, Verdict

RETRANSMIT_S = 1.0  # RFC 6298 section 2: the first retransmission timeout
QUEUE_BYTES_MAX = 256 * 1024
"""What may be on its way in one direction before the sender is held back."""

Deliver = Callable[[bytes], None]


class _Lane:
    """One direction: a queue of pieces with their times of arrival, which never overtake each other."""

    __slots__ = ("_deliver", "_ended", "_last", "_link", "_loop", "_queue", "_way", "size_bytes")

    def __init__(self, link: Link, way: Way, deliver: Deliver) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._way = way
        self._deliver = deliver
        self._queue: deque[tuple[bytes, asyncio.TimerHandle]] = deque()
        self._last = 0.0
        self._ended: Callable[[], None] | None = None
        self.size_bytes = 0

    def put(self, data: bytes) -> None:
        """Send a piece on its way; a lost one comes a retransmission later."""
        now = self._loop.time()
        arrives = self._link.plan(len(data), self._way)
        late = arrives if arrives is not None else now + RETRANSMIT_S + self._link.params.delay_s
        self._last = max(self._last, late)
        if not self._queue and self._last <= now:
            self._deliver(data)
            return
        self.size_bytes += len(data)
        self._queue.append((data, self._loop.call_at(self._last, self._arrive)))

    def end(self, ended: Callable[[], None]) -> None:
        """Call `ended` after the last piece."""
        if self._queue:
            self._ended = ended
        else:
            ended()

    def clear(self) -> None:
        """Drop everything that is on its way."""
        for _, timer in self._queue:
            timer.cancel()
        self._queue.clear()
        self._ended = None
        self.size_bytes = 0

    def _arrive(self) -> None:
        data, _ = self._queue.popleft()
        self.size_bytes -= len(data)
        self._deliver(data)
        if not self._queue and self._ended is not None:
            ended, self._ended = self._ended, None
            ended()


class ShapedStream:
    """A `Stream` over a `Stream`, and the `Receiver` of the inner one."""

    def __init__(self, stream: Stream, firewall: Firewall, link: Link) -> None:
        self._stream = stream
        self._firewall = firewall
        self._receiver: Receiver | None = None
        self._up = _Lane(link, Way.UP, stream.write)
        self._down = _Lane(link, Way.DOWN, self._deliver)
        self._reading_paused = self._over = False
        self.ended: Callable[[ShapedStream], None] = lambda stream: None

    @property
    def local(self) -> Address:
        return self._stream.local

    @property
    def peer(self) -> Address:
        return self._stream.peer

    @property
    def unsent_bytes(self) -> int:
        """Bytes on the link count as unsent."""
        return self._up.size_bytes + self._stream.unsent_bytes

    def attach(self, receiver: Receiver) -> None:
        """Set the receiver."""
        first = self._receiver is None
        self._receiver = receiver
        if first:
            self._stream.attach(self)

    def write(self, data: bytes) -> None:
        """Send bytes through the link; a firewall that has closed meanwhile swallows them."""
        if not self._over and self._firewall.verdict("tcp", self.peer) is Verdict.PASS:
            self._up.put(data)

    def close(self) -> None:
        """Close after what is on its way."""
        self._up.end(self._stream.close)

    def abort(self) -> None:
        """End now."""
        self._up.clear()
        self._stream.abort()

    def pause_reading(self) -> None:
        """Hold the peer back."""
        self._reading_paused = True
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._reading_paused = False
        self._stream.resume_reading()

    def lose(self) -> None:
        """The carrier is gone: RESET, now."""
        self._end(NetError(NetReason.RESET, "the link went down"))
        self._stream.abort()

    def data_received(self, data: bytes) -> None:
        """Part of the Receiver of the inner stream."""
        if self._firewall.verdict("tcp", self.peer) is not Verdict.PASS:
            return
        self._down.put(data)
        if self._down.size_bytes > QUEUE_BYTES_MAX:
            self._stream.pause_reading()

    def connection_lost(self, error: NetError | None) -> None:
        """Part of the Receiver of the inner stream."""
        self._up.clear()
        self._down.end(lambda: self._end(error))

    def pause_writing(self) -> None:
        """Part of the Receiver of the inner stream."""
        if self._receiver is not None:
            self._receiver.pause_writing()

    def resume_writing(self) -> None:
        """Part of the Receiver of the inner stream."""
        if self._receiver is not None:
            self._receiver.resume_writing()

    def _deliver(self, data: bytes) -> None:
        if self._receiver is not None and not self._over:
            self._receiver.data_received(data)
        if not self._reading_paused and self._down.size_bytes <= QUEUE_BYTES_MAX:
            self._stream.resume_reading()

    def _end(self, error: NetError | None) -> None:
        if self._over:
            return
        self._over = True
        self._up.clear()
        self._down.clear()
        self.ended(self)
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.connection_lost(error)

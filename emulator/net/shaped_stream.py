"""A TCP connection behind a link and a site's router: bytes come late but in order, or stop until it gives up."""

import asyncio
from collections import deque
from collections.abc import Callable

from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Receiver, Stream
from emulator.net.around import StreamAround
from emulator.net.firewall import Verdict
from emulator.net.link import HEADER_BYTES, Link, Way
from emulator.net.params import MTU_BYTES
from emulator.net.path import StreamPath

RETRANSMIT_S = 0.2  # Linux's lowest retransmission timeout (TCP_RTO_MIN); it doubles each time, RFC 6298 section 5.5
RETRANSMIT_MAX_S = 120.0  # Linux's highest (TCP_RTO_MAX)
RETRANSMITS_MAX = 15  # Linux's tcp_retries2: some 15 minutes in all
HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = 16 * 1024

Piece = bytes | None
"""What one packet carries; None is the FIN."""

Resent = Callable[[int, Way], None]
"""Called with the bytes of each packet that is sent again, headers included."""

Sent = Callable[[Piece, bool], None]
"""Called with each packet that the charger puts on the link, and whether it does so again."""


class _Lane:
    """One direction: pieces that never overtake each other. A lost one is sent again, and holds up those behind it."""

    __slots__ = (
        "_deliver",
        "_fate",
        "_flight",
        "_gave_up",
        "_last",
        "_loop",
        "_queue",
        "_resent",
        "_retransmits",
        "_timer",
        "held_bytes",
        "sent",
    )

    def __init__(
        self,
        fate: Callable[[int], float | None],
        deliver: Callable[[Piece], None],
        gave_up: Callable[[], None],
        resent: Callable[[int], None] | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._fate = fate
        self._deliver = deliver
        self._gave_up = gave_up
        self._resent = resent
        self._queue: deque[Piece] = deque()
        self._flight: deque[Piece] = deque()
        self._last = 0.0
        self._retransmits = 0
        self._timer: asyncio.TimerHandle | None = None
        self.held_bytes = 0
        self.sent: Sent | None = None

    def put(self, piece: Piece) -> None:
        """Send a piece on its way."""
        self._queue.append(piece)
        self.held_bytes += len(piece or b"")
        if self._timer is None:
            self._send()

    def clear(self) -> None:
        """Drop everything that is on its way."""
        self._queue.clear()
        self._flight.clear()
        self.held_bytes = 0
        if self._timer is not None:
            self._timer.cancel()

    def _send(self) -> None:
        self._timer = None
        while self._queue:
            size_bytes = HEADER_BYTES + len(self._queue[0] or b"")
            if self._retransmits and self._resent is not None:
                self._resent(size_bytes)
            if self.sent is not None:
                self.sent(self._queue[0], self._retransmits > 0)
            arrives = self._fate(size_bytes)
            if arrives is None:
                self._retransmit()
                return
            self._retransmits = 0
            self._flight.append(self._queue.popleft())
            self._last = max(self._last, arrives)
            if len(self._flight) == 1 and self._last <= self._loop.time():
                self._arrive()
            else:
                self._loop.call_at(self._last, self._arrive)

    def _retransmit(self) -> None:
        if self._retransmits == RETRANSMITS_MAX:
            self._gave_up()
            return
        delay_s = min(RETRANSMIT_S * 2**self._retransmits, RETRANSMIT_MAX_S)
        self._retransmits += 1
        self._timer = self._loop.call_later(delay_s, self._send)

    def _arrive(self) -> None:
        if self._flight:  # else it was cleared meanwhile
            piece = self._flight.popleft()
            self.held_bytes -= len(piece or b"")
            self._deliver(piece)


class ShapedStream(StreamAround):
    """A stream behind a link and a router, which it takes along the `path`."""

    def __init__(self, stream: Stream, path: StreamPath, link: Link, resent: Resent | None = None) -> None:
        super().__init__(stream)
        self._path = path
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._up = self._lane(Way.UP, self._leave, resent)
        self._down = self._lane(Way.DOWN, self._arrive, resent)
        self._arrived: deque[Piece] = deque()
        self._arrived_bytes = 0
        self._reading_paused = self._held_back = False
        self._full = self._inner_full = False
        self._closing = self._over = self._peer_gone = False
        self._error: NetError | None = None
        self.orphan = False
        """Over for the charger, but nothing gets through to tell the peer, which still believes in it."""
        self.orphaned: Callable[[], None] = lambda: None
        """Called when it becomes an orphan."""
        self.ended: Callable[[ShapedStream], None] = lambda stream: None
        """Called once, when the stream has ended at both ends."""
        self._delivered: Callable[[Piece], None] | None = None
        stream.attach(self)

    def watch(self, sent: Sent, delivered: Callable[[Piece], None]) -> None:
        """Tell of every packet that the charger puts on the link, and when it has come through."""
        self._up.sent, self._delivered = sent, delivered

    # Stream

    @property
    def peer(self) -> Address:
        """Whom the charger means, whoever it really is."""
        return self._path.to

    @property
    def unsent_bytes(self) -> int:
        """Bytes on the link count as unsent."""
        return self._up.held_bytes + self._stream.unsent_bytes

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._loop.call_soon(self._report if self._over else self._hand_on)

    def write(self, data: bytes) -> None:
        if not self._closing:
            for piece in self._pieces(data):
                self._up.put(piece)
            if self._up.held_bytes > HIGH_WATER_BYTES:
                self._loop.call_soon(self._check_room)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._up.put(None)

    def abort(self) -> None:
        if not self._over:
            self._closing = True
            self._up.clear()
            self._let_go()
            self._loop.call_soon(self._end, None)

    def lose(self) -> None:
        """The carrier is gone: RESET, now."""
        if self.orphan:
            self.bury()
        else:
            self._end(NetError(NetReason.RESET, "the link went down"))
            self._stream.abort()

    def bury(self) -> None:
        """Tell the peer of an orphan that it is over after all."""
        self.orphan = False
        self._stream.abort()
        if self._over:
            self.ended(self)

    def pause_reading(self) -> None:
        self._reading_paused = True
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        self._reading_paused = False
        self._loop.call_soon(self._hand_on)

    # Receiver of the inner stream

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        for piece in self._pieces(data):
            self._down.put(piece)
        if self._down.held_bytes + self._arrived_bytes > HIGH_WATER_BYTES and not self._held_back:
            self._held_back = True
            self._stream.pause_reading()

    def connection_lost(self, error: NetError | None) -> None:
        self._up.clear()
        self._peer_gone = True
        if self.orphan:
            self.orphan = False
            if self._over:
                self.ended(self)
        elif self._closing:
            self._end(None)
        else:
            self._error = error
            self._down.put(None)

    def pause_writing(self) -> None:
        self._inner_full = True
        self._check_room()

    def resume_writing(self) -> None:
        self._inner_full = False
        self._check_room()

    # Between the two

    def _lane(self, way: Way, deliver: Callable[[Piece], None], resent: Resent | None) -> _Lane:
        count = None if resent is None else lambda size_bytes: resent(size_bytes, way)
        return _Lane(lambda size_bytes: self._fate(size_bytes, way), deliver, self._give_up, count)

    def _fate(self, size_bytes: int, way: Way) -> float | None:
        """When a packet arrives; None: it does not, and is not acknowledged."""
        verdict = self._path.carries(size_bytes, way)
        if verdict is Verdict.PASS:
            return self._link.plan(size_bytes, way)
        if verdict in (Verdict.RESET, Verdict.STRAY):
            self._loop.call_soon(self._cut, verdict)
        return None

    def _pieces(self, data: bytes) -> list[bytes]:
        """Packets as the link has them, where it matters how many there are."""
        params = self._link.params
        if not (params.loss or params.rate_bps or params.mtu_bytes < MTU_BYTES):
            return [data]
        size = params.mtu_bytes - HEADER_BYTES
        return [data[start : start + size] for start in range(0, len(data), size)]

    def _leave(self, piece: Piece) -> None:
        if self._delivered is not None:
            self._delivered(piece)
        if piece is None:
            self._stream.close()
        else:
            self._stream.write(piece)
            if self._full:
                self._loop.call_soon(self._check_room)

    def _arrive(self, piece: Piece) -> None:
        self._arrived.append(piece)
        self._arrived_bytes += len(piece or b"")
        self._hand_on()

    def _hand_on(self) -> None:
        """Give the receiver what it is ready for, and let the peer go on when little is left."""
        while self._arrived and self._receiver is not None and not self._reading_paused and not self._over:
            piece = self._arrived.popleft()
            if piece is None:
                self._end(self._error)
                return
            self._arrived_bytes -= len(piece)
            if not self._closing:
                self._receiver.data_received(piece)
        if self._held_back and self._down.held_bytes + self._arrived_bytes <= LOW_WATER_BYTES:
            self._held_back = False
        if not (self._held_back or self._reading_paused or self._over):
            self._stream.resume_reading()

    def _check_room(self) -> None:
        """Tell the receiver when the way out has become full or has room again. Never called from inside `write`."""
        limit = LOW_WATER_BYTES if self._full else HIGH_WATER_BYTES
        full = self._inner_full or self._up.held_bytes > limit
        if full == self._full or self._receiver is None:
            return
        self._full = full
        if full:
            self._receiver.pause_writing()
        else:
            self._receiver.resume_writing()

    def _give_up(self) -> None:
        self._let_go()
        self._end(NetError(NetReason.TIMED_OUT, f"{self.peer} acknowledges nothing"))

    def _cut(self, verdict: Verdict) -> None:
        """Somebody else sent a RST: to both ends, or to ours alone."""
        if self._over:
            return
        if verdict is Verdict.RESET:
            self._stream.abort()
        else:
            self._leave_behind()
        self._end(NetError(NetReason.RESET, f"on the way to {self.peer}"))

    def _let_go(self) -> None:
        """Send a RST, if it gets through."""
        if self._path.carries(HEADER_BYTES, Way.UP) in (Verdict.PASS, Verdict.RESET):
            self._stream.abort()
        else:
            self._leave_behind()

    def _leave_behind(self) -> None:
        if not self._peer_gone:
            self.orphan = True
            self.orphaned()

    def _end(self, error: NetError | None) -> None:
        if self._over:
            return
        self._closing = self._over = True
        self._error = error
        self._up.clear()
        self._down.clear()
        self._arrived.clear()
        if not self.orphan:
            self.ended(self)
        self._report()

    def _report(self) -> None:
        super().connection_lost(self._error)

"""What a wire would show of one TCP connection, drawn from what its user writes and reads. Pure.

A `Stream` tells of bytes, not of packets: below it may be a socket, or no TCP at all. So the segments are drawn, as a
common stack sends them and on the terms of `net.link`: 20 bytes of IP, 20 of TCP, no timestamps.

- A SYN offers a largest segment by the MTU, selective acknowledgments and a window scale.
- What is written at once goes in segments as large as they may be, the last with PSH.
- Every second segment is acknowledged at once (RFC 9293 section 3.8.6.3), an odd one by what goes back within 40 ms,
  and else alone. The peer's acknowledgments are here a round trip after what they acknowledge.
- An end in order is a FIN and an ACK each way.

Windows never fill; selective acknowledgments and keep-alives are not drawn.
"""

from collections import deque
from collections.abc import Iterator
from struct import pack

from emulator.net.link import HEADER_BYTES, Way
from emulator.net.meter import DELAYED_ACK_S
from emulator.wire.frame import Tcp, TcpFlag

Piece = bytes | None
"""What is put on the link at once; None is the FIN."""

Segments = list[tuple[Way, Tcp]]
"""In the order in which they pass the charger's interface. UP is from the charger."""

SEQUENCES = 1 << 32
SYN_WINDOW_BYTES = 64_240  # what Linux offers first; in a SYN it is not scaled
WINDOW, WINDOW_SCALE = 0xFFFF, 7

_OPTIONS_AFTER_MSS = bytes.fromhex("01010402 010303") + bytes([WINDOW_SCALE])  # RFC 2018, RFC 7323
_SYN, _ACK, _PSH, _FIN, _RST = TcpFlag.SYN, TcpFlag.ACK, TcpFlag.PSH, TcpFlag.FIN, TcpFlag.RST


class _Acks:
    """What one end owes the other: acknowledgments, each known at a time and due at a time."""

    __slots__ = ("_odd", "_owed")

    def __init__(self) -> None:
        self._owed: deque[tuple[float, float, int]] = deque()
        self._odd = False
        """The last one stands for a single segment: a second may come."""

    def got(self, up_to: int, at: float) -> None:
        """A segment has come that ends before the sequence number `up_to`."""
        if self._odd:
            self._owed[-1] = (at, at, up_to)
        else:
            self._owed.append((at, at + DELAYED_ACK_S, up_to))
        self._odd = not self._odd

    def due(self) -> float | None:
        """When the next one has to go alone."""
        return self._owed[0][1] if self._owed else None

    def overdue(self, now: float) -> Iterator[int]:
        """Those that have to go alone, up to now."""
        while self._owed and self._owed[0][1] <= now:
            yield self._pop()

    def known(self, now: float) -> Iterator[int]:
        """Those that can go with data that are sent now."""
        while self._owed and self._owed[0][0] <= now:
            yield self._pop()

    def _pop(self) -> int:
        _, _, up_to = self._owed.popleft()
        self._odd = self._odd and bool(self._owed)
        return up_to


class _End:
    """One end of the connection. Sequence numbers count on past 32 bits."""

    __slots__ = ("acked", "acks", "finished", "port", "sequence")

    def __init__(self, port: int, sequence: int) -> None:
        self.port = port
        self.sequence = sequence
        """Of the next byte that it sends."""
        self.acked = 0
        """Up to where it has acknowledged what the other end has sent."""
        self.acks = _Acks()
        self.finished = False
        """It has sent its FIN."""


class TcpPicture:
    """One connection of the charger. `now` is monotonic seconds."""

    __slots__ = ("_delivered", "_latest", "_mss_bytes", "_ours", "_theirs")

    def __init__(self, ports: tuple[int, int], sequences: tuple[int, int], mtu_bytes: int) -> None:
        """`ports` and first `sequences` are the charger's and the peer's."""
        self._ours, self._theirs = (_End(port, first) for port, first in zip(ports, sequences, strict=True))
        self._mss_bytes = mtu_bytes - HEADER_BYTES
        self._delivered = sequences[0] + 1
        """Up to where the peer has what the charger has sent."""
        self._latest: Segments = []

    def knocks(self, times: int = 1) -> Segments:
        """The charger's SYN, as often as it was sent."""
        return [self._segment(Way.UP, _SYN, options=self._options())] * times

    def opens(self) -> Segments:
        """SYN and ACK come, and the charger's ACK goes."""
        self._theirs.acked = self._ours.sequence
        answer = self._segment(Way.DOWN, _SYN | _ACK, options=self._options())
        return [answer, self._acknowledges(Way.UP)]

    def refuses(self) -> Segments:
        """A RST comes instead (RFC 9293 section 3.10.7.1)."""
        self._theirs.sequence, self._theirs.acked = 0, self._ours.sequence
        return self.resets(Way.DOWN)

    def sends(self, piece: Piece, now: float) -> Segments:
        """The charger puts a piece on the link."""
        self._catch_up(self._ours, now)
        self._latest = [self._finishes(Way.UP)] if piece is None else list(self._cut(Way.UP, piece))
        return self._latest

    def sends_again(self) -> Segments:
        """The latest piece once more: it was lost."""
        return self._latest

    def delivers(self, piece: Piece, back_at: float) -> None:
        """The peer has got the next piece; its ACK can be back at `back_at`."""
        end = self._delivered + (1 if piece is None else len(piece))
        while self._delivered < end:
            self._delivered = min(self._delivered + self._mss_bytes, end)
            self._theirs.acks.got(self._delivered, back_at)

    def receives(self, data: bytes, now: float) -> Segments:
        """Bytes come, and the ACKs go that have to go at once."""
        self._catch_up(self._theirs, now)
        shown: Segments = []
        for segment in self._cut(Way.DOWN, data):
            self._ours.acks.got(self._theirs.sequence, now)
            shown += [segment, *self._overdue(Way.UP, now)]
        return shown

    def due(self) -> float | None:
        """When an ACK goes or comes alone, if nothing else happens before."""
        times = [when for end in (self._ours, self._theirs) if (when := end.acks.due()) is not None]
        return min(times, default=None)

    def waits(self, now: float) -> Segments:
        """The ACKs that have gone and come alone up to now."""
        return [*self._overdue(Way.UP, now), *self._overdue(Way.DOWN, now)]

    def ends(self) -> Segments:
        """It is over, in order: what is lacking of a FIN and an ACK each way."""
        first, second = (Way.UP, Way.DOWN) if self._ours.finished else (Way.DOWN, Way.UP)
        begun = [] if self._ours.finished else [self._finishes(first)]
        answered, asker = self._ends_of(second)
        owed = [self._acknowledges(second)] if answered.acked < asker.sequence else []
        return [*begun, *owed, self._finishes(second), self._acknowledges(first)]

    def resets(self, way: Way) -> Segments:
        """The end that sends this way breaks it off."""
        return [self._segment(way, _RST | _ACK)]

    def _ends_of(self, way: Way) -> tuple[_End, _End]:
        """Sender and receiver."""
        return (self._ours, self._theirs) if way is Way.UP else (self._theirs, self._ours)

    def _segment(self, way: Way, flags: TcpFlag, payload: bytes = b"", options: bytes = b"") -> tuple[Way, Tcp]:
        sender, receiver = self._ends_of(way)
        numbers = sender.sequence % SEQUENCES, sender.acked % SEQUENCES
        sender.sequence += len(payload) + bool(flags & (_SYN | _FIN))
        window = SYN_WINDOW_BYTES if flags & _SYN else WINDOW
        return way, Tcp(sender.port, receiver.port, *numbers, flags, window, options, payload)

    def _cut(self, way: Way, data: bytes) -> Iterator[tuple[Way, Tcp]]:
        size = self._mss_bytes
        for start in range(0, len(data), size):
            is_last = start + size >= len(data)
            yield self._segment(way, _ACK | _PSH if is_last else _ACK, data[start : start + size])

    def _finishes(self, way: Way) -> tuple[Way, Tcp]:
        self._ends_of(way)[0].finished = True
        return self._segment(way, _FIN | _ACK)

    def _acknowledges(self, way: Way) -> tuple[Way, Tcp]:
        """Everything that the other end has sent."""
        sender, receiver = self._ends_of(way)
        sender.acked = receiver.sequence
        return self._segment(way, _ACK)

    def _catch_up(self, end: _End, now: float) -> None:
        """What it sends next acknowledges all that it knows of."""
        end.acked = max(end.acks.known(now), default=end.acked)

    def _overdue(self, way: Way, now: float) -> Iterator[tuple[Way, Tcp]]:
        end, _ = self._ends_of(way)
        for up_to in end.acks.overdue(now):
            if up_to > end.acked:
                end.acked = up_to
                yield self._segment(way, _ACK)

    def _options(self) -> bytes:
        return pack("!BBH", 2, 4, self._mss_bytes) + _OPTIONS_AFTER_MSS

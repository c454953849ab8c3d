"""What a broker has acknowledged lately, on disk, to be sent again when it was lost.

Mosquitto keeps its sessions and queues in memory and writes them down every other second. If it is killed it forgets
what it has acknowledged since, and a message that was acknowledged to a device would be gone. So the process that
published it keeps it for `WINDOW_S` after the acknowledgement, in a file that survives its own death too, and sends it
again on the next connection. Subscribers get some messages twice, none is lost.

The guard is against processes that die, not against power cuts: nothing is flushed to the disk itself.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from cloud_stub.bus.api import BusError, Delivery, Kind
from cloud_stub.bus.client5 import PACKET_BYTES_MAX
from cloud_stub.bus.wire5 import Decoder5, Publish5, encode
from emulator.errors import UsageError
from emulator.wire.mqtt import MqttError

WINDOW_S = 4.0
"""Two of Mosquitto's saves: one that is under way when it dies, and the one before."""
SEGMENT_BYTES_MAX = 64 << 20
"""A segment that is full is closed early: above some 30,000 messages/s of 500 bytes the window gets shorter."""

REPEATABLE = frozenset({Kind.D2C, Kind.CONNECTION, Kind.IDENTITY, Kind.C2D_READY})
"""What may come twice. A method that is called twice may open a garage twice."""


class Journal:
    """Two segments, `stem`.0 and `stem`.1, of PUBLISH packets: one is written, the other holds what came before it.

    What was taken out with `recent` stays in them until all of it is `settled`, and a window longer: the broker may die
    again, and so may we. It is not added a second time, so that a broker that dies again and again makes nothing grow.
    """

    def __init__(self, stem: Path, now: Callable[[], float], *, window_s: float = WINDOW_S) -> None:
        """Open, with what another process has left; wait for one that still has it, but is about to end.

        `now` is monotonic seconds. UsageError: cannot be opened.
        """
        self._now = now
        self._window_s = window_s
        self._repeating = 0
        self._earliest = now()
        try:
            self._segments = [_Segment(stem.with_name(f"{stem.name}.{number}"), now()) for number in (0, 1)]
        except OSError as error:
            raise UsageError(f"{stem}: {error.strerror}") from None
        self._segments.sort(key=lambda segment: segment.age)
        self._since = now()

    def add(self, message: Delivery) -> None:
        """Keep a message that was acknowledged just now, if it may come twice. BusError: there is no room for it."""
        levels = message.topic.split("/", 3)
        if len(levels) < 3 or levels[2] not in REPEATABLE:
            return
        now, segment = self._now(), self._segments[-1]
        if not self._repeating and (now - self._since > self._window_s or segment.size > SEGMENT_BYTES_MAX):
            self._segments.reverse()
            segment, self._since = self._segments[-1], now
            segment.clear()
        segment.write(encode(Publish5(message.topic, message.payload, message.properties, 1)), now)

    def recent(self, lost_at: float) -> list[Delivery]:
        """What was acknowledged in the window before `lost_at` (and maybe a window more), oldest first.

        All of it is to be sent again, and each message `settled`; until all are, they come again with every call.
        """
        if not self._repeating:
            self._earliest = lost_at - self._window_s
        segments = [segment for segment in self._segments if segment.written_at >= self._earliest]
        found = [each for segment in segments for each in segment.messages()]
        self._repeating = len(found)
        return found

    def settled(self) -> None:
        """The broker has answered one of the messages that were sent again."""
        self._repeating -= 1
        if not self._repeating:
            self._since = now = self._now()
            for segment in self._segments:
                segment.written_at = now

    def close(self) -> None:
        """Free the files; they stay."""
        for segment in self._segments:
            segment.close()


class _Segment:
    def __init__(self, path: Path, now: float) -> None:
        self.written_at = now
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self.age = os.fstat(self._file).st_mtime_ns
        self.size = 0
        self.size = sum(map(len, map(_encoded, self.messages())))
        self._cut_to(self.size)  # half a packet at the end is where somebody was killed

    def write(self, data: bytes, now: float) -> None:
        """All of it, or nothing and BusError."""
        try:
            written, reason = os.write(self._file, data), "the disk is full"
        except OSError as error:
            written, reason = 0, str(error.strerror)
        if written < len(data):
            self._cut_to(self.size)
            raise BusError(f"journal: {reason}")
        self.size += written
        self.written_at = now

    def clear(self) -> None:
        self._cut_to(0)
        self.size = 0

    def messages(self) -> list[Delivery]:
        decoder = Decoder5(PACKET_BYTES_MAX)
        decoder.put(os.pread(self._file, os.fstat(self._file).st_size, 0))
        found = []
        try:
            while isinstance(packet := decoder.take(), Publish5):
                found.append(Delivery(packet.topic, packet.payload, packet.properties))
        except MqttError:
            pass  # what is behind a damaged place cannot be read
        return found

    def close(self) -> None:
        os.close(self._file)

    def _cut_to(self, size: int) -> None:
        os.truncate(self._file, size)
        os.lseek(self._file, size, os.SEEK_SET)


def _encoded(message: Delivery) -> bytes:
    return encode(Publish5(message.topic, message.payload, message.properties, 1))

"""A capture file while it is written: packets in the order of their times, each whole on the disk before the next."""

import heapq
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from emulator.errors import WireError
from emulator.net.keylog import KeylogReader, new_file
from emulator.wire import pcapng
from emulator.wire.pcapng import Direction

FILE_MAX_BYTES = 1 << 30
"""A file that has come to this is not continued; further packets are counted, not kept."""
HELD_MAX = 20_000
"""Packets that wait for earlier ones; when there are more, the earliest is written."""
NOTES_MAX = 16
"""Comments that wait for a packet; when there are more, the oldest are lost."""

APPLICATION = "zaptec-pro-emulator"


@dataclass(slots=True)
class _Seen:
    """The packets of one interface."""

    total: int = 0
    dropped: int = 0
    """Those of them that are not in the file."""


class CaptureFile:
    """A pcapng file of mode 600, made anew. With `secrets` it holds the TLS secrets that its packets need.

    `told` hears once, in words, when it cannot go on: the disk is full, or `max_bytes` are reached.
    """

    def __init__(
        self,
        path: Path,
        *,
        secrets: KeylogReader | None = None,
        comment: str = "",
        told: Callable[[str], None] = lambda line: None,
        max_bytes: int = FILE_MAX_BYTES,
    ) -> None:
        """UsageError: the file cannot be made."""
        self._path = path
        self._secrets = secrets
        self._told = told
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._full = False
        self._seen: list[_Seen] = []
        self._last_ns = 0
        self._numbers = count()
        self._holds: dict[int, int] = {}
        self._held: list[tuple[int, int, int, bytes, Direction]] = []
        self._notes: list[tuple[int, str]] = []
        self._fd = new_file(path, "--pcap")
        self._write(pcapng.section_header(APPLICATION, comment=comment))

    def add_interface(self, name: str, *, description: str = "", mac: bytes = b"") -> int:
        """A place where packets are seen: its number."""
        self._write(pcapng.interface(name, description=description, mac=mac))
        self._seen.append(_Seen())
        return len(self._seen) - 1

    def put(self, number: int, time_ns: int, frame: bytes, direction: Direction) -> None:
        """Keep one packet of interface `number`. One that is later than a hold waits for it."""
        heapq.heappush(self._held, (time_ns, next(self._numbers), number, frame, direction))
        self._write_held()

    def note(self, time_ns: int, text: str) -> None:
        """The next packet after this time gets this comment."""
        self._notes = [*self._notes, (time_ns, text)][-NOTES_MAX:]

    def hold(self, time_ns: int) -> int:
        """Packets of this time and later may still come that belong before others: the hold."""
        hold = next(self._numbers)
        self._holds[hold] = time_ns
        return hold

    def move(self, hold: int, time_ns: int) -> None:
        """Until this time they have come."""
        self._holds[hold] = time_ns
        self._write_held()

    def release(self, hold: int) -> None:
        """They have come, or never will. May be called twice."""
        self._holds.pop(hold, None)
        self._write_held()

    def missed(self, number: int, packets: int = 1) -> None:
        """So many packets of the interface could not be taken."""
        self._seen[number].total += packets
        self._seen[number].dropped += packets

    def close(self) -> None:
        """Write what waits, and the counts. May be called twice."""
        if self._fd < 0:
            return
        self._holds.clear()
        self._write_held()
        for number, seen in enumerate(self._seen):
            self._write(pcapng.statistics(number, self._last_ns, received=seen.total, dropped=seen.dropped))
        fd, self._fd = self._fd, -1
        os.close(fd)
        if self._secrets is not None:
            self._secrets.close()

    def _write_held(self) -> None:
        """Write what waits for nothing, the earliest first; what has the same time, in the order in which it came."""
        until_ns = min(self._holds.values(), default=None)
        while self._held and (until_ns is None or self._held[0][0] < until_ns or len(self._held) > HELD_MAX):
            time_ns, _, number, frame, direction = heapq.heappop(self._held)
            self._keep(number, time_ns, frame, direction)

    def _keep(self, number: int, time_ns: int, frame: bytes, direction: Direction) -> None:
        seen = self._seen[number]
        seen.total += 1
        self._last_ns = max(self._last_ns, time_ns)
        if not self._full and self._secrets is not None and (lines := self._secrets.read()):
            self._write(pcapng.tls_secrets(lines))
        block = self._block(number, time_ns, frame, direction)
        if self._size_bytes + len(block) > self._max_bytes:
            self._stop(f"it has {self._size_bytes} bytes, at most {self._max_bytes}")
        if self._full or not self._write(block):
            seen.dropped += 1

    def _block(self, number: int, time_ns: int, frame: bytes, direction: Direction) -> bytes:
        comment = "\n".join(text for since_ns, text in self._notes if since_ns <= time_ns)
        self._notes = [note for note in self._notes if note[0] > time_ns]
        try:
            return pcapng.packet(number, time_ns, frame, direction, comment=comment)
        except WireError:
            return b""

    def _write(self, block: bytes) -> bool:
        """One block, whole or not at all; whether it is in the file."""
        if self._fd < 0 or not block:
            return False
        try:
            written = os.write(self._fd, block)
        except OSError as error:
            self._stop(error.strerror or str(error))
            return False
        if written < len(block):
            with suppress(OSError):
                os.ftruncate(self._fd, self._size_bytes)
            self._stop("no room for another packet")
            return False
        self._size_bytes += written
        return True

    def _stop(self, why: str) -> None:
        if not self._full:
            self._full = True
            self._told(f"--pcap {self._path}: {why}; the capture ends here")

"""Messages that wait in flash while the hub is out of reach: bounded, the oldest go first."""

import re
from collections.abc import Callable

from emulator.flash.api import Flash, forgotten, kept
from emulator.wire.messages import MessageError, type_of

PREFIX = "outbox/"
_NUMBERED = re.compile("[0-9]{8,64}")


class Outbox:
    """A queue of payloads in flash, at most `limit`. What it holds survives a power cut.

    `skipped` hears of records that nobody here has written: they are passed over and stay in flash as they are.
    """

    __slots__ = ("_flash", "_limit", "_next", "_skipped", "_waiting", "dropped")

    def __init__(self, flash: Flash, limit: int, skipped: Callable[[str], None] = lambda key: None) -> None:
        self._flash = flash
        self._limit = limit
        self._skipped = skipped
        self.dropped = 0
        """Payloads that were pushed out by newer ones, or for which flash had no room, since power-on."""
        self.recall()

    def recall(self) -> None:
        """Take what flash holds."""
        self._waiting = sorted(self._stored())  # no deque: an empty one takes 0.6 KiB, in thousands of chargers
        self._next = self._waiting[-1] + 1 if self._waiting else 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, payload: bytes) -> None:
        """Add the newest; over the limit, the oldest is dropped and counted. So is one that flash has no room for."""
        if not kept(self._flash, _key(self._next), payload):
            self.dropped += 1
            return
        self._waiting.append(self._next)
        self._next += 1
        while len(self) > self._limit:
            self.pop()
            self.dropped += 1

    def oldest(self) -> bytes | None:
        """The payload to send next; None when there is none. One that flash has lost or spoiled is passed over."""
        while self._waiting:
            key = _key(self._waiting[0])
            payload = self._flash.get(key)
            if payload is not None:
                if _is_message(payload):
                    return payload
                self._skipped(key)
            del self._waiting[0]
        return None

    def pop(self) -> None:
        """The oldest is no longer needed."""
        if self._waiting:
            forgotten(self._flash, _key(self._waiting[0]))
            del self._waiting[0]

    def _stored(self) -> list[int]:
        numbers = []
        for key in self._flash.keys(PREFIX):
            name = key.removeprefix(PREFIX)
            if _NUMBERED.fullmatch(name) and _key(int(name)) == key:
                numbers.append(int(name))
            else:
                self._skipped(key)
        return numbers


def _key(number: int) -> str:
    return f"{PREFIX}{number:08d}"


def _is_message(payload: bytes) -> bool:
    try:
        type_of(payload)
    except MessageError:
        return False
    return True

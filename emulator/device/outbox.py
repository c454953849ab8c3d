"""Messages that wait in flash while the hub is out of reach: bounded, the oldest go first."""

from emulator.flash import Flash

PREFIX = "outbox/"


class Outbox:
    """A queue of payloads in flash, at most `limit`. What it holds survives a power cut."""

    __slots__ = ("_first", "_flash", "_limit", "_next", "dropped")

    def __init__(self, flash: Flash, limit: int) -> None:
        self._flash = flash
        self._limit = limit
        self.dropped = 0
        """Payloads that were pushed out by newer ones, since power-on."""
        numbers = sorted(int(key.removeprefix(PREFIX)) for key in flash.keys(PREFIX))
        self._first = numbers[0] if numbers else 0
        self._next = numbers[-1] + 1 if numbers else 0

    def __len__(self) -> int:
        return self._next - self._first

    def put(self, payload: bytes) -> None:
        """Add the newest; over the limit, the oldest is dropped and counted."""
        self._flash.put(_key(self._next), payload)
        self._next += 1
        if len(self) > self._limit:
            self.pop()
            self.dropped += 1

    def oldest(self) -> bytes | None:
        """The payload to send next; None when there is none. One that flash has lost is passed over."""
        while len(self):
            payload = self._flash.get(_key(self._first))
            if payload is not None:
                return payload
            self.pop()
        return None

    def pop(self) -> None:
        """The oldest is no longer needed."""
        if len(self):
            self._flash.delete(_key(self._first))
            self._first += 1


def _key(number: int) -> str:
    return f"{PREFIX}{number:08d}"

"""What each device did at the hub: logins with the decision, packets, ends. Bounded, and without secrets."""

import re
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from itertools import islice
from sys import intern
from typing import Any

DEPTH_MAX, DEPTH_MIN = 128, 16
"""Entries kept for one device: the most for a few devices (some 16 KiB each), the least for thousands."""
ENTRIES_MAX = 102_400
"""Entries kept in all, some 13 MiB, as long as `DEPTH_MIN` for each device does not make more: up to 400 devices have
`DEPTH_MAX`, up to 800 half of it, and so on; more than 3,200 have `DEPTH_MIN`."""
DEVICES_MAX = 20_000
"""Device ids with a history, made-up ones included; beyond, the one that was heard of first is forgotten."""
TEXT_MAX = 200

_SECRET = re.compile(r"(?i)\b(sig|sharedaccesskey|password)(=|%3d)[^&;\s]*")


class Event(StrEnum):
    """What an entry is about."""

    CONNECT = "connect"
    IN = "in"
    OUT = "out"
    CLOSE = "close"


Entry = tuple[float, Event, str, int]
"""Monotonic seconds, event, what it was, bytes of its payload."""


def masked(text: str) -> str:
    """Text by a device as it may be kept and shown: shortened, and without signatures and keys."""
    return _SECRET.sub(r"\1\2...", text[: 2 * TEXT_MAX])[:TEXT_MAX]


class HubHistory:
    """A ring of entries for each device id. `now` is monotonic seconds. Entries cost about a microsecond."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._rings: dict[str, deque[Entry]] = {}
        self._depth = DEPTH_MAX

    def note(self, device_id: str, event: Event, what: str, size_bytes: int = 0) -> None:
        """Add an entry. `what` is kept as it is: text by a device must be `masked` before."""
        ring = self._rings.get(device_id)
        if ring is None:
            ring = self._add(device_id)
        ring.append((self._now(), event, intern(what), size_bytes))  # devices do the same things again and again
        if len(ring) > self._depth:
            ring.popleft()

    def of(self, device_id: str) -> list[dict[str, Any]]:
        """JSON-able entries of a device, oldest first."""
        return [
            {"t": t, "event": event.value, "what": what, "bytes": size}
            for t, event, what, size in self._rings.get(device_id, ())
        ]

    def clear(self, device_id: str) -> None:
        """Forget what a device did."""
        self._rings.pop(device_id, None)
        self._measure()

    def _add(self, device_id: str) -> deque[Entry]:
        if len(self._rings) >= DEVICES_MAX:
            del self._rings[next(iter(self._rings))]
        self._rings[device_id] = deque()
        self._measure()
        return self._rings[device_id]

    def _measure(self) -> None:
        """Find the depth for so many devices; when it is halved, every ring gets shorter."""
        depth = DEPTH_MAX
        while depth > DEPTH_MIN and depth * len(self._rings) > ENTRIES_MAX:
            depth //= 2
        if depth < self._depth:
            for device_id, ring in self._rings.items():
                self._rings[device_id] = deque(islice(ring, max(0, len(ring) - depth), None))
        self._depth = depth

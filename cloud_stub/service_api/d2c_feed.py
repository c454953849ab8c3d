"""Device-to-cloud messages for people who watch: bounded queues fed from the bus while anybody does."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cloud_stub.bus.api import Bus, Delivery, Kind, filter_of, parse_topic
from cloud_stub.bus.properties import Properties
from emulator.faults import Undo

WATCHERS_MAX = 64
QUEUE_MAX = 1_000
"""Messages that wait for one watcher; what comes when it is full is dropped and counted."""


@dataclass(frozen=True, slots=True)
class D2cMessage:
    """A message as it was on the bus: its property bag and what the hub stamps."""

    device_id: str
    properties: Properties
    body: bytes


class Watcher:
    """One who watches all devices, or some."""

    def __init__(self, devices: frozenset[str]) -> None:
        self._devices = devices
        self._queue: deque[D2cMessage] = deque()
        self._changed = asyncio.Event()
        self._dropped = 0

    def offer(self, message: D2cMessage) -> None:
        """Take a message if it is asked for and there is room."""
        if self._devices and message.device_id not in self._devices:
            return
        if len(self._queue) >= QUEUE_MAX:
            self._dropped += 1
        else:
            self._queue.append(message)
        self._changed.set()

    async def next(self, within_s: float) -> D2cMessage | None:
        """Wait for a message; None when there was none for so long."""
        try:
            async with asyncio.timeout(within_s):
                while not self._queue:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return None
        return self._queue.popleft()

    def dropped(self) -> int:
        """How many were dropped since this was asked last."""
        count, self._dropped = self._dropped, 0
        return count


class D2cFeed:
    """Subscribes on the bus while somebody watches, and not otherwise."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._watchers: dict[Watcher, None] = {}
        self._undo: Undo | None = None
        self._subscribing = asyncio.Lock()

    @property
    def full(self) -> bool:
        """`WATCHERS_MAX` watch."""
        return len(self._watchers) >= WATCHERS_MAX

    @asynccontextmanager
    async def watch(self, devices: frozenset[str]) -> AsyncIterator[Watcher]:
        """Watch these devices from now on, all if there are none. BusError. Not to be called while `full`."""
        watcher = Watcher(devices)
        self._watchers[watcher] = None
        try:
            await self._subscribe(self._heard)
            yield watcher
        finally:
            del self._watchers[watcher]
            if not self._watchers and self._undo is not None:
                self._undo()
                self._undo = None

    async def _subscribe(self, heard: Callable[[Delivery], None]) -> None:
        async with self._subscribing:
            if self._undo is None:
                self._undo = await self._bus.subscribe(filter_of(Kind.D2C), heard)

    def _heard(self, delivery: Delivery) -> None:
        route = parse_topic(delivery.topic)
        if route is not None:
            message = D2cMessage(route.device_id, delivery.properties, delivery.payload)
            for watcher in tuple(self._watchers):
                watcher.offer(message)

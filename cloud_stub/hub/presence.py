"""Who is connected where, as the bus tells it: for one hub whose endpoint may be several processes.

A device's sessions are numbered over all processes (`cloud_stub.state.mqtt_sessions`), and every message of the
connection topic says which session it is about. So news that come in the wrong order, as they do from several
publishers, are known as old, and a process that still has an older session of a device knows that it was taken over.
"""

import asyncio
import json
from collections import deque
from dataclasses import dataclass

from cloud_stub.bus.api import WORKER, Bus, Delivery, Kind, filter_of, parse_topic
from cloud_stub.hub.notices import SESSION, Notices
from cloud_stub.state.c2d_queues import C2dQueues
from cloud_stub.state.errors import HubError
from cloud_stub.state.mqtt_sessions import MqttSessions
from emulator.faults import Undo

DEVICES_MAX = 200_000
DEAD_MAX = 64
"""Labels of dead workers that are remembered, for their last words."""
ORPHANS_PER_TURN = 50
WORKER_LOST = "worker_lost"
"""Why a device is disconnected whose endpoint process has died."""


@dataclass(frozen=True, slots=True)
class News:
    """A device is connected, or not any more. `session` is 0, and `worker` empty, where the message does not say."""

    device_id: str
    connected: bool
    session: int = 0
    worker: str = ""


def news_of(delivery: Delivery) -> News | None:
    """What a message of the connection topic says; None for anything else."""
    route = parse_topic(delivery.topic)
    connected = connection_state(delivery.payload)
    if route is None or route.kind is not Kind.CONNECTION or connected is None:
        return None
    properties = dict(delivery.properties)
    session = properties.get(SESSION, "0")
    number = int(session) if session.isascii() and session.isdecimal() else 0
    return News(route.device_id, connected, number, properties.get(WORKER, ""))


def connection_state(payload: bytes) -> bool | None:
    """Whether a message of the connection topic says connected; None for anything else."""
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    state = data.get("state") if isinstance(data, dict) else None
    return {"connected": True, "disconnected": False}.get(state) if isinstance(state, str) else None


class Sightings:
    """The newest session of each device, at most `DEVICES_MAX`, and whether it still stands."""

    def __init__(self) -> None:
        self._newest: dict[str, News] = {}

    def heard(self, delivery: Delivery) -> News | None:
        """The news in a message; None when it is about a session older than the newest, or no news at all."""
        news = news_of(delivery)
        if news is None:
            return None
        known = self._newest.get(news.device_id)
        if known is not None and news.session and news.session < known.session:
            return None
        if known is None and len(self._newest) >= DEVICES_MAX:
            del self._newest[next(iter(self._newest))]
        self._newest[news.device_id] = news
        return news

    def connected(self, device_id: str) -> bool:
        """Whether its newest session stands."""
        known = self._newest.get(device_id)
        return known is not None and known.connected

    def at(self, worker: str) -> list[News]:
        """The devices that are connected to one worker."""
        return [news for news in self._newest.values() if news.connected and news.worker == worker]


class Presence:
    """Does for workers that have died what they cannot do themselves: end the sessions of their devices."""

    def __init__(self, bus: Bus, sessions: MqttSessions, queues: C2dQueues) -> None:
        self._bus = bus
        self._sessions = sessions
        self._queues = queues
        self._sightings = Sightings()
        self._dead: dict[str, None] = {}
        self._orphans: deque[News] = deque()
        self._undo: Undo | None = None
        self.failures = 0
        """Ends of sessions that the hub's state did not take."""

    async def start(self) -> None:
        """Listen on the bus. Before the first worker starts."""
        self._undo = await self._bus.subscribe(filter_of(Kind.CONNECTION), self._heard)

    def stop(self) -> None:
        """Listen no more."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def worker_lost(self, worker: str) -> None:
        """The process with this label is dead."""
        self._dead[worker] = None
        while len(self._dead) > DEAD_MAX:
            del self._dead[next(iter(self._dead))]
        self._orphans.extend(self._sightings.at(worker))
        self._disconnect_some()

    def _disconnect_some(self) -> None:
        """A few in each turn of the loop: a worker may have had thousands."""
        for _ in range(min(len(self._orphans), ORPHANS_PER_TURN)):
            self._disconnect(self._orphans.popleft())
        if self._orphans:
            asyncio.get_running_loop().call_soon(self._disconnect_some)

    def _heard(self, delivery: Delivery) -> None:
        news = self._sightings.heard(delivery)
        if news is not None and news.connected and news.worker in self._dead:
            self._disconnect(news)  # it was said by one who is dead now

    def _disconnect(self, news: News) -> None:
        try:
            self._sessions.end(news.device_id, news.session)
            self._queues.release(news.device_id)
        except HubError:
            self.failures += 1
        notices = Notices(self._bus, news.worker)
        notices.disconnected(news.device_id, news.session, WORKER_LOST)
        notices.c2d_ready(news.device_id)  # it may be connected to another worker already

"""What anybody may ask of the hub over the bus: to change desired properties and to send C2D messages.

Exactly one process of a hub takes them in.
"""

from cloud_stub.bus.api import VERSION, Bus, Delivery, Kind, filter_of, parse_topic
from cloud_stub.hub.c2d_clock import C2dClock
from cloud_stub.hub.memory import HubMemory
from cloud_stub.hub.notices import Notices
from cloud_stub.state.c2d import parse_message
from cloud_stub.state.errors import HubError
from cloud_stub.state.twin import parse_patch
from emulator.clock import Utc
from emulator.faults import Undo


class Intake:
    """Puts into the hub's memory what the bus asks for, and tells the endpoints of it."""

    def __init__(self, bus: Bus, memory: HubMemory, utc: Utc) -> None:
        self._bus = bus
        self._memory = memory
        self._notices = Notices(bus)
        self._clock = C2dClock(memory.queues, utc, self._notices.c2d_ready)
        self._undo: list[Undo] = []
        self.refused = 0
        """Requests that break a rule or are for unknown devices."""

    async def start(self) -> None:
        """Listen on the bus, and look after messages that were queued before."""
        self._undo = [
            await self._bus.subscribe(filter_of(Kind.DESIRED), self._desire),
            await self._bus.subscribe(filter_of(Kind.DEVICEBOUND), self._send),
            await self._bus.subscribe(filter_of(Kind.C2D_READY), self._queued),
        ]
        self._clock.set()

    def stop(self) -> None:
        """Listen no more."""
        self._clock.stop()
        for undo in self._undo:
            undo()
        self._undo = []

    def _desire(self, delivery: Delivery) -> None:
        route = parse_topic(delivery.topic)
        if route is None or VERSION in dict(delivery.properties):
            return
        try:
            twin, pushed = self._memory.twins.desire(route.device_id, parse_patch(delivery.payload))
        except HubError:
            self.refused += 1
            return
        self._notices.desired(route.device_id, twin.desired.version, pushed)

    def _send(self, delivery: Delivery) -> None:
        route = parse_topic(delivery.topic)
        if route is None:
            return
        try:
            message = parse_message(delivery.properties, delivery.payload)
            queued = self._memory.queues.send(route.device_id, message)
        except HubError:
            self.refused += 1
            return
        if queued:
            self._notices.c2d_ready(route.device_id)

    def _queued(self, delivery: Delivery) -> None:
        self._clock.set()

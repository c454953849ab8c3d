"""What the bus sends down to the devices of one endpoint: calls, changes, messages, and what ends their connections."""

from collections.abc import Callable, Mapping

from cloud_stub.bus.api import VERSION, Bus, Delivery, Kind, filter_of, parse_topic
from cloud_stub.hub.faults_down import DesiredLost, DesiredOutOfOrder, DesiredTwice, MethodTwice
from cloud_stub.hub.notices import METHOD_BYTES_MAX, Notices
from cloud_stub.hub.presence import news_of
from cloud_stub.hub.rules import CloseReason
from cloud_stub.hub.session import Session
from cloud_stub.state.errors import ErrorCode
from emulator.errors import WireError
from emulator.faults import FaultSet, Undo

HELD_MAX = 1_000
"""Changes that the fault `DesiredOutOfOrder` holds back; the oldest is lost when there are more."""

OnDevice = Callable[[str], None]


class Downlink:
    """Passes messages of the bus to the devices that are `online` here; others are some other worker's, or offline.

    `ready` is called with a device whose queue has a C2D message, `changed` with one that has changed in the registry.
    """

    def __init__(
        self,
        bus: Bus,
        notices: Notices,
        online: Mapping[str, Session],
        faults: FaultSet,
        *,
        ready: OnDevice,
        changed: OnDevice,
        several: bool,
    ) -> None:
        """`several`: the hub has endpoints in other processes, which may take devices over."""
        self._bus = bus
        self._notices = notices
        self._online = online
        self._faults = faults
        self._ready, self._changed = ready, changed
        self._several = several
        self._undo: list[Undo] = []
        self._held: dict[str, tuple[int, bytes]] = {}

    async def start(self) -> None:
        """Subscribe on the bus."""
        wanted = {
            Kind.METHOD: self._call,
            Kind.DESIRED: self._desired,
            Kind.C2D_READY: self._c2d_ready,
            Kind.IDENTITY: self._identity,
        }
        if self._several:
            wanted[Kind.CONNECTION] = self._connection
        self._undo = [await self._bus.subscribe(filter_of(kind), deliver) for kind, deliver in wanted.items()]

    def stop(self) -> None:
        """Take nothing more from the bus."""
        for undo in self._undo:
            undo()
        self._undo = []
        self._held.clear()

    def _call(self, delivery: Delivery) -> None:
        route = parse_topic(delivery.topic)
        session = self._online.get(route.device_id) if route else None
        if route is None or session is None:
            return  # if nobody has the device, the caller knows it from the connection topic
        name, rid = route.rest
        if len(delivery.payload) > METHOD_BYTES_MAX:
            self._notices.method_failed(route.device_id, rid, ErrorCode.TOO_LARGE)
            return
        copies = 2 if self._faults.strikes(MethodTwice, route.device_id) else 1
        try:
            if not session.call(name, rid, delivery.payload, copies=copies):
                self._notices.method_failed(route.device_id, rid, ErrorCode.NOT_ONLINE)
        except WireError:
            self._notices.method_failed(route.device_id, rid, ErrorCode.BAD_ARGUMENT)

    def _desired(self, delivery: Delivery) -> None:
        version = dict(delivery.properties).get(VERSION, "")
        route = parse_topic(delivery.topic)
        session = self._online.get(route.device_id) if route else None
        if session is not None and version.isascii() and version.isdecimal():
            for number, patch in self._pushes(session.device_id, int(version), delivery.payload):
                session.push_desired(number, patch)

    def _pushes(self, device_id: str, version: int, patch: bytes) -> list[tuple[int, bytes]]:
        """What is pushed now for one change, after what the faults make of it."""
        if self._faults.strikes(DesiredLost, device_id):
            return []
        push = (version, patch)
        if device_id in self._held:
            return [push, self._held.pop(device_id)]
        if self._faults.strikes(DesiredOutOfOrder, device_id):
            if len(self._held) >= HELD_MAX:
                del self._held[next(iter(self._held))]
            self._held[device_id] = push
            return []
        return [push] * (2 if self._faults.strikes(DesiredTwice, device_id) else 1)

    def _c2d_ready(self, delivery: Delivery) -> None:
        self._tell(delivery, self._ready)

    def _identity(self, delivery: Delivery) -> None:
        self._tell(delivery, self._changed)

    def _tell(self, delivery: Delivery, told: OnDevice) -> None:
        route = parse_topic(delivery.topic)
        if route is not None and route.device_id in self._online:
            told(route.device_id)

    def _connection(self, delivery: Delivery) -> None:
        """A device that is connected elsewhere with a newer session is not ours any more."""
        route = parse_topic(delivery.topic)
        session = self._online.get(route.device_id) if route else None
        if session is None:
            return
        news = news_of(delivery)
        if news is not None and news.connected and news.session > session.login.number:
            session.end(CloseReason.TAKEOVER, "by a connection to another worker")

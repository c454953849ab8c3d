"""What the bus sends down to devices: method calls and changes of desired properties; and what the hub itself tells."""

import asyncio
import json
from collections.abc import Mapping

from cloud_stub.bus import ERROR, Bus, Delivery, Kind, filter_of, parse_topic, topic_of
from cloud_stub.properties import Properties
from cloud_stub.registry import Registry
from cloud_stub.session import Session
from cloud_stub.store import Store
from cloud_stub.twin import TwinError, desire
from emulator.errors import WireError
from emulator.faults import Undo

METHOD_BYTES_MAX = 131_072  # iothub-mqtt.md section 1.7
NOT_ONLINE, BAD_ARGUMENT, TOO_LARGE = 404_103, 400_004, 413_001


class Downlink:
    """Passes messages of the bus to the devices that are `online` here; others are some other worker's, or offline."""

    def __init__(self, bus: Bus, registry: Registry, store: Store, online: Mapping[str, Session]) -> None:
        self._bus = bus
        self._registry = registry
        self._store = store
        self._online = online
        self._undo: list[Undo] = []
        self.refused = 0
        """Desired patches that break a rule."""
        self.lost = 0
        """Messages of the hub itself that the bus did not take."""

    async def start(self) -> None:
        """Subscribe on the bus."""
        self._undo = [
            await self._bus.subscribe(filter_of(Kind.METHOD), self._call),
            await self._bus.subscribe(filter_of(Kind.DESIRED), self._desire),
        ]

    def stop(self) -> None:
        """Take nothing more from the bus."""
        for undo in self._undo:
            undo()
        self._undo = []

    def announce(self, device_id: str, state: str, reason: str = "") -> None:
        """Say that a device is connected or disconnected."""
        self._tell(topic_of(device_id, Kind.CONNECTION), json.dumps({"state": state, "reason": reason}).encode())

    def method_answered(self, device_id: str, rid: str, status: int | None, payload: bytes) -> None:
        """Pass on a device's answer; status None: it was not an integer, which the caller gets as an error."""
        if status is None:
            self._fail(device_id, rid, BAD_ARGUMENT)
        else:
            self._tell(topic_of(device_id, Kind.METHOD_RESPONSE, str(status), rid), payload)

    def _call(self, delivery: Delivery) -> None:
        route = parse_topic(delivery.topic)
        session = self._online.get(route.device_id) if route else None
        if route is None or session is None:
            return  # if nobody has the device, the caller knows it from the connection topic
        name, rid = route.rest
        if len(delivery.payload) > METHOD_BYTES_MAX:
            self._fail(route.device_id, rid, TOO_LARGE)
            return
        try:
            if not session.call(name, rid, delivery.payload):
                self._fail(route.device_id, rid, NOT_ONLINE)
        except WireError:
            self._fail(route.device_id, rid, BAD_ARGUMENT)

    def _desire(self, delivery: Delivery) -> None:
        route = parse_topic(delivery.topic)
        if route is None or self._registry.get(route.device_id) is None:
            return
        state = self._store.device(route.device_id)
        try:
            state.twin, patch = desire(state.twin, delivery.payload)
        except TwinError:
            self.refused += 1
            return
        session = self._online.get(route.device_id)
        if session is not None:
            session.push_desired(state.twin.desired_version, patch)

    def _fail(self, device_id: str, rid: str, code: int) -> None:
        status = str(code // 1000)
        self._tell(topic_of(device_id, Kind.METHOD_RESPONSE, status, rid), b"", ((ERROR, str(code)),))

    def _tell(self, topic: str, payload: bytes, properties: Properties = ()) -> None:
        self._bus.publish(topic, payload, properties).add_done_callback(self._told)

    def _told(self, done: "asyncio.Future[None]") -> None:
        if done.exception() is not None:
            self.lost += 1

"""What the hub itself says on the bus: who is connected, what waits for a device, and how direct methods ended."""

import asyncio
import json
from functools import lru_cache

from cloud_stub.bus.api import ERROR, VERSION, WORKER, Bus, Kind, topic_of
from cloud_stub.bus.properties import Properties
from cloud_stub.state.errors import ErrorCode

METHOD_BYTES_MAX = 131_072  # each way: iothub-mqtt.md section 1.7
SESSION = "hub-session"
"""Property of a connection notice: the number of the session that has begun or ended."""


class Notices:
    """Sends them and forgets them: who is told must ask again if the bus was away.

    `worker` is the label of this process where a hub has several with an endpoint.
    """

    def __init__(self, bus: Bus, worker: str = "") -> None:
        self._bus = bus
        self._worker: Properties = ((WORKER, worker),) if worker else ()
        self.lost = 0
        """Notices that the bus did not take."""

    def connected(self, device_id: str, number: int) -> None:
        """A device has logged in."""
        self._connection(device_id, number, "connected", "")

    def disconnected(self, device_id: str, number: int, reason: str) -> None:
        """A device's connection is over."""
        self._connection(device_id, number, "disconnected", reason)

    def desired(self, device_id: str, version: int, pushed: bytes) -> None:
        """The hub has taken a change of desired properties: it goes on to the device."""
        self._say(topic_of(device_id, Kind.DESIRED), pushed, ((VERSION, str(version)),))

    def c2d_ready(self, device_id: str) -> None:
        """The device's queue has a message for it."""
        self._say(topic_of(device_id, Kind.C2D_READY), b"")

    def method_answered(self, device_id: str, rid: str, status: int | None, payload: bytes) -> None:
        """A device's answer; status None: it was not an integer, which the caller gets as an error."""
        if status is None:
            self.method_failed(device_id, rid, ErrorCode.BAD_ARGUMENT)
        elif len(payload) > METHOD_BYTES_MAX:
            self.method_failed(device_id, rid, ErrorCode.TOO_LARGE)
        else:
            self._say(topic_of(device_id, Kind.METHOD_RESPONSE, str(status), rid), payload)

    def method_failed(self, device_id: str, rid: str, code: ErrorCode) -> None:
        """A call that ends without an answer by the device."""
        topic = topic_of(device_id, Kind.METHOD_RESPONSE, str(code.status), rid)
        self._say(topic, b"", ((ERROR, str(code.value)),))

    def _connection(self, device_id: str, number: int, state: str, reason: str) -> None:
        self._say(topic_of(device_id, Kind.CONNECTION), _news(state, reason), ((SESSION, str(number)), *self._worker))

    def _say(self, topic: str, payload: bytes, properties: Properties = ()) -> None:
        self._bus.publish(topic, payload, properties).add_done_callback(self._said)

    def _said(self, done: "asyncio.Future[None]") -> None:
        if done.exception() is not None:
            self.lost += 1


@lru_cache(maxsize=64)
def _news(state: str, reason: str) -> bytes:
    return json.dumps({"state": state, "reason": reason}).encode()

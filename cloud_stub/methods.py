"""Direct methods as a caller in the cloud sees them: a call over the bus that ends in a result or a typed error."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from cloud_stub.bus import ERROR, Bus, Delivery, Kind, filter_of, parse_topic, topic_of
from emulator.errors import EmulatorError
from emulator.faults import Undo

TIMEOUT_S = 30.0
IN_FLIGHT_MAX = 32
"""Calls to one device that wait for an answer (the hub's own number is not known)."""


class MethodFault(IntEnum):
    """Why a call had no result: the hub's error codes (iothub-mqtt.md sections 2.5 and 2.8)."""

    BAD_ARGUMENT = 400_004
    TOO_MANY = 403_800
    NOT_ONLINE = 404_103
    DISCONNECTED = 404_104
    TOO_LARGE = 413_001
    TIMED_OUT = 504_101


class MethodError(EmulatorError):
    """A direct method without a result."""

    def __init__(self, fault: MethodFault, device_id: str) -> None:
        super().__init__(f"{fault.value} {fault.name.lower()}: device {device_id}")
        self.fault = fault


@dataclass(frozen=True, slots=True)
class MethodResult:
    """What the device answered. `payload` is None for an empty body, text for one that is not JSON."""

    status: int
    payload: Any


Invoke = Callable[[str, str, Any, float], Awaitable[MethodResult]]
"""`Methods.invoke`, as its users take it: device id, method name, payload, timeout in seconds."""


@dataclass(frozen=True, slots=True)
class _Call:
    device_id: str
    answer: "asyncio.Future[MethodResult]"


class Methods:
    """Calls direct methods and knows from the bus which devices are connected. Never queues: offline is an error.

    `caller` must differ between processes on one bus; it is part of the request ids.
    """

    def __init__(self, bus: Bus, *, caller: str = "cloud") -> None:
        self._bus = bus
        self._caller = caller
        self._numbers = itertools.count(1)
        self._calls: dict[str, _Call] = {}
        self._in_flight: Counter[str] = Counter()
        self._online: set[str] = set()
        self._undo: list[Undo] = []

    async def start(self) -> None:
        """Subscribe on the bus. Before the endpoint starts, or connected devices pass for offline."""
        self._undo = [
            await self._bus.subscribe(filter_of(Kind.CONNECTION), self._connection),
            await self._bus.subscribe(filter_of(Kind.METHOD_RESPONSE), self._answered),
        ]

    def stop(self) -> None:
        """Unsubscribe; calls in flight time out."""
        for undo in self._undo:
            undo()
        self._undo = []

    def online(self, device_id: str) -> bool:
        """Whether the device is connected, as far as the bus has said."""
        return device_id in self._online

    async def invoke(
        self, device_id: str, name: str, payload: Any = None, timeout_s: float = TIMEOUT_S
    ) -> MethodResult:
        """Call a method and wait for the answer. MethodError; BusError when the bus is gone. `payload` is JSON-able."""
        if device_id not in self._online:
            raise MethodError(MethodFault.NOT_ONLINE, device_id)
        if self._in_flight[device_id] >= IN_FLIGHT_MAX:
            raise MethodError(MethodFault.TOO_MANY, device_id)
        rid = f"{self._caller}-{next(self._numbers):x}"
        call = _Call(device_id, asyncio.get_running_loop().create_future())
        self._calls[rid] = call
        self._in_flight[device_id] += 1
        try:
            return await self._exchange(call, topic_of(device_id, Kind.METHOD, name, rid), payload, timeout_s)
        finally:
            del self._calls[rid]
            self._in_flight[device_id] -= 1
            if not self._in_flight[device_id]:
                del self._in_flight[device_id]

    async def _exchange(self, call: _Call, topic: str, payload: Any, timeout_s: float) -> MethodResult:
        try:
            async with asyncio.timeout(timeout_s):
                await self._bus.publish(topic, json.dumps(payload).encode())
                return await call.answer
        except TimeoutError:
            raise MethodError(MethodFault.TIMED_OUT, call.device_id) from None

    def _answered(self, delivery: Delivery) -> None:
        route = parse_topic(delivery.topic)
        if route is None:
            return
        status, rid = route.rest
        call = self._calls.get(rid)
        if call is None or call.device_id != route.device_id or call.answer.done():
            return  # another caller's, late, or a second answer
        error = dict(delivery.properties).get(ERROR)
        try:
            if error is not None:
                call.answer.set_exception(MethodError(MethodFault(int(error)), call.device_id))
            else:
                call.answer.set_result(MethodResult(int(status), _payload(delivery.payload)))
        except ValueError:
            return  # not ours: anybody may publish on the bus

    def _connection(self, delivery: Delivery) -> None:
        route = parse_topic(delivery.topic)
        state = connection_state(delivery.payload)
        if route is None or state is None:
            return
        if state:
            self._online.add(route.device_id)
            return
        self._online.discard(route.device_id)
        for call in self._calls.values():
            if call.device_id == route.device_id and not call.answer.done():
                call.answer.set_exception(MethodError(MethodFault.DISCONNECTED, call.device_id))


def connection_state(payload: bytes) -> bool | None:
    """Whether a message of the connection topic says connected; None for anything else."""
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    state = data.get("state") if isinstance(data, dict) else None
    return {"connected": True, "disconnected": False}.get(state) if isinstance(state, str) else None


def _payload(body: bytes) -> Any:
    """The Go firmware's LocalSettings answer is not strictly JSON (zaptec.md section 8.3); callers get its text."""
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")

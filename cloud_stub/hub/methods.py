"""Direct methods as a caller in the cloud sees them: a call over the bus that ends in a result or a typed error."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cloud_stub.bus.api import ERROR, Bus, Delivery, Kind, filter_of, parse_topic, topic_of
from cloud_stub.hub.notices import METHOD_BYTES_MAX
from cloud_stub.hub.presence import Sightings
from cloud_stub.state.errors import BodyShape, ErrorCode, HubError
from emulator.faults import Undo

TIMEOUT_S = 30.0
IN_FLIGHT_MAX = 32
"""Calls to one device that wait for it or its answer (the hub's own number is not known)."""
SUBSCRIBED_POLL_S = 0.5
"""How often a device that is connected, but takes no methods yet, is asked again within the connect time-out."""

_TEXTS = {
    ErrorCode.BAD_ARGUMENT: "The name, or the status of the device's answer, cannot be.",
    ErrorCode.TOO_MANY_METHODS: "Too many calls to this device wait for an answer.",
    ErrorCode.NOT_FOUND: "There is no such device.",
    ErrorCode.NOT_ONLINE: "Timed out waiting for device to connect.",
    ErrorCode.CONNECTION_CLOSED: "The device's connection ended before it answered.",
    ErrorCode.TOO_LARGE: f"A payload may have {METHOD_BYTES_MAX} bytes.",
    ErrorCode.TIMED_OUT: "Timed out waiting for the response from device.",
}


class MethodError(HubError):
    """A direct method without a result. `code` is one of section 2.5; the body always has the new shape."""

    def __init__(self, code: ErrorCode, device_id: str, *, timeout_s: float | None = None) -> None:
        info = {} if timeout_s is None else {"timeout": duration(timeout_s)}
        super().__init__(code, _TEXTS.get(code, "The call failed."), info)
        self.device_id = device_id

    def __str__(self) -> str:
        return f"{super().__str__()} (device {self.device_id})"

    @property
    def shape(self) -> BodyShape:
        """What Node, for one, takes a method's 404 by (section 2.7)."""
        return BodyShape.NEW


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

    `caller` must differ between processes on one bus; it is part of the request ids. `connected` knows which devices
    are connected, for a process that may have come later than they.
    """

    def __init__(self, bus: Bus, *, caller: str = "cloud", connected: Callable[[str], bool] | None = None) -> None:
        self._bus = bus
        self._caller = caller
        self._numbers = itertools.count(1)
        self._calls: dict[str, _Call] = {}
        self._in_flight: Counter[str] = Counter()
        self._sightings = Sightings()
        self._known = connected or self._sightings.connected
        self._arrivals: dict[str, set[asyncio.Future[None]]] = {}
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
        return self._known(device_id)

    async def invoke(
        self,
        device_id: str,
        name: str,
        payload: Any = None,
        timeout_s: float = TIMEOUT_S,
        connect_timeout_s: float = 0.0,
    ) -> MethodResult:
        """Call a method and wait for the answer. MethodError; BusError when the bus is gone. `payload` is JSON-able.

        The device has `connect_timeout_s` to be connected and subscribed to methods, then `timeout_s` to answer.
        """
        body = _body(payload)
        if len(body) > METHOD_BYTES_MAX:
            raise MethodError(ErrorCode.TOO_LARGE, device_id)
        deadline = asyncio.get_running_loop().time() + connect_timeout_s
        with self._counted(device_id):
            while await self._connected(device_id, deadline):
                try:
                    return await self._exchange(device_id, name, body, timeout_s)
                except MethodError as error:
                    if error.code is not ErrorCode.NOT_ONLINE:
                        raise
                if not await _pause(deadline):
                    break
        raise MethodError(ErrorCode.NOT_ONLINE, device_id, timeout_s=connect_timeout_s)

    async def _connected(self, device_id: str, deadline: float) -> bool:
        """Wait for the device, if there is time."""
        loop = asyncio.get_running_loop()
        if self.online(device_id) or loop.time() >= deadline:
            return self.online(device_id)
        arrival: asyncio.Future[None] = loop.create_future()
        waiting = self._arrivals.setdefault(device_id, set())
        waiting.add(arrival)
        try:
            await asyncio.wait([arrival], timeout=deadline - loop.time())
        finally:
            waiting.discard(arrival)
            if not waiting:
                self._arrivals.pop(device_id, None)
        return self.online(device_id)

    async def _exchange(self, device_id: str, name: str, body: bytes, timeout_s: float) -> MethodResult:
        rid = f"{self._caller}-{next(self._numbers):x}"
        call = self._calls[rid] = _Call(device_id, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(timeout_s):
                await self._bus.publish(topic_of(device_id, Kind.METHOD, name, rid), body)
                return await call.answer
        except TimeoutError:
            raise MethodError(ErrorCode.TIMED_OUT, device_id, timeout_s=timeout_s) from None
        finally:
            del self._calls[rid]

    @contextmanager
    def _counted(self, device_id: str) -> Iterator[None]:
        if self._in_flight[device_id] >= IN_FLIGHT_MAX:
            raise MethodError(ErrorCode.TOO_MANY_METHODS, device_id)
        self._in_flight[device_id] += 1
        try:
            yield
        finally:
            self._in_flight[device_id] -= 1
            if not self._in_flight[device_id]:
                del self._in_flight[device_id]

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
                call.answer.set_exception(MethodError(ErrorCode(int(error)), call.device_id))
            else:
                call.answer.set_result(MethodResult(int(status), _payload(delivery.payload)))
        except ValueError:
            return  # not ours: anybody may publish on the bus

    def _connection(self, delivery: Delivery) -> None:
        news = self._sightings.heard(delivery)
        if news is None:
            return
        if news.connected:
            for arrival in self._arrivals.get(news.device_id, ()):
                if not arrival.done():
                    arrival.set_result(None)
            return
        for call in self._calls.values():
            if call.device_id == news.device_id and not call.answer.done():
                call.answer.set_exception(MethodError(ErrorCode.CONNECTION_CLOSED, call.device_id))


def duration(seconds: float) -> str:
    """``00:00:30``, with a fraction of seven digits where there is one."""
    ticks = round(seconds * 10_000_000)
    whole, fraction = divmod(ticks, 10_000_000)
    text = f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{text}.{fraction:07}" if fraction else text


async def _pause(deadline: float) -> bool:
    """Wait a moment, and say whether there is time for another try."""
    left_s = deadline - asyncio.get_running_loop().time()
    if left_s <= 0:
        return False
    await asyncio.sleep(min(SUBSCRIBED_POLL_S, left_s))
    return True


def _body(payload: Any) -> bytes:
    """JSON in UTF-8, or in ASCII where a text has what UTF-8 has not."""
    try:
        return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(payload, separators=(",", ":")).encode()


def _payload(body: bytes) -> Any:
    """The Go firmware's LocalSettings answer is not strictly JSON (zaptec.md section 8.3); callers get its text."""
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")

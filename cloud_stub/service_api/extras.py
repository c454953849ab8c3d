"""Routes of our own below ``/stub``, NO PART OF IOT HUB: there, both are AMQP (iothub-mqtt.md section 2.2).

``POST /stub/devices/{id}/messages/devicebound`` queues a C2D message. Body, all but one of the two bodies optional::

    {"body": text or any JSON, "bodyBase64": "...", "messageId": "...", "properties": {"name": "value" or null},
     "ack": "none" | "positive" | "negative" | "full", "ttlSeconds": 60 to 172800}

A body that is not a text is sent as JSON. Reply 200 ``{"deviceId", "messageId", "queued"}``; `queued` false: the device
has never been connected, so the message is dropped, as the hub drops it.

``GET /stub/messages/events[?deviceId=...&deviceId=...]`` streams D2C messages as server-sent events from now on: event
``message`` with ``{"deviceId", "properties", "body" or "bodyBase64"}``, event ``dropped`` with ``{"count"}`` for a
client that reads too slowly, and a comment every `KEEP_ALIVE_S` of silence.
"""

import base64
import binascii
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cloud_stub.bus.api import Kind, topic_of
from cloud_stub.hub.policies import Permission
from cloud_stub.hub.throttle import Operation
from cloud_stub.service_api.d2c_feed import WATCHERS_MAX, D2cFeed, D2cMessage, Watcher
from cloud_stub.service_api.desk import Desk
from cloud_stub.service_api.request import Row, bad, object_of, part_of, reply, text_of, whole_of
from cloud_stub.service_api.wire import json_bytes
from cloud_stub.state.c2d import MESSAGE_BYTES_MAX, TTL_S_MAX, TTL_S_MIN, Ack, C2dMessage
from cloud_stub.state.errors import ErrorCode, HubError
from emulator.clock import Utc

KEEP_ALIVE_S = 15.0
DEVICES_MAX = 100
PROPERTIES_MAX = 256


@dataclass(frozen=True, slots=True)
class ExtraRoutes:
    """``/stub``."""

    desk: Desk
    feed: D2cFeed
    new_id: Callable[[], str]
    utc: Utc

    def rows(self) -> tuple[Row, ...]:
        """The routes."""
        needs = Permission.SERVICE_CONNECT
        return (
            Row("POST", "/stub/devices/{id}/messages/devicebound", needs, self._send, Operation.C2D),
            Row("GET", "/stub/messages/events", needs, self._watch),
        )

    async def _send(self, request: Request) -> Response:
        device_id = request.path_params["id"]
        message = self._message(await object_of(request))
        queued = self.desk.memory.queues.send(device_id, message)
        if queued:
            await self.desk.bus.publish(topic_of(device_id, Kind.C2D_READY), b"")
        return reply({"deviceId": device_id, "messageId": message.message_id, "queued": queued})

    def _message(self, data: dict[str, Any]) -> C2dMessage:
        ack = text_of(data, "ack", default=Ack.NONE.value)
        if ack not in tuple(Ack):
            raise bad(f"ack must be one of {', '.join(Ack)}.")
        ttl = data.get("ttlSeconds")
        ttl_s = None if ttl is None else whole_of(ttl, "ttlSeconds", int(TTL_S_MIN), int(TTL_S_MAX))
        return C2dMessage(
            _body(data),
            text_of(data, "messageId", default=self.new_id()),
            _properties(data),
            Ack(ack),
            None if ttl_s is None else self.utc().timestamp() + ttl_s,
        )

    async def _watch(self, request: Request) -> Response:
        devices = frozenset(request.query_params.getlist("deviceId"))
        if len(devices) > DEVICES_MAX:
            raise bad(f"At most {DEVICES_MAX} devices can be watched by name.")
        if self.feed.full:
            raise HubError(ErrorCode.THROTTLED, f"{WATCHERS_MAX} clients watch already.")
        return _EventStream(self.feed, devices)


class _EventStream(StreamingResponse):
    """Server-sent events for as long as the client stays."""

    def __init__(self, feed: D2cFeed, devices: frozenset[str]) -> None:
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        super().__init__((), headers=headers)
        self._feed = feed
        self._devices = devices

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._feed.watch(self._devices) as watcher:
            self.body_iterator = _events(watcher)
            await super().__call__(scope, receive, send)


async def _events(watcher: Watcher) -> AsyncIterator[bytes]:
    yield b": watching\n\n"
    while True:
        message = await watcher.next(KEEP_ALIVE_S)
        if dropped := watcher.dropped():
            yield _event("dropped", {"count": dropped})
        yield _event("message", _shown(message)) if message else b": still here\n\n"


def _body(data: dict[str, Any]) -> bytes:
    encoded = data.get("bodyBase64")
    if encoded is None:
        body = data.get("body", "")
        return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else json_bytes(body)
    if "body" in data:
        raise bad("Give either body or bodyBase64.")
    try:
        return base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise bad(f"bodyBase64 must be base64 of at most {MESSAGE_BYTES_MAX} bytes.") from None


def _properties(data: dict[str, Any]) -> tuple[tuple[str, str | None], ...]:
    given = part_of(data, "properties") or {}
    if len(given) > PROPERTIES_MAX or not all(isinstance(value, str | None) for value in given.values()):
        raise bad(f"properties must be at most {PROPERTIES_MAX} texts or nulls.")
    return tuple(given.items())


def _shown(message: D2cMessage) -> dict[str, Any]:
    shown: dict[str, Any] = {"deviceId": message.device_id, "properties": dict(message.properties)}
    try:
        return {**shown, "body": message.body.decode("utf-8")}
    except UnicodeDecodeError:
        return {**shown, "bodyBase64": base64.b64encode(message.body).decode()}


def _event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json_bytes(data))

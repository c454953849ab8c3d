"""One device's connection at the hub: MQTT over one stream, driven by callbacks; no task and no timer of its own."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from cloud_stub.bus import BusError
from cloud_stub.hub import (
    BadStatus,
    Channel,
    CloseReason,
    Grant,
    HubRules,
    Violation,
    channel_of,
    grant,
    meaning_of,
)
from emulator.errors import NetError, WireError
from emulator.machines.mqtt import (
    Acked,
    ConnectAsked,
    Disconnected,
    Ended,
    MqttServer,
    PublishAsked,
    ServerEvent,
    SubscribeAsked,
    UnsubscribeAsked,
)
from emulator.net.api import Address, Stream
from emulator.wire.iothub import (
    D2C,
    MethodResponse,
    TwinGet,
    TwinPatch,
    desired_topic,
    method_topic,
    parse_device_topic,
    twin_response_topic,
)
from emulator.wire.mqtt import Connect, MqttError, Publish, Will

READ_AHEAD_MAX = 16  # iothub-mqtt.md section 1.7
CALLS_MAX = 32
"""Direct methods that wait for the device's answer; the oldest is forgotten when there are more (invented)."""
UNSENT_BYTES_MAX = 1 << 20
"""What may wait for a device that does not read; method calls, twin replies and pushes beyond it are lost."""

_ABORTED = frozenset({CloseReason.TAKEOVER, CloseReason.KEEP_ALIVE, CloseReason.NO_CONNECT, CloseReason.SHUTDOWN})

Acknowledged = asyncio.Future[None]


class SessionOwner(Protocol):
    """What a session asks of the endpoint."""

    rules: HubRules

    @property
    def congested(self) -> bool:
        """The bus is behind: sessions should read no more while a message of theirs waits."""

    def connect_asked(self, session: "Session", connect: Connect) -> None:
        """Answer with `Session.admit` or `Session.refuse`, or not at all."""

    def message(self, device_id: str, message: D2C, publish: Publish | Will, *, will: bool = False) -> Acknowledged:
        """Take a D2C message; the result is done once it is safe."""

    def twin(self, session: "Session") -> bytes:
        """The reply to a twin GET."""

    def report(self, session: "Session", patch: bytes) -> tuple[int, int | None]:
        """Take a reported PATCH: the status and, if it is 204, the new version."""

    def method_answered(self, device_id: str, rid: str, status: int | None, payload: bytes) -> None:
        """The device answered the call with this `rid`; status None: with a status that is no integer."""

    def subscribed(self, session: "Session") -> None:
        """The channels of the session have changed."""

    def drops_puback(self, device_id: str) -> bool:
        """Whether the next PUBACK gets lost."""

    def ended(self, session: "Session", reason: CloseReason, detail: str) -> None:
        """The session is over. Called once."""


class Session:
    """From the end of the TLS handshake to the end of the connection. `device_id` is empty until it is admitted."""

    __slots__ = (
        "_calls",
        "_flush_due",
        "_last_call",
        "_loop",
        "_mqtt",
        "_owner",
        "_pending",
        "_read_paused",
        "_stream",
        "_will",
        "_write_paused",
        "channels",
        "clean",
        "device_id",
        "open",
        "token_end",
    )

    def __init__(self, owner: SessionOwner, stream: Stream, mqtt: MqttServer) -> None:
        self._owner = owner
        self._stream = stream
        self._mqtt = mqtt
        self._loop = asyncio.get_running_loop()
        self._pending: list[tuple[int, Acknowledged | None]] = []  # PUBACKs owed, in order; None: ready
        self._calls: dict[str, str] = {}  # rid towards the device -> rid on the bus
        self._last_call = 0
        self._will: Will | None = None
        self._flush_due = self._read_paused = self._write_paused = False
        self.device_id = ""
        self.channels: frozenset[Channel] = frozenset()
        self.clean = True
        self.token_end = float("inf")
        self.open = True
        stream.attach(self)

    @property
    def peer(self) -> Address:
        """Where the device connects from."""
        return self._stream.peer

    def deadline(self) -> float:
        """When `wake` must be called, in the loop's time."""
        return min(self._mqtt.deadline() or float("inf"), self.token_end)

    def wake(self, now: float) -> None:
        """End the session if it has been silent for too long or its token has run out."""
        if now >= self.token_end:
            self.end(CloseReason.SAS_EXPIRED)
        else:
            self._handle(self._mqtt.wake(now))

    def admit(self, connect: Connect, device_id: str, stored: frozenset[Channel] | None, token_end: float) -> None:
        """CONNACK 0. `stored` are the channels of a kept MQTT session, None if there is none."""
        self.device_id = device_id
        self.channels = stored or frozenset()
        self.clean = connect.clean_session
        self.token_end = token_end
        self._will = connect.will
        self._mqtt.accept(stored is not None, self._loop.time())

    def refuse(self, code: int, reason: str) -> None:
        """CONNACK with `code`, then close."""
        self._mqtt.refuse(code)
        self.end(CloseReason.REFUSED, reason)

    def call(self, name: str, bus_rid: str, payload: bytes) -> bool:
        """Send a direct method. False if the device has not subscribed to methods. HubTopicError for a bad name."""
        if Channel.METHODS not in self.channels:
            return False
        self._last_call += 1
        rid = f"{self._last_call:x}"
        topic = method_topic(name, rid)
        if len(self._calls) >= CALLS_MAX:
            del self._calls[next(iter(self._calls))]
        self._calls[rid] = bus_rid
        self._send(topic, payload)
        return True

    def push_desired(self, version: int, patch: bytes) -> None:
        """Tell the device of a change, if it has asked to be told."""
        if Channel.DESIRED in self.channels:
            self._send(desired_topic(version), patch)

    def end(self, reason: CloseReason, detail: str = "") -> None:
        """Close the connection, without a word to the device; its will is published unless it said goodbye."""
        if not self.open:
            return
        self.open = False
        self._flush()
        if reason in _ABORTED:
            self._stream.abort()
        else:
            self._stream.close()
        if self._will is not None and reason is not CloseReason.DISCONNECT:
            self._publish_will(self._will)
        self._owner.ended(self, reason, detail)

    def data_received(self, data: bytes) -> None:
        """Part of the Receiver of the stream."""
        if self.open:
            self._handle(self._mqtt.receive(data, self._loop.time()))

    def connection_lost(self, error: NetError | None) -> None:
        """Part of the Receiver of the stream."""
        self.end(CloseReason.PEER, str(error or ""))

    def pause_writing(self) -> None:
        """The device does not read: stop answering it, by not reading either."""
        self._write_paused = True
        self._regulate()

    def resume_writing(self) -> None:
        """Part of the Receiver of the stream."""
        self._write_paused = False
        self._regulate()

    def _handle(self, events: list[ServerEvent]) -> None:
        for event in events:
            if not self.open:
                return
            match event:
                case PublishAsked(publish):
                    self._take(publish)
                case ConnectAsked(connect):
                    self._owner.connect_asked(self, connect)
                case SubscribeAsked(packet_id, filters):
                    self._subscribe(packet_id, filters)
                case UnsubscribeAsked(packet_id, topics):
                    self._unsubscribe(packet_id, topics)
                case Disconnected():
                    self.end(CloseReason.DISCONNECT)
                case Ended(reason, detail):
                    self.end(CloseReason(reason.value), detail)
                case Acked():
                    pass  # of QoS 1 deliveries, which the hub does not make yet
        self._read_on()
        self._flush()

    def _read_on(self) -> None:
        """What came in one piece with CONNECT is due at once after it was admitted."""
        now = self._loop.time()
        deadline = self._mqtt.deadline()
        if self.open and deadline is not None and deadline <= now:
            self._handle(self._mqtt.wake(now))

    def _take(self, publish: Publish) -> None:
        meaning = meaning_of(publish, self.device_id)
        accepted: Acknowledged | None = None
        match meaning:
            case Violation(reason, detail):
                self.end(reason, detail)
                return
            case D2C():
                accepted = self._owner.message(self.device_id, meaning, publish)
            case TwinGet(rid):
                self._reply(twin_response_topic(200, rid), self._owner.twin(self))
            case TwinPatch(rid):
                status, version = self._owner.report(self, publish.payload)
                self._reply(twin_response_topic(status, rid, version), b"")
            case MethodResponse(status, rid):
                self._answer_call(rid, status, publish.payload)
            case BadStatus(rid):
                self._answer_call(rid, None, publish.payload)
        self._owe(publish, accepted)

    def _owe(self, publish: Publish, accepted: Acknowledged | None) -> None:
        packet_id = 0 if publish.qos and self._owner.drops_puback(self.device_id) else publish.packet_id
        self._pending.append((packet_id, accepted))
        if accepted is None:
            self._release()
        else:
            accepted.add_done_callback(self._accepted)
            self._regulate()

    def _accepted(self, accepted: Acknowledged) -> None:
        error = accepted.exception()
        if isinstance(error, BusError):
            self.end(CloseReason.BUS_LOST, str(error))
        self._release()

    def _release(self) -> None:
        pending = self._pending
        while pending and ((accepted := pending[0][1]) is None or accepted.done()):
            packet_id, _ = pending.pop(0)
            if packet_id:
                self._mqtt.ack(packet_id)
                self._flush_soon()
        self._regulate()

    def _regulate(self) -> None:
        waiting = len(self._pending)
        paused = self._write_paused or waiting >= READ_AHEAD_MAX or (waiting > 0 and self._owner.congested)
        if self.open and paused is not self._read_paused:
            self._read_paused = paused
            change: Callable[[], None] = self._stream.pause_reading if paused else self._stream.resume_reading
            change()

    def _subscribe(self, packet_id: int, filters: tuple[tuple[str, int], ...]) -> None:
        answer = grant(filters, self.device_id, self._owner.rules)
        match answer:
            case Violation(reason, detail):
                self.end(reason, detail)
            case Grant(codes, channels):
                self.channels |= channels
                self._mqtt.grant(packet_id, codes)
                self._owner.subscribed(self)

    def _unsubscribe(self, packet_id: int, topics: tuple[str, ...]) -> None:
        self.channels -= {channel for topic in topics if (channel := channel_of(topic, self.device_id))}
        self._mqtt.ack_unsubscribe(packet_id)
        self._owner.subscribed(self)

    def _reply(self, topic: str, payload: bytes) -> None:
        """A twin response; lost if the device has not subscribed to them."""
        if Channel.TWIN_RESPONSES in self.channels:
            self._send(topic, payload)

    def _answer_call(self, rid: str, status: int | None, payload: bytes) -> None:
        bus_rid = self._calls.pop(rid, None)
        if bus_rid is not None:  # unknown or late ones are ignored, of two answers the first counts
            self._owner.method_answered(self.device_id, bus_rid, status, payload)

    def _publish_will(self, will: Will) -> None:
        try:
            message = parse_device_topic(will.topic, self.device_id)
        except WireError:
            return  # a will to a foreign topic is never seen
        if isinstance(message, D2C):
            self._owner.message(self.device_id, message, will, will=True).add_done_callback(_seen)

    def _send(self, topic: str, payload: bytes) -> None:
        """QoS 0, as the hub sends everything but C2D messages: never queued for a device that does not read."""
        if self.open and self._stream.unsent_bytes <= UNSENT_BYTES_MAX:
            with contextlib.suppress(MqttError):  # a topic that the device's own rid makes too long
                self._mqtt.publish(topic, payload, qos=0, now=self._loop.time())
            self._flush_soon()

    def _flush_soon(self) -> None:
        """Everything that one turn of the loop answers leaves in one TLS record."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        data = self._mqtt.output()
        if data:
            self._stream.write(data)


def _seen(future: Acknowledged) -> None:
    future.exception()

"""One device's connection at the hub: MQTT over one stream, driven by callbacks; no task and no timer of its own."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from cloud_stub.bus.api import BusError
from cloud_stub.hub.history import Event, HubHistory
from cloud_stub.hub.outbox import Outbox
from cloud_stub.hub.outstanding import READ_AHEAD_MAX, Acknowledged, Calls, Deliveries, Owed
from cloud_stub.hub.rules import (
    NOBODY,
    BadStatus,
    Channel,
    Channels,
    CloseReason,
    Grant,
    HubRules,
    Login,
    Violation,
    channel_of,
    grant,
    meaning_of,
)
from cloud_stub.hub.uplink import TwinReply, Uplink
from cloud_stub.state.c2d import C2dDelivery
from emulator.errors import NetError
from emulator.machines.mqtt import (
    Acked,
    ConnectAsked,
    Disconnected,
    Ended,
    MqttServer,
    PingAsked,
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
    devicebound_topic,
    method_topic,
    twin_response_topic,
)
from emulator.wire.mqtt import Connect, MqttError, Publish, Will

_ABORTED = frozenset({CloseReason.TAKEOVER, CloseReason.KEEP_ALIVE, CloseReason.NO_CONNECT, CloseReason.SHUTDOWN})


class SessionOwner(Protocol):
    """What a session asks of the endpoint."""

    rules: HubRules
    uplink: Uplink
    hub_history: HubHistory

    def connect_asked(self, session: "Session", connect: Connect) -> None:
        """Answer with `Session.admit` or `Session.refuse`, or not at all."""

    def subscribed(self, session: "Session") -> None:
        """The channels of the session have changed."""

    def puback(self, session: "Session", lock: str) -> None:
        """The device has a C2D message, or it was sent with QoS 0."""

    def room(self, session: "Session") -> None:
        """More C2D messages can be sent than a moment ago."""

    def left_open(self, stream: Stream) -> None:
        """The session is over, but its connection must not end."""

    def ended(self, session: "Session", reason: CloseReason, detail: str) -> None:
        """The session is over. Called once."""


class Session:
    """From the end of the TLS handshake to the end of the connection. `device_id` is empty until it is admitted."""

    __slots__ = (
        "_behind",
        "_calls",
        "_cut",
        "_cut_at",
        "_loop",
        "_mqtt",
        "_out",
        "_owed",
        "_owner",
        "_published",
        "_read_paused",
        "_stream",
        "_write_paused",
        "certificates",
        "channels",
        "deliveries",
        "login",
        "open",
        "will",
    )

    def __init__(
        self, owner: SessionOwner, stream: Stream, mqtt: MqttServer, certificates: Sequence[bytes] = ()
    ) -> None:
        self._owner = owner
        self._stream = stream
        self._mqtt = mqtt
        self._loop = asyncio.get_running_loop()
        self._owed, self._calls = Owed(), Calls()
        self._published = 0
        self._out = Outbox(mqtt, stream)
        self._read_paused = self._write_paused = self._behind = False
        self._cut_at = float("inf")
        self._cut = (CloseReason.SAS_EXPIRED, "")
        self.certificates = certificates
        """Of the TLS connection: DER, leaf first."""
        self.login = NOBODY
        self.channels: Channels = {}
        self.deliveries = Deliveries()
        self.will: Will | None = None
        self.open = True
        stream.attach(self)

    @property
    def peer(self) -> Address:
        """Where the device connects from."""
        return self._stream.peer

    @property
    def device_id(self) -> str:
        """Whose connection it is."""
        return self.login.device_id

    @property
    def has_room(self) -> bool:
        """Whether a C2D message can be sent now; while others are on their way, each PUBACK asks again."""
        free = self.open and not self._write_paused and not self.deliveries.full
        return free and self._out.has_room(0, stuck=self.deliveries.under_way)

    def deadline(self) -> float:
        """When `wake` must be called, in the loop's time."""
        return min(self._mqtt.deadline() or float("inf"), self._cut_at)

    def wake(self, now: float) -> None:
        """End the session if it has been silent for too long or is to be cut now."""
        if now >= self._cut_at:
            self.end(*self._cut)
        else:
            self._handle(self._mqtt.wake(now))

    def cut_at(self, when: float, reason: CloseReason, detail: str = "") -> None:
        """Have the session end at this time of the loop, unless it is to end before."""
        if when < self._cut_at:
            self._cut_at, self._cut = when, (reason, detail)

    def admit(self, connect: Connect, login: Login, stored: Channels | None) -> None:
        """CONNACK 0. `stored` are the channels of a kept MQTT session, None if there is none."""
        self.login, self.will = login, connect.will
        self.channels = stored or {}
        self.certificates = ()
        self._mqtt.accept(stored is not None, self._loop.time())

    def refuse(self, code: int, reason: str) -> None:
        """CONNACK with `code`, then close."""
        self._mqtt.refuse(code)
        self.end(CloseReason.REFUSED, reason)

    def call(self, name: str, bus_rid: str, payload: bytes, *, copies: int = 1) -> bool:
        """Send a direct method. False if the device has not subscribed to methods. HubTopicError for a bad name."""
        if Channel.METHODS not in self.channels:
            return False
        topic = method_topic(name, self._calls.begin(bus_rid))
        for _ in range(copies):
            self._send("method", topic, payload)
        return True

    def push_desired(self, version: int, patch: bytes) -> None:
        """Tell the device of a change, if it has asked to be told."""
        if Channel.DESIRED in self.channels:
            self._send("desired", desired_topic(version), patch)

    def deliver(self, delivery: C2dDelivery, *, copies: int = 1) -> None:
        """Send a C2D message with the QoS of the subscription; with QoS 0 that completes it (section 1.12)."""
        message = delivery.message
        topic = devicebound_topic(self.device_id, message.message_id, message.delivered_properties)
        if self.channels.get(Channel.DEVICEBOUND):
            self._note(Event.OUT, "c2d", message.body)
            with contextlib.suppress(MqttError):  # properties too long for a topic: it stays until it is a dead letter
                self.deliveries.send(self._mqtt, delivery, topic, self._loop.time(), copies=copies)
            self._out.flush_for(len(message.body))
            return
        for _ in range(copies):
            self._send("c2d", topic, message.body)
        self._owner.puback(self, delivery.lock)

    def end(self, reason: CloseReason, detail: str = "") -> None:
        """Close the connection, without a word to the device. Its owner publishes its will."""
        if not self.open:
            return
        self.open = False
        self._out.flush()
        if reason is CloseReason.HALF_OPEN:
            self._owner.left_open(self._stream)
        elif reason in _ABORTED:
            self._stream.abort()
        else:
            self._stream.close()
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
        self._owner.room(self)

    def _handle(self, events: list[ServerEvent]) -> None:
        for event in events:
            if not self.open:
                return
            match event:
                case PublishAsked(publish):
                    self._take(publish)
                case PingAsked():
                    self._note(Event.IN, "ping")
                    self._owner.uplink.pinged(self.device_id, self._pong)
                case Acked(packet_id):
                    self._acked(packet_id)
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
        self._read_on()
        self._out.flush()

    def _read_on(self) -> None:
        """What came in one piece with CONNECT, or with many others, is due in the next turn of the loop."""
        deadline = self._mqtt.deadline()
        if not self._behind and self.open and deadline is not None and deadline <= self._loop.time():
            self._behind = True
            self._loop.call_soon(self._catch_up)
            self._regulate()

    def _catch_up(self) -> None:
        self._behind = False
        if self.open:
            self._handle(self._mqtt.wake(self._loop.time()))
            self._regulate()

    def _take(self, publish: Publish) -> None:
        meaning = meaning_of(publish, self.device_id)
        match meaning:
            case Violation(reason, detail):
                self.end(reason, detail)
                return
            case D2C():
                self._note(Event.IN, "d2c", publish.payload)
                self._take_message(meaning, publish)
                return
            case TwinGet(rid):
                self._note(Event.IN, "twin get", publish.payload)
                self._answer_twin(rid, self._owner.uplink.twin(self.login))
            case TwinPatch(rid):
                self._note(Event.IN, "twin patch", publish.payload)
                self._answer_twin(rid, self._owner.uplink.report(self.login, publish.payload))
            case MethodResponse(status, rid):
                self._note(Event.IN, f"method response {status}", publish.payload)
                self._answer_call(rid, status, publish.payload)
            case BadStatus(rid):
                self._note(Event.IN, "method response without a status", publish.payload)
                self._answer_call(rid, None, publish.payload)
        self._owe(publish.packet_id, None)

    def _take_message(self, message: D2C, publish: Publish) -> None:
        self._published += 1
        taken = self._owner.uplink.message(self.login, message, publish, self._published)
        if isinstance(taken, CloseReason):
            self.end(taken)
            return
        self._owe(0 if taken.puback_lost else publish.packet_id, taken.done)
        if taken.close is not None:
            self.end(taken.close)

    def _owe(self, packet_id: int, accepted: Acknowledged | None) -> None:
        self._owed.add(packet_id, accepted)
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
        for packet_id in self._owed.due():
            if self.open:
                self._mqtt.ack(packet_id)
                self._note(Event.OUT, "puback")
                self._out.flush_soon()
        self._regulate()

    def _regulate(self) -> None:
        waiting = len(self._owed)
        full = waiting >= READ_AHEAD_MAX or (waiting > 0 and self._owner.uplink.congested)
        paused = self._behind or self._write_paused or full
        if self.open and paused is not self._read_paused:
            self._read_paused = paused
            change: Callable[[], None] = self._stream.pause_reading if paused else self._stream.resume_reading
            change()

    def _pong(self) -> None:
        self._mqtt.pong()
        self._out.flush_soon()

    def _acked(self, packet_id: int) -> None:
        lock = self.deliveries.acked(packet_id)
        if lock is not None:
            self._note(Event.IN, "puback")
            self._owner.puback(self, lock)
            self._owner.room(self)

    def _subscribe(self, packet_id: int, filters: tuple[tuple[str, int], ...]) -> None:
        answer = grant(filters, self.device_id, self._owner.rules)
        match answer:
            case Violation(reason, detail):
                self.end(reason, detail)
            case Grant(codes, channels):
                self.channels = {**self.channels, **channels}
                self._note(Event.IN, f"subscribe {' '.join(channels)}")
                self._mqtt.grant(packet_id, codes)
                self._owner.subscribed(self)

    def _unsubscribe(self, packet_id: int, topics: tuple[str, ...]) -> None:
        gone = {channel for topic in topics if (channel := channel_of(topic, self.device_id))}
        self.channels = {channel: qos for channel, qos in self.channels.items() if channel not in gone}
        self._note(Event.IN, f"unsubscribe {' '.join(sorted(gone))}")
        self._mqtt.ack_unsubscribe(packet_id)
        self._owner.subscribed(self)

    def _answer_twin(self, rid: str, reply: TwinReply | None) -> None:
        """A twin response; lost if the device has not subscribed to them by then."""
        if reply is not None and reply.wait_s:
            self._loop.call_later(reply.wait_s, self._send_twin, rid, reply)
        elif reply is not None:
            self._send_twin(rid, reply)

    def _send_twin(self, rid: str, reply: TwinReply) -> None:
        if Channel.TWIN_RESPONSES in self.channels:
            topic = twin_response_topic(reply.status, rid, reply.version)
            self._send(f"twin response {reply.status}", topic, reply.body)

    def _answer_call(self, rid: str, status: int | None, payload: bytes) -> None:
        bus_rid = self._calls.end(rid)
        if bus_rid is not None:  # unknown or late ones are ignored, of two answers the first counts
            self._owner.uplink.method_answered(self.device_id, bus_rid, status, payload)

    def _send(self, what: str, topic: str, payload: bytes) -> None:
        """Never queued for a device that does not read."""
        if self._listens(len(payload)):
            self._note(Event.OUT, what, payload)
            self._out.send(topic, payload, self._loop.time())

    def _listens(self, size_bytes: int) -> bool:
        return self.open and self._out.has_room(size_bytes, stuck=self._write_paused)

    def _note(self, event: Event, what: str, payload: bytes = b"") -> None:
        self._owner.hub_history.note(self.device_id, event, what, len(payload))

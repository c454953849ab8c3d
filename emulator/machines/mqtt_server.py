"""The server's end of one MQTT 3.1.1 connection, without I/O: bytes and times in, events and bytes out.

It keeps the rules of the protocol and decides nothing else: who may log in, what may be published and which QoS is
granted is for the owner to say. Not in it: sessions, subscriptions (the owner knows them), and QoS 2.
"""

from collections.abc import Sequence
from enum import StrEnum

from emulator.machines.mqtt_events import (
    INFLIGHT_MAX,
    Acked,
    ConnectAsked,
    Disconnected,
    Ended,
    EndReason,
    InflightFull,
    NotConnected,
    PingAsked,
    PublishAsked,
    ServerEvent,
    SubscribeAsked,
    UnsubscribeAsked,
    next_packet_id,
)
from emulator.wire.mqtt import (
    ConnAck,
    Connect,
    Decoder,
    Disconnect,
    MqttError,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode,
)

_PING_ASKED = PingAsked()
KEEP_ALIVE_GRACE = 1.5  # section 3.1.2.10


class _State(StrEnum):
    NEW = "new"  # no CONNECT yet
    ASKED = "asked"  # CONNECT came, the owner decides
    OPEN = "open"
    ENDED = "ended"


class MqttServer:
    """One accepted connection. `now` is monotonic seconds; after every call, write `output()` and re-arm `deadline()`.

    CONNECT must come within `connect_timeout_s`. After it the client may be silent for 1.5 times its keep-alive, at
    most `keep_alive_cap_s`, which also applies when it wants no keep-alive (iothub-mqtt.md 1.6). At most
    `inflight_max` QoS 1 messages to the client are unacknowledged. Answers that come after the end are ignored.
    Of many packets in one piece `burst_max` are read, the others with the next `wake`, which is due at once: so that
    the owner can serve others in between.
    """

    __slots__ = (
        "_burst_max",
        "_decoder",
        "_inflight_max",
        "_keep_alive_cap_s",
        "_last_id",
        "_output",
        "_publishing",
        "_resume_at",
        "_silence_s",
        "_silent_until",
        "_state",
    )

    def __init__(
        self,
        *,
        max_packet_bytes: int,
        connect_timeout_s: float,
        keep_alive_cap_s: float,
        now: float,
        inflight_max: int = INFLIGHT_MAX,
        burst_max: int | None = None,
    ) -> None:
        self._keep_alive_cap_s = keep_alive_cap_s
        self._inflight_max = inflight_max
        self._burst_max = burst_max
        self._decoder = Decoder(max_packet_bytes)
        self._output: list[bytes] = []
        self._state = _State.NEW
        self._last_id = 0
        self._publishing: dict[int, None] = {}
        self._silence_s = 0.0
        self._silent_until = now + connect_timeout_s
        self._resume_at: float | None = None  # set while bytes wait to be read that came already

    @property
    def ended(self) -> bool:
        """Nothing more will come of this machine; write `output()` and close."""
        return self._state is _State.ENDED

    def accept(self, session_present: bool, now: float) -> None:
        """Answer `ConnectAsked` with CONNACK 0."""
        if self._state is not _State.ASKED:
            return
        self._state = _State.OPEN
        self._output.append(encode(ConnAck(session_present, 0)))
        if self._decoder.pending_bytes:
            self._resume_at = now

    def refuse(self, code: int) -> None:
        """Answer `ConnectAsked` with this CONNACK code, 1 to 255, and end."""
        if self._state is _State.ASKED:
            self._output.append(encode(ConnAck(False, code)))
            self._finish()

    def ack(self, packet_id: int) -> None:
        """Answer a QoS 1 `PublishAsked` with PUBACK."""
        self._answer(PubAck(packet_id))

    def grant(self, packet_id: int, codes: Sequence[int]) -> None:
        """Answer `SubscribeAsked` with SUBACK: for each filter the QoS granted, or 0x80."""
        self._answer(SubAck(packet_id, tuple(codes)))

    def ack_unsubscribe(self, packet_id: int) -> None:
        """Answer `UnsubscribeAsked` with UNSUBACK."""
        self._answer(UnsubAck(packet_id))

    def pong(self) -> None:
        """Answer `PingAsked` with PINGRESP."""
        self._answer(PingResp())

    def publish(self, topic: str, payload: bytes, *, qos: int, now: float, dup: bool = False) -> int:
        """Send a message of QoS 0 (returns 0) or QoS 1 (returns the id that `Acked` will name).

        Raises NotConnected, InflightFull (QoS 1 only), or MqttError for what MQTT cannot carry.
        """
        if self._state is not _State.OPEN:
            raise NotConnected(f"the connection is {self._state}")
        if qos not in (0, 1):
            raise MqttError(f"publishing with QoS {qos}")
        packet_id = self._claim_id() if qos else 0
        self._output.append(encode(Publish(topic, payload, qos, dup=dup, packet_id=packet_id)))
        if packet_id:
            self._publishing[packet_id] = None
        return packet_id

    def publish_again(self, packet_id: int, topic: str, payload: bytes) -> None:
        """Send a QoS 1 message once more, with DUP set, under the id that `publish` gave it.

        Raises NotConnected, or MqttError for an id that waits for no PUBACK.
        """
        if self._state is not _State.OPEN:
            raise NotConnected(f"the connection is {self._state}")
        if packet_id not in self._publishing:
            raise MqttError(f"packet id {packet_id} is not in flight")
        self._output.append(encode(Publish(topic, payload, 1, dup=True, packet_id=packet_id)))

    def receive(self, data: bytes, now: float) -> list[ServerEvent]:
        """Take bytes from the client. Never raises: what breaks the protocol gives `Ended`."""
        if self._state is _State.ENDED:
            return []
        self._decoder.put(data)
        return self._read(now)

    def wake(self, now: float) -> list[ServerEvent]:
        """Do what is due: read on after `accept`, or end a silent connection."""
        if self._state is _State.ENDED:
            return []
        if self._resume_at is not None:
            return self._read(now)
        if self._silent_until <= now:
            return self._end(EndReason.NO_CONNECT if self._state is _State.NEW else EndReason.KEEP_ALIVE)
        return []

    def deadline(self) -> float | None:
        """When to call `wake`, if nothing else happens before."""
        if self._state is _State.ENDED:
            return None
        return self._silent_until if self._resume_at is None else self._resume_at

    def output(self) -> bytes:
        """The bytes to write now, once."""
        if not self._output:
            return b""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def _read(self, now: float) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        self._resume_at = None
        left = self._burst_max
        try:
            while self._may_read() and left != 0 and (packet := self._decoder.take()) is not None:
                events += self._handle(packet, now)
                left = None if left is None else left - 1
        except MqttError as error:
            events += self._end(EndReason.MALFORMED, str(error))
        if left == 0 and self._may_read() and self._decoder.pending_bytes:
            self._resume_at = now
        if self._state is _State.ASKED and self._decoder.pending_bytes > self._decoder.max_packet_bytes:
            events += self._end(EndReason.PROTOCOL, "too much ahead of CONNACK")
        return events

    def _may_read(self) -> bool:
        # while the owner decides nothing is read: what follows a refused CONNECT must not be processed (section 3.1.4)
        return self._state is _State.NEW or self._state is _State.OPEN

    def _handle(self, packet: Packet, now: float) -> list[ServerEvent]:
        if self._state is _State.NEW:
            return self._asked(packet, now)
        self._silent_until = now + self._silence_s
        match packet:
            case Publish():
                return [PublishAsked(packet)]
            case PubAck(packet_id):
                return self._acked(packet_id)
            case PingReq():
                return [_PING_ASKED]
            case Subscribe(packet_id, filters):
                return [SubscribeAsked(packet_id, filters)]
            case Unsubscribe(packet_id, topics):
                return [UnsubscribeAsked(packet_id, topics)]
            case Disconnect():
                self._finish()
                return [Disconnected()]
            case Connect():
                return self._end(EndReason.PROTOCOL, "second CONNECT")
            case _:
                return self._end(EndReason.PROTOCOL, f"{type(packet).__name__} from a client")

    def _asked(self, packet: Packet, now: float) -> list[ServerEvent]:
        if not isinstance(packet, Connect):
            return self._end(EndReason.PROTOCOL, f"{type(packet).__name__} instead of CONNECT")
        self._state = _State.ASKED
        self._silence_s = min(packet.keep_alive_s * KEEP_ALIVE_GRACE or self._keep_alive_cap_s, self._keep_alive_cap_s)
        self._silent_until = now + self._silence_s
        return [ConnectAsked(packet)]

    def _claim_id(self) -> int:
        if len(self._publishing) >= self._inflight_max:
            raise InflightFull(f"{self._inflight_max} messages wait for PUBACK")
        self._last_id = next_packet_id(self._last_id, self._publishing)
        return self._last_id

    def _acked(self, packet_id: int) -> list[ServerEvent]:
        if packet_id not in self._publishing:
            return []  # an answer that came twice does no harm
        del self._publishing[packet_id]
        return [Acked(packet_id)]

    def _answer(self, packet: PubAck | SubAck | UnsubAck | PingResp) -> None:
        if self._state is _State.OPEN:
            self._output.append(encode(packet))

    def _end(self, reason: EndReason, detail: str = "") -> list[ServerEvent]:
        self._finish()
        return [Ended(reason, detail)]

    def _finish(self) -> None:
        self._state = _State.ENDED
        self._publishing.clear()

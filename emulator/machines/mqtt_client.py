"""An MQTT 3.1.1 client over one connection, without I/O: bytes and times in, events and bytes out.

Used once: after `Ended` or `disconnect` a new connection takes a new machine. Not in it: sessions kept over
connections, and sending QoS 2; the charger uses neither (zaptec.md section 6).
"""

from collections.abc import Sequence
from enum import StrEnum

from emulator.machines.mqtt_events import (
    INFLIGHT_MAX,
    Acked,
    Connected,
    Ended,
    EndReason,
    Event,
    Granted,
    InflightFull,
    NotConnected,
    Received,
    Refused,
    Unsubscribed,
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
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode,
)


class _State(StrEnum):
    NEW = "new"
    CONNECTING = "connecting"  # CONNECT is out
    OPEN = "open"  # CONNACK 0 came
    ENDED = "ended"


class MqttClient:
    """One client connection. `now` is monotonic seconds; after every call, write `output()` and re-arm `deadline()`.

    `ack_timeout_s` limits the wait for CONNACK, SUBACK, UNSUBACK and PINGRESP. A QoS 1 PUBLISH may wait for ever: on a
    living connection nothing but PUBACK tells its fate. At most `inflight_max` requests are unanswered at any time.
    Raises MqttError at once if `connect` cannot be encoded; keeps nothing of it once the CONNECT has been written.
    """

    __slots__ = (
        "_ack_timeout_s",
        "_asked",
        "_decoder",
        "_inflight_max",
        "_keep_alive_s",
        "_last_id",
        "_output",
        "_ping_at",
        "_publishing",
        "_state",
        "_unreleased",
        "_wait_until",
    )

    def __init__(
        self, connect: Connect, *, max_packet_bytes: int, ack_timeout_s: float, inflight_max: int = INFLIGHT_MAX
    ) -> None:
        self._ack_timeout_s = ack_timeout_s
        self._inflight_max = inflight_max
        self._keep_alive_s = connect.keep_alive_s
        self._decoder = Decoder(max_packet_bytes)
        self._output = [encode(connect)]
        self._state = _State.NEW
        self._last_id = 0
        self._publishing: dict[int, None] = {}
        self._asked: dict[int, tuple[int, float]] = {}  # id: (SUBACK codes or 0 for UNSUBACK, deadline), oldest first
        self._unreleased: set[int] | None = None  # QoS 2 messages between PUBREC and PUBREL, made when one comes
        self._wait_until: float | None = None  # for CONNACK, later for PINGRESP
        self._ping_at: float | None = None

    @property
    def ended(self) -> bool:
        """Nothing more will come of this machine."""
        return self._state is _State.ENDED

    def start(self, now: float) -> None:
        """Send CONNECT and wait for CONNACK. Raises NotConnected the second time."""
        if self._state is not _State.NEW:
            raise NotConnected("a machine serves one connection")
        self._state = _State.CONNECTING
        self._wait_until = now + self._ack_timeout_s

    def publish(self, topic: str, payload: bytes, *, qos: int, now: float, retain: bool = False) -> int:
        """Send a message of QoS 0 (returns 0) or QoS 1 (returns the id that `Acked` will name).

        Raises NotConnected, InflightFull (QoS 1 only), or MqttError for what MQTT cannot carry.
        """
        self._check_open()
        if qos not in (0, 1):
            raise MqttError(f"publishing with QoS {qos}")
        packet_id = self._claim_id() if qos else 0
        self._output.append(encode(Publish(topic, payload, qos, retain, packet_id=packet_id)))
        if packet_id:
            self._publishing[packet_id] = None
        return packet_id

    def subscribe(self, filters: Sequence[tuple[str, int]], now: float) -> int:
        """Ask for (filter, QoS) pairs in one packet; `Granted` will name the id returned. Raises as `publish`."""
        self._check_open()
        packet_id = self._claim_id()
        self._output.append(encode(Subscribe(packet_id, tuple(filters))))
        self._asked[packet_id] = len(filters), now + self._ack_timeout_s
        return packet_id

    def unsubscribe(self, topics: Sequence[str], now: float) -> int:
        """Give filters back; `Unsubscribed` will name the id returned. Raises as `publish`."""
        self._check_open()
        packet_id = self._claim_id()
        self._output.append(encode(Unsubscribe(packet_id, tuple(topics))))
        self._asked[packet_id] = 0, now + self._ack_timeout_s
        return packet_id

    def disconnect(self, now: float) -> None:
        """Say DISCONNECT, if anyone listens, and end. There is no event for it."""
        if self._state is _State.OPEN:
            self._output.append(encode(Disconnect()))
        elif self._state is _State.NEW:
            self._output.clear()
        self._finish()

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes from the server. Never raises: what breaks the protocol gives `Ended`."""
        events: list[Event] = []
        if self._state in (_State.NEW, _State.ENDED):
            return events
        self._decoder.put(data)
        try:
            while not self.ended and (packet := self._decoder.take()) is not None:
                events += self._handle(packet, now)
        except MqttError as error:
            events += self._end(EndReason.MALFORMED, str(error))
        return events

    def wake(self, now: float) -> list[Event]:
        """Do what is due: ping, or give up waiting."""
        if self._wait_until is not None and self._wait_until <= now:
            no_answer = EndReason.NO_CONNACK if self._state is _State.CONNECTING else EndReason.NO_PINGRESP
            return self._end(no_answer)
        ask_until = self._oldest_ask_until()
        if ask_until is not None and ask_until <= now:
            return self._end(EndReason.NO_ACK)
        if self._ping_at is not None and self._ping_at <= now:
            self._output.append(encode(PingReq()))
            self._ping_at, self._wait_until = None, now + self._ack_timeout_s
        return []

    def deadline(self) -> float | None:
        """When to call `wake`, if nothing else happens before."""
        first = self._ping_at if self._wait_until is None else self._wait_until  # never both
        ask_until = self._oldest_ask_until()
        if first is None or ask_until is None:
            return ask_until if first is None else first
        return min(first, ask_until)

    def output(self) -> bytes:
        """The bytes to write now, once. Nothing before `start`."""
        if not self._output or self._state is _State.NEW:
            return b""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def _oldest_ask_until(self) -> float | None:
        for _, until in self._asked.values():
            return until  # all wait equally long, so the first is the oldest
        return None

    def _check_open(self) -> None:
        if self._state is not _State.OPEN:
            raise NotConnected(f"the connection is {self._state}")

    def _claim_id(self) -> int:
        if len(self._publishing) + len(self._asked) >= self._inflight_max:
            raise InflightFull(f"{self._inflight_max} requests wait for their answers")
        self._last_id = next_packet_id(self._last_id, self._publishing, self._asked)
        return self._last_id

    def _handle(self, packet: Packet, now: float) -> list[Event]:
        if self._state is _State.CONNECTING:
            return self._answered(packet, now)
        match packet:
            case Publish():
                return self._received(packet)
            case PubAck(packet_id):
                return self._acked(packet_id)
            case SubAck(packet_id, codes):
                return self._granted(packet_id, codes)
            case UnsubAck(packet_id):
                return self._granted(packet_id, ())
            case PubRel(packet_id):
                self._release(packet_id)
                return []
            case PingResp():
                self._wait_until = None
                self._plan_ping(now)
                return []
            case _:
                return self._end(EndReason.PROTOCOL, f"{type(packet).__name__} from a server")

    def _answered(self, packet: Packet, now: float) -> list[Event]:
        if not isinstance(packet, ConnAck):
            return self._end(EndReason.PROTOCOL, f"{type(packet).__name__} instead of CONNACK")
        if packet.code:
            return [Refused(packet.code), *self._end(EndReason.REFUSED, f"CONNACK code {packet.code}")]
        self._state = _State.OPEN
        self._wait_until = None
        self._plan_ping(now)
        return [Connected(packet.session_present)]

    def _plan_ping(self, now: float) -> None:
        # the charger's library pings half a keep-alive after CONNACK or the last PINGRESP, whatever else is sent
        self._ping_at = now + self._keep_alive_s / 2 if self._keep_alive_s else None

    def _received(self, packet: Publish) -> list[Event]:
        event = Received(packet.topic, packet.payload, packet.qos, packet.retain, packet.dup)
        if packet.qos == 1:
            self._output.append(encode(PubAck(packet.packet_id)))
        elif packet.qos == 2:
            return self._received_once(packet.packet_id, event)
        return [event]

    def _received_once(self, packet_id: int, event: Received) -> list[Event]:
        """QoS 2 by method B of section 4.3.3: deliver at once, remember the id until PUBREL."""
        if self._unreleased is None:
            self._unreleased = set()
        known = packet_id in self._unreleased
        if not known and len(self._unreleased) >= self._inflight_max:
            return self._end(EndReason.PROTOCOL, f"more than {self._inflight_max} QoS 2 messages without PUBREL")
        self._unreleased.add(packet_id)
        self._output.append(encode(PubRec(packet_id)))
        return [] if known else [event]

    def _release(self, packet_id: int) -> None:
        if self._unreleased is not None:
            self._unreleased.discard(packet_id)
        self._output.append(encode(PubComp(packet_id)))

    def _acked(self, packet_id: int) -> list[Event]:
        if packet_id not in self._publishing:
            return []  # an answer that came twice does no harm
        del self._publishing[packet_id]
        return [Acked(packet_id)]

    def _granted(self, packet_id: int, codes: tuple[int, ...]) -> list[Event]:
        if packet_id not in self._asked:
            return []  # as with PUBACK
        expected, _ = self._asked.pop(packet_id)
        if len(codes) != expected:
            return self._end(EndReason.PROTOCOL, f"{len(codes)} SUBACK codes for {expected} filters")
        return [Granted(packet_id, codes) if codes else Unsubscribed(packet_id)]

    def _end(self, reason: EndReason, detail: str = "") -> list[Event]:
        self._finish()
        return [Ended(reason, detail)]

    def _finish(self) -> None:
        self._state = _State.ENDED
        self._wait_until = self._ping_at = None
        self._asked.clear()
        self._publishing.clear()

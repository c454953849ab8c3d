"""The client's end of one MQTT 5 connection, without I/O: what to send, and what came. QoS 1.

With a `session` the server keeps our subscriptions, and what they match, for `SESSION_S` after the connection is lost.
"""

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from cloud_stub.bus.wire5 import (
    ConnAck5,
    Connect5,
    Decoder5,
    Disconnect5,
    FromServer,
    Pairs,
    PubAck5,
    Publish5,
    SubAck5,
    Subscribe5,
    encode,
)
from emulator.wire.mqtt import PACKET_ID_MAX, MqttError, PingReq

WINDOW = 512
"""Publishes in flight at most; fewer when the server's Receive Maximum says so."""
PACKET_BYTES_MAX = 1_048_576
KEEP_ALIVE_S = 60
SESSION_S = 3600

Tag = TypeVar("Tag")


@dataclass(frozen=True, slots=True)
class Connected:
    """The server takes us."""

    keep_alive_s: int


@dataclass(frozen=True, slots=True)
class Acked(Generic[Tag]):
    """The server has taken a publish, or with a `code` from 0x80 on refused it."""

    tag: Tag
    code: int


@dataclass(frozen=True, slots=True)
class Granted:
    """The server's answer to the subscription with this identifier."""

    subscription: int
    code: int


@dataclass(frozen=True, slots=True)
class Received:
    """A message from the server. It is acknowledged already."""

    message: Publish5


@dataclass(frozen=True, slots=True)
class Ended:
    """The server broke the protocol, refused us or said goodbye. Always the last event."""

    reason: str


Event: TypeAlias = Connected | Acked[Tag] | Granted | Received | Ended


class Client5(Generic[Tag]):
    """One connection. Take what it wants to send with `output` after every call. After `Ended` it is of no more use.

    Every publish carries a tag of the caller's, which comes back with its acknowledgement.
    """

    def __init__(self, *, window: int = WINDOW, keep_alive_s: int = KEEP_ALIVE_S, session: str = "") -> None:
        self._decoder = Decoder5(PACKET_BYTES_MAX)
        self._window = window
        self._max_packet_bytes: int | None = None
        self._keep_alive_s = keep_alive_s
        self._connected = False
        self._last_id = 0
        self._unacked: dict[int, Tag] = {}
        self._subscribing: dict[int, int] = {}
        self._heard = True
        self._session = session
        kept_s = SESSION_S if session else None
        self._out: list[bytes] = [encode(Connect5(session, keep_alive_s, PACKET_BYTES_MAX, kept_s))]

    @property
    def room(self) -> int:
        """How many more messages may be published now."""
        return self._window - len(self._unacked) if self._connected else 0

    @property
    def unacked(self) -> list[Tag]:
        """The tags of what is in flight, in the order of publishing."""
        return list(self._unacked.values())

    def output(self) -> bytes:
        """The bytes to send now."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def publish(self, tag: Tag, topic: str, payload: bytes, properties: Pairs, *, dup: bool = False) -> None:
        """Send a message with QoS 1; only while there is `room`. `dup`: it was sent before.

        MqttError, and nothing is sent, when MQTT or the server's Maximum Packet Size does not allow the message.
        """
        packet_id = self._free_id()
        data = encode(Publish5(topic, payload, properties, packet_id, dup))
        if self._max_packet_bytes is not None and len(data) > self._max_packet_bytes:
            raise MqttError(f"message of {len(data)} bytes, the broker takes {self._max_packet_bytes}")
        self._unacked[packet_id] = tag
        self._out.append(data)

    def subscribe(self, topic_filter: str, subscription: int) -> None:
        """Ask for messages with QoS 1 and No Local; the answer is `Granted`."""
        packet_id = self._free_id()
        self._out.append(encode(Subscribe5(packet_id, topic_filter, subscription)))
        self._subscribing[packet_id] = subscription

    def disconnect(self, *, forever: bool = True) -> None:
        """Say goodbye. `forever`: the session is not needed any more."""
        self._out.append(encode(Disconnect5(session_s=0 if forever and self._session else None)))

    def tick(self) -> bool:
        """To be called every third of the keep-alive: sends PINGREQ. False: nothing was heard since the last one."""
        heard, self._heard = self._heard, False
        self._out.append(encode(PingReq()))
        return heard

    def receive(self, data: bytes) -> list[Event[Tag]]:
        """Take bytes from the server."""
        self._heard = True
        self._decoder.put(data)
        events: list[Event[Tag]] = []
        try:
            while (packet := self._decoder.take()) is not None:
                event = self._take(packet)
                if event is not None:
                    events.append(event)
        except MqttError as error:  # what came before it counts
            events.append(Ended(str(error)))
        return events

    def _take(self, packet: FromServer) -> Event[Tag] | None:
        if isinstance(packet, ConnAck5):
            return self._take_connack(packet)
        if not self._connected:
            raise MqttError("the first packet is not CONNACK")
        match packet:
            case PubAck5(packet_id, code):
                return self._take_puback(packet_id, code)
            case Publish5(packet_id=packet_id):
                if packet_id:
                    self._out.append(encode(PubAck5(packet_id)))
                return Received(packet)
            case SubAck5(packet_id, codes):
                if packet_id not in self._subscribing or len(codes) != 1:
                    raise MqttError("SUBACK for nothing")
                return Granted(self._subscribing.pop(packet_id), codes[0])
            case Disconnect5(code, reason):
                raise MqttError(f"the broker disconnects with {code:#04x} {reason}".rstrip())
        return None

    def _take_puback(self, packet_id: int, code: int) -> Acked[Tag]:
        if packet_id not in self._unacked:
            raise MqttError("PUBACK for nothing")
        return Acked(self._unacked.pop(packet_id), code)

    def _take_connack(self, packet: ConnAck5) -> Connected:
        if self._connected:
            raise MqttError("second CONNACK")
        if packet.session_present and not self._session:
            raise MqttError("the broker has a session of somebody else's for us")
        if packet.code:
            raise MqttError(f"the broker refuses with {packet.code:#04x} {packet.reason}".rstrip())
        self._connected = True
        self._window = min(self._window, packet.receive_maximum)
        self._max_packet_bytes = packet.max_packet_bytes
        return Connected(self._keep_alive_s if packet.keep_alive_s is None else packet.keep_alive_s)

    def _free_id(self) -> int:
        """The next packet id that is not in use; there are always some, the window being smaller than all ids."""
        while True:
            self._last_id = self._last_id % PACKET_ID_MAX + 1
            if self._last_id not in self._unacked and self._last_id not in self._subscribing:
                return self._last_id

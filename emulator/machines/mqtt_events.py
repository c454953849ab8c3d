"""What the two MQTT machines tell their drivers, and the rules that both share."""

from collections.abc import Container
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from emulator.wire.mqtt import PACKET_ID_MAX, Connect, MqttError, Publish

INFLIGHT_MAX = 16
"""Default limit of unanswered requests in one direction; edgeHub reads ahead as many (iothub-mqtt.md 1.7)."""


class InflightFull(MqttError):
    """As many requests as allowed wait for their answers; try again after the next one."""


class NotConnected(MqttError):
    """The connection is not open: before CONNACK, or after the end."""


class EndReason(StrEnum):
    """Why a machine ended the connection by itself."""

    REFUSED = "refused"  # client: CONNACK with a code other than 0
    NO_CONNACK = "no_connack"  # client: no answer to CONNECT in time
    NO_ACK = "no_ack"  # client: no answer to SUBSCRIBE or UNSUBSCRIBE in time
    NO_PINGRESP = "no_pingresp"  # client: the peer is dead
    NO_CONNECT = "no_connect"  # server: no CONNECT in time
    KEEP_ALIVE = "keep_alive"  # server: silent for longer than its keep-alive allows
    MALFORMED = "malformed"  # bytes that are not MQTT 3.1.1
    PROTOCOL = "protocol"  # a packet that must not come now, or from this side


@dataclass(frozen=True, slots=True)
class Ended:
    """The machine has ended: write what `output` still holds and drop the stream. Always the last event."""

    reason: EndReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Acked:
    """PUBACK came for the QoS 1 message that `publish` numbered so."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Connected:
    """Client: CONNACK 0."""

    session_present: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Client: CONNACK with this code (1 to 5 have meanings, section 3.2.2.3). `Ended` follows."""

    code: int


@dataclass(frozen=True, slots=True)
class Received:
    """Client: a message. Of QoS 1 and 2 the machine has acknowledged it."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int
    retain: bool
    dup: bool


@dataclass(frozen=True, slots=True)
class Granted:
    """Client: SUBACK, one code per filter: the QoS granted, or 0x80 for a refusal."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """Client: UNSUBACK."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class ConnectAsked:
    """Server: a client wants in, maybe with another protocol level; answer with `accept` or `refuse`.

    What the client sends meanwhile is read after `accept`.
    """

    connect: Connect


@dataclass(frozen=True, slots=True)
class PublishAsked:
    """Server: a message. Of QoS 1, answer with `ack`; QoS 2 is not served, end the connection."""

    publish: Publish


@dataclass(frozen=True, slots=True)
class SubscribeAsked:
    """Server: (filter, QoS) pairs; answer with `grant`."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class UnsubscribeAsked:
    """Server: answer with `ack_unsubscribe`."""

    packet_id: int
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PingAsked:
    """Server: the client shows that it is there; answer with `pong`."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """Server: the client said DISCONNECT, so its will is void. Always the last event."""


Event: TypeAlias = Connected | Refused | Received | Acked | Granted | Unsubscribed | Ended
"""What `MqttClient` tells."""

ServerEvent: TypeAlias = (
    ConnectAsked | PublishAsked | SubscribeAsked | UnsubscribeAsked | PingAsked | Acked | Disconnected | Ended
)
"""What `MqttServer` tells."""


def next_packet_id(last: int, *in_use: Container[int]) -> int:
    """The first id after `last`, 1 to 65535 round and round, that is in none of `in_use` (section 2.3.1)."""
    packet_id = last
    while True:
        packet_id = packet_id % PACKET_ID_MAX + 1
        for ids in in_use:
            if packet_id in ids:
                break
        else:
            return packet_id

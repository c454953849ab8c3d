"""The control packets of MQTT 3.1.1 as values (OASIS standard of 29 October 2014, chapter 3), and the rules for topics.

Constructors check nothing; `emulator.wire.mqtt.encode` refuses what the protocol cannot carry.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from emulator.errors import WireError

PROTOCOL_NAME = "MQTT"
PROTOCOL_LEVEL = 4
SUBACK_FAILURE = 0x80
PACKET_ID_MAX = 65_535

FLAG_CLEAN_SESSION, FLAG_WILL, FLAG_WILL_RETAIN, FLAG_PASSWORD, FLAG_USERNAME = 0x02, 0x04, 0x20, 0x40, 0x80
"""Bits of the connect flags (section 3.1.2.3); the will's QoS is in bits 3 and 4."""


class MqttError(WireError):
    """Bytes that are not MQTT, or a value that MQTT cannot carry."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the server publishes when the connection ends without DISCONNECT (section 3.1.2.5)."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """Section 3.1. With another protocol name or level the other fields are empty: only the refusal can be known."""

    client_id: str
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    keep_alive_s: int = 60
    clean_session: bool = True
    will: Will | None = None
    protocol_name: str = PROTOCOL_NAME
    protocol_level: int = PROTOCOL_LEVEL


@dataclass(frozen=True, slots=True)
class ConnAck:
    """Section 3.2. `code` 0 is success; 6 to 255 are reserved by the standard, and refusals all the same."""

    session_present: bool
    code: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Section 3.3. `packet_id` is 0 exactly when `qos` is 0."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0


@dataclass(frozen=True, slots=True)
class PubAck:
    """Section 3.4: the answer to a QoS 1 PUBLISH."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PubRec:
    """Section 3.5: the first answer to a QoS 2 PUBLISH."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PubRel:
    """Section 3.6: the answer to PUBREC."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PubComp:
    """Section 3.7: the answer to PUBREL."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Section 3.8. `filters` are (topic filter, QoS asked for) pairs, at least one."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class SubAck:
    """Section 3.9. One code per filter, in order: the QoS granted, or `SUBACK_FAILURE`."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Section 3.10. At least one topic filter."""

    packet_id: int
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnsubAck:
    """Section 3.11."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PingReq:
    """Section 3.12."""


@dataclass(frozen=True, slots=True)
class PingResp:
    """Section 3.13."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Section 3.14."""


Packet: TypeAlias = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
)


def check_topic_name(topic: str) -> None:
    """MqttError unless one can publish to `topic`: not empty, no wildcard (section 4.7)."""
    if not topic or "+" in topic or "#" in topic:
        raise MqttError("topic name is empty or has a wildcard")


def check_topic_filter(topic: str) -> None:
    """MqttError unless one can subscribe to `topic`: wildcards fill whole levels, ``#`` the last one (section 4.7)."""
    if not topic:
        raise MqttError("topic filter is empty")
    if "#" in topic[:-1] or (topic.endswith("#") and topic != "#" and not topic.endswith("/#")):
        raise MqttError("# is not the whole last level of the topic filter")
    if "+" in topic and any("+" in level and level != "+" for level in topic.split("/")):
        raise MqttError("+ is not a whole level of the topic filter")


def check_qos(qos: int) -> None:
    """MqttError unless `qos` is 0, 1 or 2."""
    if not 0 <= qos <= 2:
        raise MqttError(f"QoS {qos}")


def check_suback_codes(codes: tuple[int, ...]) -> None:
    """MqttError unless there is a code and each is a QoS or `SUBACK_FAILURE` (section 3.9.3)."""
    if not codes or not {0, 1, 2, SUBACK_FAILURE}.issuperset(codes):
        raise MqttError("SUBACK with no code or a reserved one")

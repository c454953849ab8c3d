"""The part of MQTT 5 that a publishing and subscribing client needs, as bytes (OASIS standard of 7 March 2019).

`encode` makes what a client sends, `Decoder5` reads what a broker sends; PUBLISH, PUBACK and DISCONNECT go both ways.
Of the properties those are kept that mean something here; the others are checked for their form and left out. QoS 2,
AUTH, wills, retained messages and topic aliases are not covered: neither side of the bus uses them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from emulator.wire.mqtt import PROTOCOL_NAME, MqttError, PingReq, PingResp
from emulator.wire.mqtt_fields import (
    Frames,
    frame,
    pack_id,
    pack_length,
    pack_text,
    read_binary,
    read_id,
    read_length,
    read_text,
)
from emulator.wire.mqtt_packets import check_topic_filter, check_topic_name

PROTOCOL_LEVEL = 5
REFUSED = 0x80
"""Reason codes from here on are failures (section 2.4)."""
RECEIVE_MAXIMUM = 65_535
"""What a server that names no Receive Maximum takes (section 3.2.2.3.3)."""

Pairs: TypeAlias = tuple[tuple[str, str], ...]

_SUBSCRIPTION_ID, _SESSION_EXPIRY, _SERVER_KEEP_ALIVE, _REASON, _RECEIVE_MAXIMUM = 0x0B, 0x11, 0x13, 0x1F, 0x21
_USER_PROPERTY, _MAXIMUM_PACKET = 0x26, 0x27

_CLEAN_START, _NO_LOCAL = 0x02, 0x04


@dataclass(frozen=True, slots=True)
class Connect5:
    """Section 3.1. An empty `client_id` asks the server for one."""

    client_id: str = ""
    keep_alive_s: int = 60
    max_packet_bytes: int | None = None
    """The server drops what is longer instead of sending it; None: there is no limit."""
    session_s: int | None = None
    """How long the server keeps the session when the connection is gone; None: clean start, and nothing is kept."""


@dataclass(frozen=True, slots=True)
class ConnAck5:
    """Section 3.2. None: the server leaves it to us."""

    code: int
    receive_maximum: int = RECEIVE_MAXIMUM
    max_packet_bytes: int | None = None
    keep_alive_s: int | None = None
    reason: str = ""
    session_present: bool = False


@dataclass(frozen=True, slots=True)
class Publish5:
    """Section 3.3. `packet_id` is 0 for QoS 0. `subscriptions`: identifiers of those that it matched."""

    topic: str
    payload: bytes = field(repr=False)
    properties: Pairs = ()
    packet_id: int = 0
    dup: bool = False
    subscriptions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PubAck5:
    """Section 3.4."""

    packet_id: int
    code: int = 0


@dataclass(frozen=True, slots=True)
class Subscribe5:
    """Section 3.8, one filter, QoS 1 and No Local."""

    packet_id: int
    topic_filter: str
    subscription: int
    """Its identifier, 1 to 268435455."""


@dataclass(frozen=True, slots=True)
class SubAck5:
    """Section 3.9. One code per filter."""

    packet_id: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Disconnect5:
    """Section 3.14."""

    code: int = 0
    reason: str = ""
    session_s: int | None = None
    """From a client: how long the session is kept from now on, if another time than CONNECT said."""


FromClient: TypeAlias = Connect5 | Publish5 | PubAck5 | Subscribe5 | PingReq | Disconnect5
FromServer: TypeAlias = ConnAck5 | Publish5 | PubAck5 | SubAck5 | PingResp | Disconnect5


class Decoder5(Frames[FromServer]):
    """Packets of a broker out of a byte stream. MqttError on bytes that break the protocol."""

    __slots__ = ()

    def __init__(self, max_packet_bytes: int) -> None:
        super().__init__(max_packet_bytes, _DECODERS)


def encode(packet: FromClient) -> bytes:
    """The bytes of a packet. MqttError when MQTT 5 cannot carry its values."""
    return _ENCODERS[type(packet)](packet)


def _encode_connect(packet: Connect5) -> bytes:
    if not 0 <= packet.keep_alive_s <= 0xFFFF:
        raise MqttError(f"keep-alive of {packet.keep_alive_s} s")
    flags = _CLEAN_START if packet.session_s is None else 0
    head = pack_text(PROTOCOL_NAME) + bytes((PROTOCOL_LEVEL, flags)) + packet.keep_alive_s.to_bytes(2)
    properties = b"" if packet.session_s is None else _session_expiry(packet.session_s)
    if packet.max_packet_bytes is not None:
        if not 0 < packet.max_packet_bytes < 1 << 32:
            raise MqttError(f"maximum packet size of {packet.max_packet_bytes} bytes")
        properties += bytes((_MAXIMUM_PACKET,)) + packet.max_packet_bytes.to_bytes(4)
    return frame(0x10, head, pack_length(len(properties)), properties, pack_text(packet.client_id))


def _session_expiry(seconds: int) -> bytes:
    if not 0 <= seconds < 1 << 32:
        raise MqttError(f"session expiry of {seconds} s")
    return bytes((_SESSION_EXPIRY,)) + seconds.to_bytes(4)


def _encode_publish(packet: Publish5) -> bytes:
    check_topic_name(packet.topic)
    properties = pack_pairs(packet.properties)
    if packet.subscriptions:
        properties += b"".join(map(_subscription, packet.subscriptions))
    first, packet_id = 0x30, b""
    if packet.packet_id:
        first, packet_id = 0x3A if packet.dup else 0x32, pack_id(packet.packet_id)
    elif packet.dup:
        raise MqttError("dup on QoS 0")
    return frame(first, pack_text(packet.topic), packet_id, pack_length(len(properties)), properties, packet.payload)


@lru_cache(maxsize=1024)  # a message is packed for the broker, and again for the journal when it is acknowledged
def pack_pairs(pairs: Pairs) -> bytes:
    """The user properties of a packet, without the length before them. MqttError: a NUL, or text that is too long."""
    return b"".join([_name(name) + pack_text(value) for name, value in pairs])


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    """The beginning of a user property; there are few names, and they come with every message."""
    return bytes((_USER_PROPERTY,)) + pack_text(name)


def _subscription(number: int) -> bytes:
    if number < 1:
        raise MqttError(f"subscription identifier {number}")
    return bytes((_SUBSCRIPTION_ID,)) + pack_length(number)


def _encode_puback(packet: PubAck5) -> bytes:
    if not packet.code:
        return b"\x40\x02" + pack_id(packet.packet_id)
    return b"\x40\x03" + pack_id(packet.packet_id) + _code(packet.code)


def _encode_subscribe(packet: Subscribe5) -> bytes:
    check_topic_filter(packet.topic_filter)
    properties = _subscription(packet.subscription)
    wanted = pack_text(packet.topic_filter) + bytes((_NO_LOCAL | 1,))
    return frame(0x82, pack_id(packet.packet_id), pack_length(len(properties)), properties, wanted)


def _encode_disconnect(packet: Disconnect5) -> bytes:
    properties = b"" if packet.session_s is None else _session_expiry(packet.session_s)
    if packet.reason:
        properties += bytes((_REASON,)) + pack_text(packet.reason)
    if properties:
        return frame(0xE0, _code(packet.code), pack_length(len(properties)), properties)
    return frame(0xE0, _code(packet.code) if packet.code else b"")


def _code(code: int) -> bytes:
    if not 0 <= code <= 0xFF:
        raise MqttError(f"reason code {code}")
    return code.to_bytes(1)


_ENCODERS: Mapping[type[FromClient], Callable[[Any], bytes]] = {
    Connect5: _encode_connect,
    Publish5: _encode_publish,
    PubAck5: _encode_puback,
    Subscribe5: _encode_subscribe,
    PingReq: lambda _: b"\xc0\0",
    Disconnect5: _encode_disconnect,
}


def _read_number(body: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer inside a packet, and the offset behind it."""
    read = read_length(body, at)
    if read is None:
        raise MqttError("packet ends inside a number")
    return read


def _read_pair(body: bytes, at: int) -> tuple[tuple[str, str], int]:
    name, at = read_text(body, at)
    value, at = read_text(body, at)
    return (name, value), at


def _integer_reader(size: int) -> Callable[[bytes, int], tuple[int, int]]:
    def read(body: bytes, at: int) -> tuple[int, int]:
        if len(body) < at + size:
            raise MqttError("packet ends inside a property")
        return int.from_bytes(body[at : at + size]), at + size

    return read


# Section 2.2.2.2: properties that a server may send, by their form. Topic Alias is none: we never allow it.
_READERS: Mapping[int, Callable[[bytes, int], tuple[Any, int]]] = {
    **dict.fromkeys((0x01, 0x24, 0x25, 0x28, 0x29, 0x2A), _integer_reader(1)),
    **dict.fromkeys((_SERVER_KEEP_ALIVE, _RECEIVE_MAXIMUM, 0x22), _integer_reader(2)),
    **dict.fromkeys((0x02, _SESSION_EXPIRY, _MAXIMUM_PACKET), _integer_reader(4)),
    **dict.fromkeys((0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, _REASON), read_text),
    **dict.fromkeys((0x09, 0x16), read_binary),
    _SUBSCRIPTION_ID: _read_number,
    _USER_PROPERTY: _read_pair,
}
_REPEATABLE = {_SUBSCRIPTION_ID, _USER_PROPERTY}

Properties5: TypeAlias = dict[int, list[Any]]


def _read_properties(body: bytes, at: int) -> tuple[Properties5, int]:
    """The properties at an offset, by identifier, and the offset behind them."""
    length, at = _read_number(body, at)
    end = at + length
    if end > len(body):
        raise MqttError("packet ends inside its properties")
    found: Properties5 = {}
    while at < end:
        kind = body[at]
        read = _READERS.get(kind)
        if read is None:
            raise MqttError(f"property {kind:#04x}")
        value, at = read(body, at + 1)
        if kind in found and kind not in _REPEATABLE:
            raise MqttError(f"property {kind:#04x} twice")
        found.setdefault(kind, []).append(value)
    if at != end:
        raise MqttError("property reaches beyond the properties")
    return found, end


def _one(properties: Properties5, kind: int, default: Any) -> Any:
    return properties[kind][0] if kind in properties else default


def _decode_connack(_first: int, body: bytes) -> ConnAck5:
    if len(body) < 3 or body[0] > 1 or (body[0] and body[1]):
        raise MqttError("malformed CONNACK")
    properties, end = _read_properties(body, 2)
    if end != len(body):
        raise MqttError("CONNACK has bytes left over")
    receive_maximum = _one(properties, _RECEIVE_MAXIMUM, RECEIVE_MAXIMUM)
    max_packet_bytes = _one(properties, _MAXIMUM_PACKET, None)
    if receive_maximum == 0 or max_packet_bytes == 0:
        raise MqttError("CONNACK allows nothing")
    keep_alive_s = _one(properties, _SERVER_KEEP_ALIVE, None)
    reason = _one(properties, _REASON, "")
    return ConnAck5(body[1], receive_maximum, max_packet_bytes, keep_alive_s, reason, bool(body[0]))


def _decode_publish(first: int, body: bytes) -> Publish5:
    topic, at = read_text(body, 0)
    check_topic_name(topic)
    packet_id = 0
    if first & 2:
        packet_id = read_id(body, at)
        at += 2
    properties, at = _read_properties(body, at)
    subscriptions = tuple(properties.get(_SUBSCRIPTION_ID, ()))
    if 0 in subscriptions:
        raise MqttError("subscription identifier 0")
    pairs = tuple(properties.get(_USER_PROPERTY, ()))
    return Publish5(topic, body[at:], pairs, packet_id, bool(first & 8), subscriptions)


def _decode_puback(_first: int, body: bytes) -> PubAck5:
    packet_id = read_id(body, 0)
    if len(body) == 2:
        return PubAck5(packet_id)
    if len(body) > 3 and _read_properties(body, 3)[1] != len(body):
        raise MqttError("PUBACK has bytes left over")
    return PubAck5(packet_id, body[2])


def _decode_suback(_first: int, body: bytes) -> SubAck5:
    packet_id = read_id(body, 0)
    _, at = _read_properties(body, 2)
    if at == len(body):
        raise MqttError("SUBACK without a code")
    return SubAck5(packet_id, tuple(body[at:]))


def _decode_disconnect(_first: int, body: bytes) -> Disconnect5:
    if len(body) < 2:
        return Disconnect5(*body)
    properties, end = _read_properties(body, 1)
    if end != len(body):
        raise MqttError("DISCONNECT has bytes left over")
    return Disconnect5(body[0], _one(properties, _REASON, ""))


def _decode_pingresp(_first: int, body: bytes) -> PingResp:
    if body:
        raise MqttError("bytes in a PINGRESP")
    return PingResp()


# Retained messages (the lowest bit) are taken like others.
_DECODERS: Mapping[int, Callable[[int, bytes], FromServer]] = {
    0x20: _decode_connack,
    **dict.fromkeys((0x30, 0x31, 0x32, 0x33, 0x3A, 0x3B), _decode_publish),
    0x40: _decode_puback,
    0x90: _decode_suback,
    0xD0: _decode_pingresp,
    0xE0: _decode_disconnect,
}

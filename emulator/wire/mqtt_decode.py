"""Bytes to packets of MQTT 3.1.1. MqttError on bytes that break the protocol."""

from collections.abc import Callable, Mapping

from emulator.wire.mqtt_fields import Frames, read_binary, read_id, read_text
from emulator.wire.mqtt_packets import (
    FLAG_CLEAN_SESSION,
    FLAG_PASSWORD,
    FLAG_USERNAME,
    FLAG_WILL,
    FLAG_WILL_RETAIN,
    PROTOCOL_LEVEL,
    PROTOCOL_NAME,
    ConnAck,
    Connect,
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
    Will,
    check_qos,
    check_suback_codes,
    check_topic_filter,
    check_topic_name,
)


class Decoder(Frames[Packet]):
    """Packets of MQTT 3.1.1 out of a byte stream."""

    __slots__ = ()

    def __init__(self, max_packet_bytes: int) -> None:
        super().__init__(max_packet_bytes, _DECODERS)


def _decode_connect(_first: int, body: bytes) -> Connect:
    name, at = read_text(body, 0)
    if len(body) < at + 1:
        raise MqttError("CONNECT ends before the protocol level")
    if (name, body[at]) != (PROTOCOL_NAME, PROTOCOL_LEVEL):
        return Connect("", keep_alive_s=0, protocol_name=name, protocol_level=body[at])
    if len(body) < at + 4:
        raise MqttError("CONNECT ends before the keep-alive")
    flags, keep_alive_s = body[at + 1], body[at + 2] << 8 | body[at + 3]
    _check_connect_flags(flags)
    client_id, at = read_text(body, at + 4)
    will = username = password = None
    if flags & FLAG_WILL:
        topic, at = read_text(body, at)
        check_topic_name(topic)
        payload, at = read_binary(body, at)
        will = Will(topic, payload, flags >> 3 & 3, bool(flags & FLAG_WILL_RETAIN))
    if flags & FLAG_USERNAME:
        username, at = read_text(body, at)
    if flags & FLAG_PASSWORD:
        password, at = read_binary(body, at)
    if at != len(body):
        raise MqttError("CONNECT has bytes left over")
    return Connect(client_id, username, password, keep_alive_s, bool(flags & FLAG_CLEAN_SESSION), will)


def _check_connect_flags(flags: int) -> None:
    if flags & 1:
        raise MqttError("reserved CONNECT flag")
    if flags >> 3 & 3 == 3 or (not flags & FLAG_WILL and flags & 0x38):
        raise MqttError("will flags contradict each other")
    if flags & FLAG_PASSWORD and not flags & FLAG_USERNAME:
        raise MqttError("password without user name")


def _decode_connack(_first: int, body: bytes) -> ConnAck:
    if len(body) != 2 or body[0] > 1 or (body[0] and body[1]):
        raise MqttError("malformed CONNACK")
    return ConnAck(bool(body[0]), body[1])


def _decode_publish(first: int, body: bytes) -> Publish:
    topic, at = read_text(body, 0)
    check_topic_name(topic)
    qos, packet_id = first >> 1 & 3, 0
    if qos:
        packet_id = read_id(body, at)
        at += 2
    return Publish(topic, body[at:], qos, bool(first & 1), bool(first & 8), packet_id)


def _decode_subscribe(_first: int, body: bytes) -> Subscribe:
    packet_id, at = read_id(body, 0), 2
    filters = []
    while at < len(body):
        topic, at = read_text(body, at)
        check_topic_filter(topic)
        if at == len(body):
            raise MqttError("SUBSCRIBE ends before a QoS")
        check_qos(body[at])
        filters.append((topic, body[at]))
        at += 1
    if not filters:
        raise MqttError("SUBSCRIBE without a filter")
    return Subscribe(packet_id, tuple(filters))


def _decode_suback(_first: int, body: bytes) -> SubAck:
    packet_id, codes = read_id(body, 0), tuple(body[2:])
    check_suback_codes(codes)
    return SubAck(packet_id, codes)


def _decode_unsubscribe(_first: int, body: bytes) -> Unsubscribe:
    packet_id, at = read_id(body, 0), 2
    topics = []
    while at < len(body):
        topic, at = read_text(body, at)
        check_topic_filter(topic)
        topics.append(topic)
    if not topics:
        raise MqttError("UNSUBSCRIBE without a filter")
    return Unsubscribe(packet_id, tuple(topics))


def _decode_ack(first: int, body: bytes) -> Packet:
    if len(body) != 2:
        raise MqttError("acknowledgement that is not just a packet id")
    return _ACKS[first](read_id(body, 0))


def _decode_bare(first: int, body: bytes) -> Packet:
    if body:
        raise MqttError("bytes in a packet that has none")
    return _BARE[first]


_ACKS: Mapping[int, Callable[[int], Packet]] = {0x40: PubAck, 0x50: PubRec, 0x62: PubRel, 0x70: PubComp, 0xB0: UnsubAck}
_BARE: Mapping[int, Packet] = {0xC0: PingReq(), 0xD0: PingResp(), 0xE0: Disconnect()}

# QoS 3 does not exist, and QoS 0 has no duplicates (section 3.3.1)
_PUBLISH_FIRST_BYTES = frozenset(range(0x30, 0x40)) - {0x36, 0x37, 0x38, 0x39, 0x3E, 0x3F}

_DECODERS: Mapping[int, Callable[[int, bytes], Packet]] = {
    **dict.fromkeys(_PUBLISH_FIRST_BYTES, _decode_publish),
    **dict.fromkeys(_ACKS, _decode_ack),
    **dict.fromkeys(_BARE, _decode_bare),
    0x10: _decode_connect,
    0x20: _decode_connack,
    0x82: _decode_subscribe,
    0x90: _decode_suback,
    0xA2: _decode_unsubscribe,
}

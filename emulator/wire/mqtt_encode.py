"""Packets of MQTT 3.1.1 to bytes. MqttError when a value does not fit the protocol."""

from collections.abc import Callable, Mapping
from typing import Any

from emulator.wire.mqtt_fields import frame, pack_binary, pack_id, pack_text
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
    check_qos,
    check_suback_codes,
    check_topic_filter,
    check_topic_name,
)


def encode(packet: Packet) -> bytes:
    """The bytes of a packet. MqttError when MQTT 3.1.1 cannot carry its values."""
    return _ENCODERS[type(packet)](packet)


def _encode_connect(packet: Connect) -> bytes:
    if (packet.protocol_name, packet.protocol_level) != (PROTOCOL_NAME, PROTOCOL_LEVEL):
        raise MqttError("only MQTT 3.1.1 is spoken here")
    if not 0 <= packet.keep_alive_s <= 0xFFFF:
        raise MqttError(f"keep-alive of {packet.keep_alive_s} s")
    flags = FLAG_CLEAN_SESSION if packet.clean_session else 0
    fields = [pack_text(packet.client_id)]
    if (will := packet.will) is not None:
        check_qos(will.qos)
        check_topic_name(will.topic)
        flags |= FLAG_WILL | will.qos << 3 | (FLAG_WILL_RETAIN if will.retain else 0)
        fields += pack_text(will.topic), pack_binary(will.payload)
    if packet.username is not None:
        flags |= FLAG_USERNAME
        fields.append(pack_text(packet.username))
    if packet.password is not None:
        if packet.username is None:
            raise MqttError("password without user name")
        flags |= FLAG_PASSWORD
        fields.append(pack_binary(packet.password))
    head = pack_text(PROTOCOL_NAME) + bytes((PROTOCOL_LEVEL, flags)) + packet.keep_alive_s.to_bytes(2)
    return frame(0x10, head, *fields)


def _encode_connack(packet: ConnAck) -> bytes:
    if not 0 <= packet.code <= 0xFF or (packet.code and packet.session_present):
        raise MqttError(f"CONNACK with code {packet.code}, session present {packet.session_present}")
    return bytes((0x20, 2, packet.session_present, packet.code))


def _encode_publish(packet: Publish) -> bytes:
    check_topic_name(packet.topic)
    check_qos(packet.qos)
    first = 0x30 | packet.qos << 1 | packet.retain | packet.dup << 3
    if packet.qos:
        return frame(first, pack_text(packet.topic), pack_id(packet.packet_id), packet.payload)
    if packet.packet_id or packet.dup:
        raise MqttError("packet id or dup on QoS 0")
    return frame(first, pack_text(packet.topic), packet.payload)


def _encode_subscribe(packet: Subscribe) -> bytes:
    if not packet.filters:
        raise MqttError("SUBSCRIBE without a filter")
    fields: list[bytes] = []
    for topic, qos in packet.filters:
        check_topic_filter(topic)
        check_qos(qos)
        fields += pack_text(topic), qos.to_bytes(1)
    return frame(0x82, pack_id(packet.packet_id), *fields)


def _encode_suback(packet: SubAck) -> bytes:
    check_suback_codes(packet.codes)
    return frame(0x90, pack_id(packet.packet_id), bytes(packet.codes))


def _encode_unsubscribe(packet: Unsubscribe) -> bytes:
    if not packet.topics:
        raise MqttError("UNSUBSCRIBE without a filter")
    for topic in packet.topics:
        check_topic_filter(topic)
    return frame(0xA2, pack_id(packet.packet_id), *map(pack_text, packet.topics))


def _ack_encoder(first: int) -> Callable[[Any], bytes]:
    head = bytes((first, 2))
    return lambda packet: head + pack_id(packet.packet_id)


def _bare_encoder(first: int) -> Callable[[Any], bytes]:
    whole = bytes((first, 0))
    return lambda _packet: whole


_ENCODERS: Mapping[type[Packet], Callable[[Any], bytes]] = {
    Connect: _encode_connect,
    ConnAck: _encode_connack,
    Publish: _encode_publish,
    Subscribe: _encode_subscribe,
    SubAck: _encode_suback,
    Unsubscribe: _encode_unsubscribe,
    PubAck: _ack_encoder(0x40),
    PubRec: _ack_encoder(0x50),
    PubRel: _ack_encoder(0x62),
    PubComp: _ack_encoder(0x70),
    UnsubAck: _ack_encoder(0xB0),
    PingReq: _bare_encoder(0xC0),
    PingResp: _bare_encoder(0xD0),
    Disconnect: _bare_encoder(0xE0),
}

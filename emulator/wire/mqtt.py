"""MQTT 3.1.1 on the wire (OASIS standard of 29 October 2014): every control packet, in both directions.

`encode` turns a packet into bytes, `Decoder` finds packets in a byte stream that may come in any chunks. Both are
strict: what one of them accepts the other does too. Stricter than the standard in one point: a remaining length must
take as few bytes as possible, which only MQTT 5 demands (5.0 section 1.5.5) and everybody does.
"""

from emulator.wire.mqtt_decode import Decoder
from emulator.wire.mqtt_encode import encode
from emulator.wire.mqtt_packets import (
    PACKET_ID_MAX,
    PROTOCOL_LEVEL,
    PROTOCOL_NAME,
    SUBACK_FAILURE,
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
)

__all__ = [
    "PACKET_ID_MAX",
    "PROTOCOL_LEVEL",
    "PROTOCOL_NAME",
    "SUBACK_FAILURE",
    "ConnAck",
    "Connect",
    "Decoder",
    "Disconnect",
    "MqttError",
    "Packet",
    "PingReq",
    "PingResp",
    "PubAck",
    "PubComp",
    "PubRec",
    "PubRel",
    "Publish",
    "SubAck",
    "Subscribe",
    "UnsubAck",
    "Unsubscribe",
    "Will",
    "encode",
]

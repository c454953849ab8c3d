"""What the hub may answer to any bytes at all: said in packets, from the outside, without asking the endpoint.

The first thing wrong ends the connection. What came before it may be answered, in so far as the answer was ready;
nothing that comes after it is.
"""

from collections import Counter
from dataclasses import dataclass, field

from cloud_stub.hub.rules import HubRules, Violation, grant, meaning_of
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
)
from tests.hub.badge import Badge

PACKET_BYTES_MAX = 262_144 + 65_535 + 16


@dataclass(slots=True)
class Expected:
    """`answers` are those that may come, each so many times; `ends`: the hub must hang up."""

    answers: Counter[Packet] = field(default_factory=Counter)
    ends: bool = False
    refused: bool = False
    """A CONNECT was read, which may be refused: whether it must be is for the table to say."""


def expected(data: bytes, badge: Badge, *, logged_in: bool) -> Expected:
    """What may come of these bytes."""
    found, decoder = Expected(), Decoder(PACKET_BYTES_MAX)
    decoder.put(data)
    try:
        while not found.ends and (packet := decoder.take()) is not None:
            if logged_in:
                _after(packet, badge, found)
            else:
                found.refused = isinstance(packet, Connect)
                found.ends = not found.refused or _of_another(packet, badge)
                logged_in = True
    except MqttError:
        found.ends = True
    return found


def _of_another(packet: Packet, badge: Badge) -> bool:
    """This CONNECT cannot be the right one."""
    return isinstance(packet, Connect) and packet.client_id != badge.device_id


def _after(packet: Packet, badge: Badge, found: Expected) -> None:
    match packet:
        case Publish():
            found.ends = isinstance(meaning_of(packet, badge.device_id), Violation)
            if packet.qos and not found.ends:
                found.answers[PubAck(packet.packet_id)] += 1
        case Subscribe(packet_id, filters):
            found.ends = isinstance(grant(filters, badge.device_id, HubRules(badge.hub)), Violation)
            if not found.ends:
                found.answers[SubAck(packet_id, tuple(min(qos, 1) for _, qos in filters))] += 1
        case Unsubscribe(packet_id):
            found.answers[UnsubAck(packet_id)] += 1
        case PingReq():
            found.answers[PingResp()] += 1
        case PubAck():
            pass
        case Disconnect() | _:
            found.ends = True


def complaints(heard: bytes, ended: bool, may: Expected, *, logged_in: bool) -> list[str]:
    """What is wrong with what the hub did."""
    wrong: list[str] = []
    decoder = Decoder(1 << 20)
    try:
        packets = decoder.feed(heard)
    except MqttError as error:
        return [f"the hub sent bytes that are not MQTT: {error}"]
    if decoder.pending_bytes:
        wrong.append("the hub sent half a packet")
    code = 0
    if not logged_in and packets:
        first = packets.pop(0)
        if not isinstance(first, ConnAck) or not may.refused:
            return [*wrong, f"the hub answered {first}"]
        code = first.code
    if code and (packets or not ended):
        wrong.append("the hub went on after it had refused")
    answers = Counter[Packet](packet for packet in packets if not isinstance(packet, Publish))
    if answers - may.answers:
        wrong.append(f"the hub answered {answers - may.answers} that nobody asked for")
    if may.ends and not ended:
        wrong.append("the hub did not hang up")
    if not may.ends and ended and not code:
        wrong.append("the hub hung up without a reason")
    if not ended and (may.answers - answers) and (logged_in or may.refused):
        wrong.append(f"the hub did not answer {may.answers - answers}")
    return wrong

"""The MQTT 3.1.1 codec against itself, against packets made by paho-mqtt and Mosquitto, and against garbage."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    Will,
    encode,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "mqtt"
PAHO: dict[str, str] = json.loads((VECTORS / "paho.json").read_text())
MOSQUITTO: dict[str, str] = json.loads((VECTORS / "mosquitto.json").read_text())

EVENTS = "devices/ZPR000001/messages/events/$.ct=application%2Fjson&$.ce=utf-8&ri=default&ii=AAAAAAAAAAAAAAAAAAAAAA"
METHODS, TWIN, DESIRED = "$iothub/methods/POST/#", "$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#"

BY_PAHO: dict[str, Packet] = {
    "connect": Connect(
        client_id="ZPR000001",
        username="hub.example/ZPR000001/?api-version=2018-06-30",
        password=b"not-a-secret",
        keep_alive_s=300,
        clean_session=False,
        will=Will(EVENTS, b'{"EventType":30}', qos=1),
    ),
    "subscribe": Subscribe(1, ((METHODS, 2), (TWIN, 2), (DESIRED, 2))),
    "publish_qos_0_retained": Publish(EVENTS, b"zero", retain=True),
    "publish_qos_1": Publish(EVENTS, b"one" * 50, qos=1, packet_id=3),
    "publish_qos_2_empty": Publish(EVENTS, b"", qos=2, packet_id=4),
    "pubrel": PubRel(4),
    "puback_9": PubAck(9),
    "pubrec_10": PubRec(10),
    "pubcomp_10": PubComp(10),
    "unsubscribe": Unsubscribe(5, (METHODS, TWIN)),
    "disconnect": Disconnect(),
    "pingreq": PingReq(),
}

BY_MOSQUITTO: dict[str, Packet] = {
    "connack_refused": ConnAck(False, 5),
    "connack_new": ConnAck(False, 0),
    "connack_session_present": ConnAck(True, 0),
    "suback": SubAck(1, (2, 2, 2)),
    "pingresp": PingResp(),
    "puback": PubAck(3),
    "pubrec": PubRec(4),
    "pubcomp": PubComp(4),
    "unsuback": UnsubAck(5),
    "publish_down": Publish("t", b"x", qos=1, packet_id=1),
}

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
names = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=30)
levels = st.sampled_from(["$iothub", "twin", "", "+", "a b", "é"])
filters = st.builds(
    lambda parts, tail: "/".join([*parts, *tail]) or "/",
    st.lists(levels, min_size=1, max_size=4),
    st.sampled_from([[], ["#"]]),
)
ids = st.integers(1, 65_535)
codes = st.lists(st.sampled_from([0, 1, 2, 0x80]), min_size=1, max_size=9).map(tuple)
wills = st.builds(Will, names, st.binary(max_size=50), st.integers(0, 2), st.booleans())


@st.composite
def connects(draw: st.DrawFn) -> Connect:
    username = draw(st.none() | texts)
    password = draw(st.none() | st.binary(max_size=50)) if username is not None else None
    keep_alive_s = draw(st.integers(0, 65_535))
    return Connect(draw(texts), username, password, keep_alive_s, draw(st.booleans()), draw(st.none() | wills))


packets: st.SearchStrategy[Packet] = st.one_of(
    connects(),
    st.builds(ConnAck, st.just(False), st.integers(0, 255)),
    st.just(ConnAck(True, 0)),
    st.builds(Publish, names, st.binary(max_size=300), retain=st.booleans()),
    st.builds(Publish, names, st.binary(max_size=300), st.integers(1, 2), st.booleans(), st.booleans(), ids),
    *(st.builds(kind, ids) for kind in (PubAck, PubRec, PubRel, PubComp, UnsubAck)),
    st.builds(Subscribe, ids, st.lists(st.tuples(filters, st.integers(0, 2)), min_size=1, max_size=5).map(tuple)),
    st.builds(SubAck, ids, codes),
    st.builds(Unsubscribe, ids, st.lists(filters, min_size=1, max_size=5).map(tuple)),
    st.sampled_from([PingReq(), PingResp(), Disconnect()]),
)


def decode_all(data: bytes, *, max_packet_bytes: int = 10_000) -> list[Packet]:
    return Decoder(max_packet_bytes).feed(data)


@pytest.mark.parametrize("name", PAHO)
def test_speaks_as_paho_speaks(name: str) -> None:
    wire = bytes.fromhex(PAHO[name])
    assert decode_all(wire) == [BY_PAHO[name]]
    assert encode(BY_PAHO[name]) == wire


@pytest.mark.parametrize("name", MOSQUITTO)
def test_speaks_as_mosquitto_speaks(name: str) -> None:
    wire = bytes.fromhex(MOSQUITTO[name])
    assert decode_all(wire) == [BY_MOSQUITTO[name]]
    assert encode(BY_MOSQUITTO[name]) == wire


@given(st.lists(packets, max_size=6), st.data())
def test_packets_survive_the_wire_in_any_chunks(sent: list[Packet], data: st.DataObject) -> None:
    wire = b"".join(map(encode, sent))
    decoder, received, at = Decoder(10_000), [], 0
    while at < len(wire):
        size = data.draw(st.integers(1, len(wire)))
        received += decoder.feed(wire[at : at + size])
        at += size
    assert received == sent
    assert decoder.pending_bytes == 0


@given(packets)
def test_packets_survive_the_wire_byte_by_byte(sent: Packet) -> None:
    decoder = Decoder(10_000)
    assert [packet for byte in encode(sent) for packet in decoder.feed(bytes((byte,)))] == [sent]


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_garbage_gives_packets_or_mqtt_error(chunks: list[bytes]) -> None:
    decoder = Decoder(1_000)
    for chunk in chunks:
        try:
            decoder.feed(chunk)
        except MqttError:
            with pytest.raises(MqttError):
                decoder.feed(encode(PingReq()))
            assert decoder.pending_bytes == 0
            return


@given(packets, st.data())
def test_one_spoilt_byte_gives_packets_or_mqtt_error(sent: Packet, data: st.DataObject) -> None:
    wire = bytearray(encode(sent))
    wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        received = decode_all(bytes(wire))
    except MqttError:
        return
    for packet in received:
        if not isinstance(packet, Connect) or (packet.protocol_name, packet.protocol_level) == ("MQTT", 4):
            assert decode_all(encode(packet)) == [packet]


@pytest.mark.parametrize(
    ("fault", "wire"),
    [
        ("packet type 0", "0000"),
        ("packet type 15", "f000"),
        ("reserved flags of PINGREQ", "c100"),
        ("reserved flags of SUBSCRIBE", "800600010001 6100"),
        ("reserved flags of PUBREL", "60020001"),
        ("QoS 3", "3605000161 0001"),
        ("dup on QoS 0", "3803000161"),
        ("remaining length over four bytes", "30ffffffff01"),
        ("remaining length over four bytes, seen before the fifth", "30ffffffff"),
        ("remaining length longer than needed", "c08000"),
        ("PINGREQ with a body", "c00100"),
        ("DISCONNECT with a body", "e00100"),
        ("packet id 0 in PUBLISH", "3205000161 0000"),
        ("packet id 0 in PUBACK", "40020000"),
        ("packet id 0 in SUBSCRIBE", "820600000001 6100"),
        ("PUBACK of one byte", "400101"),
        ("PUBACK of three bytes", "4003000101"),
        ("PUBLISH without a topic", "3000"),
        ("PUBLISH that ends in its topic", "3003000561"),
        ("PUBLISH that ends before its id", "3203000161"),
        ("empty topic", "30020000"),
        ("wildcard + in PUBLISH", "300300012b"),
        ("wildcard # in PUBLISH", "3003000123"),
        ("NUL in a topic", "3003000100"),
        ("topic that is not UTF-8", "30030001ff"),
        ("surrogate in UTF-8", "30050003eda080"),
        ("SUBSCRIBE without a filter", "82020001"),
        ("SUBSCRIBE without a QoS", "82050001000161"),
        ("SUBSCRIBE with QoS 3", "820600010001 6103"),
        ("SUBSCRIBE with reserved bits", "820600010001 6181"),
        ("SUBSCRIBE with # inside", "82080001000323 2f6100"),
        ("SUBSCRIBE with a+", "820700010002612b00"),
        ("SUBSCRIBE with an empty filter", "82050001000000"),
        ("UNSUBSCRIBE without a filter", "a2020001"),
        ("SUBACK without a code", "90020001"),
        ("SUBACK with a reserved code", "9003000103"),
        ("CONNACK with reserved flags", "20020200"),
        ("CONNACK that refuses a session that is present", "20020105"),
        ("CONNACK of one byte", "200100"),
        ("CONNECT with its reserved flag", "100c00044d5154540401003c0000"),
        ("CONNECT with will QoS and no will", "100c00044d5154540408003c0000"),
        ("CONNECT with will QoS 3", "101200044d515454041c003c0000 000161 000162"),
        ("CONNECT with a password only", "100e00044d5154540440003c00000000"),
        ("CONNECT with bytes left over", "100d00044d5154540402003c000000"),
        ("CONNECT that ends before its level", "100600044d515454"),
        ("CONNECT that ends before its keep-alive", "100800044d5154540402"),
        ("CONNECT without a client id", "100a00044d5154540402003c"),
        ("will topic with a wildcard", "101200044d5154540406003c0000 000123 000162"),
    ],
)
def test_refuses_what_the_standard_forbids(fault: str, wire: str) -> None:
    with pytest.raises(MqttError):
        decode_all(bytes.fromhex(wire.replace(" ", "")))


@pytest.mark.parametrize(
    "packet",
    [
        Connect("é" * 40_000),
        Connect("a", "b", keep_alive_s=65_536),
        Connect("a", password=b"alone"),
        Connect("a", protocol_level=5),
        Connect("a", will=Will("#", b"")),
        Connect("a", will=Will("t", b"", qos=3)),
        ConnAck(True, 5),
        ConnAck(False, 256),
        Publish("", b""),
        Publish("a/+", b""),
        Publish("a\0", b""),
        Publish("\ud800", b""),
        Publish("a", b"", packet_id=1),
        Publish("a", b"", dup=True),
        Publish("a", b"", qos=1),
        Publish("a", b"", qos=5, packet_id=1),
        Publish("a", b"", qos=1, packet_id=65_536),
        PubAck(0),
        Subscribe(1, ()),
        Subscribe(1, (("a#", 0),)),
        Subscribe(1, (("a", 3),)),
        SubAck(1, ()),
        SubAck(1, (3,)),
        Unsubscribe(1, ()),
    ],
    ids=repr,
)
def test_does_not_say_what_the_standard_forbids(packet: Packet) -> None:
    with pytest.raises(MqttError):
        encode(packet)


@pytest.mark.parametrize(
    ("wire", "name", "level"),
    [
        ("100d00044d51545405020 03c00 0000".replace(" ", ""), "MQTT", 5),
        ("100e00064d5149736470030200 3c0000".replace(" ", ""), "MQIsdp", 3),
    ],
)
def test_another_protocol_level_is_told_apart_so_that_it_can_be_refused(wire: str, name: str, level: int) -> None:
    [packet] = decode_all(bytes.fromhex(wire))
    assert packet == Connect("", keep_alive_s=0, protocol_name=name, protocol_level=level)


def test_a_packet_may_be_as_long_as_the_limit_and_no_longer() -> None:
    wire = encode(Publish("t", bytes(995)))
    assert len(decode_all(wire, max_packet_bytes=len(wire))) == 1
    with pytest.raises(MqttError, match="at most"):
        decode_all(wire[:3], max_packet_bytes=len(wire) - 1)  # known from the header, before any of it is kept


def test_packets_ahead_of_bad_bytes_can_be_taken() -> None:
    decoder = Decoder(1_000)
    decoder.put(encode(PingReq()) + b"\xff\xff")
    assert decoder.take() == PingReq()
    with pytest.raises(MqttError):
        decoder.take()


def test_the_largest_remaining_lengths_of_each_width_round_trip() -> None:
    for size in (127, 128, 16_383, 16_384, 2_097_151, 2_097_152):
        packet = Publish("t", bytes(size - 3))
        assert decode_all(encode(packet), max_packet_bytes=3_000_000) == [packet]


def test_secrets_stay_out_of_repr() -> None:
    connect = Connect("id", "user", b"hunter2", will=Will("t", b"hunter2"))
    assert "hunter2" not in repr(connect)
    assert "hunter2" not in repr(Publish("t", b"hunter2"))

"""The MQTT 5 codec against itself, against packets made by paho-mqtt and Mosquitto, and against garbage."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.bus.wire5 import (
    ConnAck5,
    Connect5,
    Decoder5,
    Disconnect5,
    FromClient,
    FromServer,
    PubAck5,
    Publish5,
    SubAck5,
    Subscribe5,
    encode,
)
from emulator.wire.mqtt import MqttError, PingReq, PingResp

VECTORS = Path(__file__).parents[3] / "vectors" / "mqtt"
PAHO: dict[str, str] = json.loads((VECTORS / "paho5.json").read_text())
MOSQUITTO: dict[str, str] = json.loads((VECTORS / "mosquitto5.json").read_text())

PAIRS = (("$.ct", "application/json"), ("ø", "€"), ("twice", "1"), ("twice", "2"))

BY_PAHO: dict[str, FromClient] = {
    "connect": Connect5("cloud", 2, 1_048_576),
    "subscribe": Subscribe5(1, "hub/+/d2c", 300),
    "publish_qos_0": Publish5("hub/x/d2c", b"zero", PAIRS),
    "publish_qos_1": Publish5("hub/x/d2c", b"one" * 50, PAIRS, packet_id=3),
    "puback_9": PubAck5(9),
    "pingreq": PingReq(),
    "disconnect": Disconnect5(),
}
BY_MOSQUITTO: dict[str, FromServer] = {
    "connack_refused": ConnAck5(0x87, receive_maximum=65_535),
    "connack": ConnAck5(0, receive_maximum=20),
    "puback_nobody_listens": PubAck5(3, 0x10),
    "suback": SubAck5(1, (1,)),
    "pingresp": PingResp(),
    "puback": PubAck5(3),
    "publish_down": Publish5("hub/x/d2c", b"one" * 50, PAIRS, packet_id=1, subscriptions=(300,)),
    "disconnect_malformed": Disconnect5(0x81),
}

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=20)
pairs = st.lists(st.tuples(texts, texts), max_size=4).map(tuple)
ids = st.integers(1, 65_535)
codes = st.integers(0, 255)
numbers = st.lists(st.integers(1, 268_435_455), max_size=3).map(tuple)
both_ways = st.one_of(
    st.builds(Publish5, names, st.binary(max_size=200), pairs, subscriptions=numbers),
    st.builds(Publish5, names, st.binary(max_size=200), pairs, ids, st.booleans(), numbers),
    st.builds(PubAck5, ids, codes),
    st.builds(Disconnect5, codes, texts),
)


def decode(data: bytes, max_packet_bytes: int = 10_000) -> list[FromServer]:
    return Decoder5(max_packet_bytes).feed(data)


@pytest.mark.parametrize("name", PAHO)
def test_speaks_as_paho_speaks(name: str) -> None:
    assert encode(BY_PAHO[name]).hex() == PAHO[name]


@pytest.mark.parametrize("name", MOSQUITTO)
def test_understands_mosquitto(name: str) -> None:
    assert decode(bytes.fromhex(MOSQUITTO[name])) == [BY_MOSQUITTO[name]]


@given(st.lists(both_ways, max_size=5), st.integers(1, 50))
def test_what_is_sent_is_what_arrives_in_any_chunks(packets: list[Publish5 | PubAck5 | Disconnect5], size: int) -> None:
    stream, decoder = b"".join(map(encode, packets)), Decoder5(10_000)
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [packet for chunk in chunks for packet in decoder.feed(chunk)] == packets


@given(st.sampled_from([0x20, 0x30, 0x32, 0x40, 0x90, 0xD0, 0xE0]) | st.integers(0, 255), st.binary(max_size=60))
def test_garbage_is_an_mqtt_error_and_nothing_else(first: int, body: bytes) -> None:
    with contextlib.suppress(MqttError):
        decode(bytes((first, len(body))) + body)


@given(st.sampled_from(sorted(MOSQUITTO)), st.data())
def test_damage_is_an_mqtt_error_and_nothing_else(name: str, data: st.DataObject) -> None:
    wire = bytearray.fromhex(MOSQUITTO[name])
    wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MqttError):
        decode(bytes(wire))


def test_what_a_server_may_say_about_its_limits() -> None:
    properties = bytes.fromhex("2100102700001000130005120001612a001f00026e6f220000")
    wire = bytes((0x20, 3 + len(properties), 0, 0, len(properties))) + properties
    assert decode(wire) == [ConnAck5(0, 16, 4096, 5, "no")]


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        ("20020000", "malformed CONNACK"),  # MQTT 3.1.1
        ("2003010500", "malformed CONNACK"),  # a session, although we start clean
        ("2006000003" + "210000", "allows nothing"),
        ("2009000006" + "210001" + "210001", "twice"),
        ("32090001740001" + "03230001", "property 0x23"),  # a topic alias, which we do not allow
        ("3006000174" + "020b00", "identifier 0"),
        ("3004000174" + "05", "inside its properties"),
        ("3006000174" + "010300", "inside a field"),
        ("34060001740001" + "00", "unknown packet type"),  # QoS 2
        ("4005000100" + "0001", "property 0x01|inside|left over"),
        ("40020000", "packet id 0"),
        ("9003000100", "without a code"),
        ("d00100", "PINGRESP"),
        ("f00118", "unknown packet type"),  # AUTH
    ],
)
def test_what_breaks_the_protocol(wire: str, why: str) -> None:
    data = bytes.fromhex(wire)
    with pytest.raises(MqttError, match=why):
        decode(data)


@pytest.mark.parametrize(
    "packet",
    [
        Publish5("a/+", b""),
        Publish5("a", b"", (("n", "\0"),)),
        Publish5("a", b"", (("n", "x" * 70_000),)),
        Publish5("a", b"", packet_id=70_000),
        Publish5("a", b"", dup=True),
        Subscribe5(1, "a#", 1),
        Subscribe5(1, "a", 0),
        Subscribe5(1, "a", 268_435_456),
        Connect5(keep_alive_s=-1),
        Connect5(max_packet_bytes=0),
        Connect5(session_s=-1),
        Disconnect5(session_s=1 << 32),
        PubAck5(1, 256),
    ],
)
def test_what_mqtt_cannot_carry_is_not_sent(packet: FromClient) -> None:
    with pytest.raises(MqttError):
        encode(packet)


def test_a_packet_that_is_too_long_is_refused_before_it_is_whole() -> None:
    with pytest.raises(MqttError, match="at most 100"):
        decode(encode(Publish5("t", bytes(200)))[:10], max_packet_bytes=100)

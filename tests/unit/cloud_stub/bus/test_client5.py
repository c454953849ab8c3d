"""The MQTT 5 client machine: a server's bytes go in, events and bytes come out."""

import pytest

from cloud_stub.bus.client5 import Acked, Client5, Connected, Ended, Granted, Received
from cloud_stub.bus.wire5 import Connect5, Disconnect5, PubAck5, Publish5, Subscribe5, encode
from emulator.wire.mqtt import MqttError, PingReq

ACCEPTED = bytes.fromhex("2003000000")
PINGRESP = bytes.fromhex("d000")


def connected(connack: bytes = ACCEPTED, window: int = 10) -> Client5[str]:
    client = Client5[str](window=window, keep_alive_s=30)
    client.output()
    client.receive(connack)
    return client


def sent(client: Client5[str], packet_id: int, topic: str = "t", *, dup: bool = False) -> bytes:
    return encode(Publish5(topic, b"", packet_id=packet_id, dup=dup))


def test_it_connects_before_it_publishes() -> None:
    client = Client5[str](keep_alive_s=30)
    assert client.output() == encode(Connect5("", 30, 1_048_576)) and client.output() == b""
    assert client.room == 0
    assert client.receive(ACCEPTED) == [Connected(30)]
    assert client.room == 512


def test_the_servers_limits_hold() -> None:
    # Receive Maximum 2, Maximum Packet Size 20, Server Keep Alive 5
    client = connected(bytes.fromhex("200e00000b" + "210002" + "2700000014" + "130005"))
    assert client.room == 2
    with pytest.raises(MqttError, match="the broker takes 20"):
        client.publish("long", "t", bytes(20), ())
    assert (client.room, client.unacked, client.output()) == (2, [], b"")
    assert Client5[str]().receive(bytes.fromhex("2006000003130005")) == [Connected(5)]


def test_acknowledgements_come_back_with_their_tags_and_make_room() -> None:
    client = connected(window=2)
    client.publish("a", "t", b"", ())
    client.publish("b", "t", b"", (), dup=True)
    assert client.output() == sent(client, 1) + sent(client, 2, dup=True)
    assert client.room == 0
    assert client.receive(encode(PubAck5(2)) + encode(PubAck5(1, 0x97))) == [Acked("b", 0), Acked("a", 0x97)]
    assert client.room == 2


def test_what_came_before_the_end_still_counts() -> None:
    client = connected()
    for tag in "abc":
        client.publish(tag, "t", b"", ())
    events = client.receive(encode(PubAck5(1)) + encode(Disconnect5(0x8B, "restart")) + encode(PubAck5(2)))
    assert events == [Acked("a", 0), Ended("the broker disconnects with 0x8b restart")]
    assert client.unacked == ["b", "c"]


def test_packet_ids_come_round_and_leave_out_those_in_use() -> None:
    client = connected()
    client.publish("slow", "t", b"", ())
    for number in range(2, 65_536):
        client.publish("quick", "t", b"", ())
        assert client.receive(encode(PubAck5(number))) == [Acked("quick", 0)]
    client.output()
    client.publish("next", "t", b"", ())
    assert client.output() == sent(client, 2)


def test_messages_are_acknowledged_and_handed_on() -> None:
    client = connected()
    one, zero = Publish5("t", b"1", (("n", "v"),), 7, subscriptions=(1, 2)), Publish5("t", b"0")
    assert client.receive(encode(one) + encode(zero)) == [Received(one), Received(zero)]
    assert client.output() == encode(PubAck5(7))


def test_a_subscription_is_granted_or_refused_by_its_number() -> None:
    client = connected()
    client.subscribe("hub/#", 5)
    assert client.output() == encode(Subscribe5(1, "hub/#", 5))
    assert client.receive(bytes.fromhex("9004" + "0001" + "00" + "87")) == [Granted(5, 0x87)]


def test_silence_between_two_pings_is_noticed() -> None:
    client = connected()
    assert client.tick() and client.output() == encode(PingReq())
    client.receive(PINGRESP)
    assert client.tick()
    assert not client.tick()


def test_goodbye() -> None:
    client = connected()
    client.disconnect()
    assert client.output() == encode(Disconnect5())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (ACCEPTED, "second CONNACK"),
        (encode(PubAck5(1)), "PUBACK for nothing"),
        (bytes.fromhex("9004" + "0001" + "00" + "00"), "SUBACK for nothing"),
        (b"\0\0", "unknown packet type"),
    ],
)
def test_a_server_that_breaks_the_protocol_is_left(data: bytes, why: str) -> None:
    (end,) = connected().receive(data)
    assert isinstance(end, Ended) and why in end.reason


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (bytes.fromhex("2003008700"), "the broker refuses with 0x87"),
        (PINGRESP, "the first packet is not CONNACK"),
        (bytes.fromhex("20020000"), "malformed CONNACK"),
    ],
)
def test_a_server_that_does_not_take_us(data: bytes, why: str) -> None:
    assert Client5[str]().receive(data) == [Ended(why)]

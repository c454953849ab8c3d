"""The MQTT client machine against a server that is played by hand."""

import pytest

from emulator.machines.mqtt import (
    Acked,
    Connected,
    Ended,
    EndReason,
    MqttClient,
    Received,
)
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

CONNECT = Connect("ZPR000001", "hub/ZPR000001/?api-version=2018-06-30", b"token", 300, will=Will("t", b"gone", 1))


def new_client(connect: Connect = CONNECT, inflight_max: int = 16) -> MqttClient:
    return MqttClient(connect, max_packet_bytes=10_000, ack_timeout_s=10.0, inflight_max=inflight_max)


def open_client(connect: Connect = CONNECT, inflight_max: int = 16, now: float = 0.0) -> MqttClient:
    client = new_client(connect, inflight_max)
    client.start(now)
    client.output()
    assert client.receive(encode(ConnAck(False, 0)), now) == [Connected(False)]
    return client


def said(machine: MqttClient) -> list[Packet]:
    return Decoder(10_000).feed(machine.output())


@pytest.mark.parametrize(
    "packet",
    [
        CONNECT,
        ConnAck(False, 0),
        PubRec(1),
        PubComp(1),
        Subscribe(1, (("t", 0),)),
        Unsubscribe(1, ("t",)),
        PingReq(),
        Disconnect(),
    ],
    ids=repr,
)
def test_a_client_refuses_packets_that_no_server_of_it_sends(packet: Packet) -> None:
    [ended] = open_client().receive(encode(packet), 1.0)
    assert isinstance(ended, Ended) and ended.reason is EndReason.PROTOCOL


def test_a_client_wants_connack_first() -> None:
    client = new_client()
    client.start(0.0)
    assert client.receive(encode(PingResp()), 1.0) == [Ended(EndReason.PROTOCOL, "PingResp instead of CONNACK")]


def test_no_connack_in_time() -> None:
    client = new_client()
    assert client.deadline() is None and client.output() == b""
    client.start(100.0)
    assert client.deadline() == 110.0
    assert client.wake(109.9) == []
    assert client.wake(110.0) == [Ended(EndReason.NO_CONNACK)]
    assert client.deadline() is None


def test_pings_go_at_half_the_keep_alive_whatever_else_is_sent() -> None:
    client = open_client()
    client.publish("t", b"busy", qos=0, now=149.0)
    client.output()
    assert client.deadline() == 150.0
    assert client.wake(150.0) == []
    assert said(client) == [PingReq()]
    assert client.receive(encode(PingResp()), 151.0) == []
    assert client.deadline() == 151.0 + 150.0


def test_a_peer_that_does_not_answer_a_ping_is_dead() -> None:
    client = open_client()
    client.wake(150.0)
    assert client.deadline() == 160.0
    client.receive(encode(Publish("t", b"still talking")), 155.0)
    assert client.wake(160.0) == [Ended(EndReason.NO_PINGRESP)]


def test_without_keep_alive_a_client_has_nothing_to_wait_for() -> None:
    assert open_client(Connect("id", keep_alive_s=0)).deadline() is None


@pytest.mark.parametrize("ask", ["subscribe", "unsubscribe"])
def test_an_unanswered_request_ends_the_session(ask: str) -> None:
    client = open_client()
    if ask == "subscribe":
        client.subscribe([("t", 1)], 5.0)
    else:
        client.unsubscribe(["t"], 5.0)
    client.unsubscribe(["later"], 7.0)
    assert client.deadline() == 15.0
    assert client.wake(14.9) == []
    assert client.wake(15.0) == [Ended(EndReason.NO_ACK)]


def test_the_earliest_of_ping_and_request_is_the_deadline() -> None:
    client = open_client()
    client.subscribe([("t", 1)], 145.0)
    assert client.deadline() == 150.0
    client.wake(150.0)
    assert client.deadline() == 155.0


def test_a_publish_may_wait_for_its_ack_for_ever() -> None:
    client = open_client(Connect("id", keep_alive_s=0))
    packet_id = client.publish("t", b"", qos=1, now=0.0)
    assert client.deadline() is None
    assert client.receive(encode(PubAck(packet_id)), 1e6) == [Acked(packet_id)]


def test_suback_must_have_a_code_for_each_filter() -> None:
    client = open_client()
    packet_id = client.subscribe([("a", 1), ("b", 1)], 0.0)
    assert client.receive(encode(SubAck(packet_id, (1,))), 0.0) == [
        Ended(EndReason.PROTOCOL, "1 SUBACK codes for 2 filters")
    ]


def test_unsuback_does_not_answer_subscribe() -> None:
    client = open_client()
    packet_id = client.subscribe([("a", 1)], 0.0)
    [ended] = client.receive(encode(UnsubAck(packet_id)), 0.0)
    assert isinstance(ended, Ended) and ended.reason is EndReason.PROTOCOL


def test_a_qos_2_message_is_delivered_once() -> None:
    client = open_client()
    message = encode(Publish("t", b"x", qos=2, packet_id=7))
    assert client.receive(message, 0.0) == [Received("t", b"x", 2, False, False)]
    assert client.receive(encode(Publish("t", b"x", qos=2, dup=True, packet_id=7)), 1.0) == []
    assert client.receive(encode(PubRel(7)), 2.0) == []
    assert said(client) == [PubRec(7), PubRec(7), PubComp(7)]
    assert client.receive(message, 3.0) == [Received("t", b"x", 2, False, False)]  # the id may be used again


def test_a_server_that_never_releases_qos_2_messages_is_cut_off() -> None:
    client = open_client(inflight_max=2)
    for packet_id in (1, 2):
        client.receive(encode(Publish("t", b"", qos=2, packet_id=packet_id)), 0.0)
    [ended] = client.receive(encode(Publish("t", b"", qos=2, packet_id=3)), 0.0)
    assert isinstance(ended, Ended) and ended.reason is EndReason.PROTOCOL


def test_disconnect_says_something_only_to_those_who_listen() -> None:
    client = open_client()
    client.disconnect(1.0)
    assert said(client) == [Disconnect()]
    for unheard in (new_client(), new_client()):
        unheard.disconnect(0.0)
        assert unheard.output() == b"" and unheard.ended


def test_connect_is_checked_at_once() -> None:
    with pytest.raises(MqttError):
        new_client(Connect("id", password=b"without user name"))


def test_machines_keep_nothing_of_the_password() -> None:
    client = new_client()
    client.start(0.0)
    assert b"token" in client.output()
    slots = [getattr(client, name) for name in MqttClient.__slots__]
    assert "token" not in repr(slots)

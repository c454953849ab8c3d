"""The MQTT server machine against a client that is played by hand."""

import pytest

from emulator.machines.mqtt import (
    Acked,
    ConnectAsked,
    Disconnected,
    Ended,
    EndReason,
    MqttServer,
    NotConnected,
    PingAsked,
    PublishAsked,
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
    UnsubAck,
    Will,
    encode,
)

CONNECT = Connect("ZPR000001", "hub/ZPR000001/?api-version=2018-06-30", b"token", 300, will=Will("t", b"gone", 1))
CAP_S = 1767.0


def new_server(now: float = 0.0, inflight_max: int = 16) -> MqttServer:
    return MqttServer(
        max_packet_bytes=10_000, connect_timeout_s=60.0, keep_alive_cap_s=CAP_S, now=now, inflight_max=inflight_max
    )


def open_server(keep_alive_s: int = 300, inflight_max: int = 16) -> MqttServer:
    server = new_server(inflight_max=inflight_max)
    connect = Connect("ZPR000001", keep_alive_s=keep_alive_s)
    assert server.receive(encode(connect), 0.0) == [ConnectAsked(connect)]
    server.accept(False, 0.0)
    assert server.output() == encode(ConnAck(False, 0))
    return server


def said(machine: MqttServer) -> list[Packet]:
    return Decoder(10_000).feed(machine.output())


def test_what_is_sent_ahead_of_connack_is_read_after_accept() -> None:
    server = new_server()
    ahead = encode(CONNECT) + encode(Publish("t", b"early", 1, packet_id=1)) + encode(PingReq())
    assert server.receive(ahead, 1.0) == [ConnectAsked(CONNECT)]
    assert server.receive(encode(Disconnect()), 2.0) == []
    server.accept(True, 3.0)
    assert server.deadline() == 3.0
    assert server.wake(3.0) == [PublishAsked(Publish("t", b"early", 1, packet_id=1)), PingAsked(), Disconnected()]
    assert said(server) == [ConnAck(True, 0)]


def test_what_is_sent_ahead_of_a_refusal_is_never_read() -> None:
    server = new_server()
    server.receive(encode(CONNECT) + encode(Publish("t", b"early")), 1.0)
    server.refuse(5)
    assert server.deadline() is None
    assert server.wake(2.0) == []
    assert server.receive(encode(PingReq()), 2.0) == []
    assert said(server) == [ConnAck(False, 5)]


def test_only_so_much_may_come_ahead_of_connack() -> None:
    server = new_server()
    server.receive(encode(CONNECT), 0.0)
    assert server.receive(bytes(10_000), 0.0) == []
    assert server.receive(b"\0", 0.0) == [Ended(EndReason.PROTOCOL, "too much ahead of CONNACK")]


def test_another_protocol_level_is_the_owners_to_refuse() -> None:
    server = new_server()
    mqtt_5 = bytes.fromhex("100d00044d5154540502003c000000")
    [asked] = server.receive(mqtt_5, 0.0)
    assert isinstance(asked, ConnectAsked) and asked.connect.protocol_level == 5
    server.refuse(1)
    assert said(server) == [ConnAck(False, 1)]


@pytest.mark.parametrize("packet", [PingReq(), Publish("t", b""), ConnAck(False, 0)], ids=repr)
def test_the_first_packet_must_be_connect(packet: Packet) -> None:
    [ended] = new_server().receive(encode(packet), 0.0)
    assert isinstance(ended, Ended) and ended.reason is EndReason.PROTOCOL


def test_a_second_connect_ends_the_connection() -> None:
    assert open_server().receive(encode(CONNECT), 1.0) == [Ended(EndReason.PROTOCOL, "second CONNECT")]


@pytest.mark.parametrize(
    "packet", [ConnAck(False, 0), SubAck(1, (0,)), PingResp(), UnsubAck(1), PubRec(1), PubRel(1), PubComp(1)], ids=repr
)
def test_a_server_refuses_packets_that_no_client_of_it_sends(packet: Packet) -> None:
    server = open_server()
    [ended] = server.receive(encode(packet) + encode(PingReq()), 1.0)
    assert isinstance(ended, Ended) and ended.reason is EndReason.PROTOCOL
    assert server.output() == b""  # what follows is not read


def test_no_connect_in_time() -> None:
    server = new_server(now=100.0)
    assert server.deadline() == 160.0
    server.receive(encode(CONNECT)[:-1], 150.0)  # most of a CONNECT is none
    assert server.wake(160.0) == [Ended(EndReason.NO_CONNECT)]


@pytest.mark.parametrize(
    ("keep_alive_s", "silence_s"), [(300, 450.0), (60, 90.0), (1177, 1765.5), (2200, CAP_S), (0, CAP_S)]
)
def test_a_silent_client_is_cut_off(keep_alive_s: int, silence_s: float) -> None:
    server = open_server(keep_alive_s)
    assert server.deadline() == silence_s
    server.receive(encode(PingReq()), 10.0)  # any packet counts
    assert server.deadline() == 10.0 + silence_s
    server.receive(encode(Publish("t", b"")), 20.0)
    server.receive(encode(PingReq())[:1], 30.0)  # half a packet does not
    assert server.deadline() == 20.0 + silence_s
    assert server.wake(20.0 + silence_s) == [Ended(EndReason.KEEP_ALIVE)]


def test_a_client_that_waits_for_a_decision_is_not_kept_for_ever() -> None:
    server = new_server()
    server.receive(encode(CONNECT), 0.0)
    assert server.wake(450.0) == [Ended(EndReason.KEEP_ALIVE)]


def test_a_ping_is_answered_when_the_owner_says_so() -> None:
    server = open_server()
    assert server.receive(encode(PingReq()), 1.0) == [PingAsked()]
    assert said(server) == []
    server.pong()
    assert said(server) == [PingResp()]
    server.receive(encode(Disconnect()), 2.0)
    server.pong()
    assert said(server) == []


def test_a_message_that_is_sent_again_keeps_its_id_and_has_dup() -> None:
    server = open_server()
    packet_id = server.publish("t", b"a", qos=1, now=0.0)
    server.publish_again(packet_id, "t", b"a")
    assert said(server) == [
        Publish("t", b"a", 1, packet_id=packet_id),
        Publish("t", b"a", 1, dup=True, packet_id=packet_id),
    ]
    assert server.receive(encode(PubAck(packet_id)), 1.0) == [Acked(packet_id)]
    with pytest.raises(MqttError, match="not in flight"):
        server.publish_again(packet_id, "t", b"a")
    server.receive(encode(Disconnect()), 2.0)
    with pytest.raises(NotConnected):
        server.publish_again(packet_id, "t", b"a")

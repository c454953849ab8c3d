import asyncio
import json
from typing import Any

import pytest

from cloud_stub.bus.api import Kind, topic_of
from cloud_stub.hub.endpoint import PACKET_BYTES_MAX
from cloud_stub.hub.outstanding import READ_AHEAD_MAX
from emulator.errors import NetError, NetReason
from emulator.wire.address import Address
from emulator.wire.mqtt import (
    ConnAck,
    Connect,
    Disconnect,
    PingReq,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
)

SERIAL = "ZPR000001"
EVENTS = f"devices/{SERIAL}/messages/events/$.ct=application%2Fjson&ri=default"
METHODS = "$iothub/methods/POST/#"
TWIN = "$iothub/twin/res/#"
DESIRED = "$iothub/twin/PATCH/properties/desired/#"


def message(packet_id: int, payload: bytes = b"{}", **changes: Any) -> Publish:
    return Publish(EVENTS, payload, qos=1, packet_id=packet_id, **changes)


def connection_states(hub: Any) -> list[tuple[str, str]]:
    return [tuple(json.loads(delivery.payload).values()) for delivery in hub.of("connection")]


def test_a_charger_logs_in_and_its_telemetry_goes_to_the_bus(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS, TWIN, DESIRED)
        device.send(message(7, b'{"Type":2}'))
        assert await device.next(PubAck) == PubAck(7)
        (delivery,) = hub.of("d2c")
        assert delivery.topic == f"hub/{SERIAL}/d2c" and delivery.payload == b'{"Type":2}'
        properties = dict(delivery.properties)
        assert properties["$.ct"] == "application/json" and properties["ri"] == "default"
        assert properties["iothub-connection-device-id"] == SERIAL
        assert connection_states(hub) == [("connected", "")]

    hub.run(story)


def test_the_history_has_every_step_and_no_secret(hub) -> None:
    async def story(hub):
        device = await hub.online()
        device.send(Disconnect())
        await device.closed
        records = hub.endpoint.history_json()
        assert [record["data"]["event"] for record in records] == ["tcp", "tls", "connect", "close"]
        assert records[1]["reply"].startswith("TLSv1.2 ") and records[1]["data"]["server_name"]
        assert (records[2]["request"], records[2]["reply"]) == (f"CONNECT {SERIAL}", "0: accepted")
        assert records[3]["reply"] == "disconnect"
        shown = json.dumps(records)
        assert "Signature" not in shown and "sig=" not in shown and hub.endpoint.connections == 0

    hub.run(story)


def test_a_connection_that_never_speaks_tls_is_in_the_history(hub) -> None:
    async def story(hub):
        host = hub.net.host("visitor", "10.0.9.9")
        stream = await host.connect(Address("10.0.0.2", 8883), timeout_s=5)
        stream.write(b"GET / HTTP/1.0\r\n\r\n")
        await hub.sleep(1)
        assert [record["data"]["event"] for record in hub.endpoint.history_json()] == ["tcp", "tls"]
        assert hub.events("tls")[0]["data"]["reason"] == "tls_broken" and hub.endpoint.connections == 0

    hub.run(story)


def test_a_wrong_key_is_refused_with_5_and_the_connection_closed(hub) -> None:
    async def story(hub):
        device = await hub.device(key=b"x" * 32)
        assert await device.login() == ConnAck(False, 5)
        await device.closed
        assert hub.events("connect")[0]["reply"] == "5: wrong_signature"
        assert hub.events("close")[0]["reply"] == "refused" and hub.of("connection") == []

    hub.run(story)


def test_what_comes_in_one_piece_with_connect_is_handled(hub) -> None:
    async def story(hub):
        device = await hub.device()
        device.send(device.connect_packet, Subscribe(1, ((METHODS, 2),)), message(2))
        assert await device.next(ConnAck) == ConnAck(False, 0)
        assert await device.next(SubAck) == SubAck(1, (1,))
        assert await device.next(PubAck) == PubAck(2)

    hub.run(story)


def test_a_twin_get_is_answered_with_the_settings(hub) -> None:
    async def story(hub):
        device = await hub.online(TWIN)
        device.send(Publish("$iothub/twin/GET/?$rid=4200", b"", qos=1, packet_id=3))
        reply = await device.next(Publish)
        acked = await device.next(PubAck)
        assert reply.topic == "$iothub/twin/res/200/?$rid=4200" and acked == PubAck(3)
        twin = json.loads(reply.payload)
        assert twin["desired"]["$version"] == 1 and twin["desired"]["Settings"]["711"] == "1"

    hub.run(story)


def test_reported_properties_are_kept_and_a_bad_patch_is_answered_with_400(hub) -> None:
    async def story(hub):
        device = await hub.online(TWIN)
        device.send(Publish("$iothub/twin/PATCH/properties/reported/?$rid=1", b'{"fw":"5.3"}'))
        assert (await device.next(Publish)).topic == "$iothub/twin/res/204/?$rid=1&$version=2"
        device.send(Publish("$iothub/twin/PATCH/properties/reported/?$rid=2", b"nonsense"))
        assert (await device.next(Publish)).topic == "$iothub/twin/res/400/?$rid=2"
        assert hub.memory.twins.get(SERIAL).reported.data == {"fw": "5.3"}

    hub.run(story)


def test_a_twin_reply_is_lost_without_the_subscription(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        device.send(Publish("$iothub/twin/GET/?$rid=1", b""))
        assert await device.quiet()

    hub.run(story)


def test_a_change_of_desired_properties_reaches_those_who_asked_for_it(hub) -> None:
    async def story(hub):
        device = await hub.online(DESIRED)
        await hub.bus.publish(topic_of(SERIAL, Kind.DESIRED), b'{"Settings":{"511":"10"}}')
        pushed = await device.next(Publish)
        assert pushed.topic == "$iothub/twin/PATCH/properties/desired/?$version=2" and pushed.qos == 0
        assert json.loads(pushed.payload) == {"Settings": {"511": "10"}, "$version": 2}
        await hub.bus.publish(topic_of(SERIAL, Kind.DESIRED), b"nonsense")
        await hub.bus.publish(topic_of("ZPR999999", Kind.DESIRED), b"{}")
        assert await device.quiet() and hub.registry.get("ZPR999999") is None

    hub.run(story)


def test_a_change_while_offline_is_in_the_next_get_and_not_pushed(hub) -> None:
    async def story(hub):
        await hub.bus.publish(topic_of(SERIAL, Kind.DESIRED), b'{"Settings":{"511":"10"}}')
        device = await hub.online(DESIRED, TWIN)
        assert await device.quiet()
        device.send(Publish("$iothub/twin/GET/?$rid=1", b" "))
        assert json.loads((await device.next(Publish)).payload)["desired"]["$version"] == 2

    hub.run(story)


@pytest.mark.parametrize(
    ("offence", "reason"),
    [
        (Publish(EVENTS, b"", qos=2, packet_id=1), "qos_2"),
        (Publish("devices/ZPR000002/messages/events/", b""), "foreign_topic"),
        (Subscribe(1, (("devices/ZPR000002/#", 1),)), "foreign_filter"),
        (Connect(SERIAL), "protocol"),
        (Publish(EVENTS, bytes(262_145)), "oversize"),
    ],
)
def test_a_broken_rule_closes_without_a_word_and_the_will_is_published(hub, offence, reason) -> None:
    async def story(hub):
        device = await hub.online(will=Will(EVENTS, b"broke", qos=1))
        device.send(offence)
        await device.closed
        (delivery,) = hub.of("d2c")
        assert delivery.payload == b"broke" and dict(delivery.properties)["iothub-MessageType"] == "Will"
        assert connection_states(hub) == [("connected", ""), ("disconnected", reason)]
        assert hub.events("close")[-1]["reply"] == reason

    hub.run(story)


def test_bytes_that_are_not_mqtt_and_packets_that_are_too_long_close(hub) -> None:
    async def story(hub):
        for nonsense in (b"\x00" * 4, b"\x30" + b"\xff" * 3 + b"\x7f"):
            device = await hub.online()
            device.send_bytes(nonsense)
            await device.closed
        assert {record["reply"] for record in hub.events("close")} == {"malformed"}
        assert PACKET_BYTES_MAX < 1 << 20

    hub.run(story)


def test_no_will_after_a_disconnect_nor_for_a_foreign_topic(hub) -> None:
    async def story(hub):
        polite = await hub.online(will=Will(EVENTS, b"broke"))
        polite.send(Disconnect())
        await polite.closed
        foreign = await hub.online(will=Will("devices/ZPR000002/messages/events/", b"broke"))
        foreign.abort()
        await hub.sleep(1)
        assert hub.of("d2c") == [] and connection_states(hub)[-1] == ("disconnected", "peer")

    hub.run(story)


def test_the_newer_of_two_connections_wins(hub) -> None:
    async def story(hub):
        old = await hub.online(METHODS, will=Will(EVENTS, b"broke"))
        new = await hub.online(METHODS)
        error = await old.closed
        assert error is not None and error.reason is NetReason.RESET
        assert connection_states(hub) == [("connected", ""), ("disconnected", "takeover"), ("connected", "")]
        assert [delivery.payload for delivery in hub.of("d2c")] == [b"broke"]
        new.send(message(1))
        await new.next(PubAck)
        assert hub.endpoint.online == hub.endpoint.connections == 1

    hub.run(story)


def test_silence_beyond_the_keep_alive_ends_the_connection_and_any_packet_prevents_that(hub) -> None:
    async def story(hub):
        device = await hub.online(keep_alive_s=20, will=Will(EVENTS, b"broke"))
        await hub.sleep(25)
        await device.in_step()
        began = hub.now()
        await device.closed
        assert 30 <= hub.now() - began <= 32
        assert hub.events("close")[0]["reply"] == "keep_alive" and len(hub.of("d2c")) == 1

    hub.run(story)


def test_who_does_not_say_connect_is_closed_after_a_minute(hub) -> None:
    async def story(hub):
        device = await hub.device()
        await device.closed
        assert 60 <= hub.now() <= 62 and hub.events("close")[0]["reply"] == "no_connect"

    hub.run(story)


def test_a_token_that_runs_out_ends_the_connection_after_the_grace(hub) -> None:
    async def story(hub):
        device = await hub.device(valid_s=100)
        await device.login(keep_alive_s=0)
        await device.closed
        assert 700 <= hub.now() <= 702 and hub.events("close")[0]["reply"] == "sas_expired"

    hub.run(story)


def test_a_kept_session_remembers_its_subscriptions_and_a_clean_one_forgets_them(hub) -> None:
    async def story(hub):
        first = await hub.online(DESIRED, clean_session=False)
        first.abort()
        second = await hub.device()
        assert await second.login(clean_session=False) == ConnAck(True, 0)
        await hub.bus.publish(topic_of(SERIAL, Kind.DESIRED), b'{"a":1}')
        await second.next(Publish)
        second.send(Unsubscribe(9, (DESIRED,)))
        assert await second.next(UnsubAck) == UnsubAck(9)
        await hub.bus.publish(topic_of(SERIAL, Kind.DESIRED), b'{"a":2}')
        assert await second.quiet()
        third = await hub.device()
        assert await third.login(clean_session=True) == ConnAck(False, 0)
        fourth = await hub.device()
        assert await fourth.login(clean_session=False) == ConnAck(False, 0)

    hub.run(story)


def test_pubacks_come_in_order_and_only_when_the_bus_has_the_message(hub) -> None:
    async def story(hub):
        device = await hub.online(TWIN)
        device.send(*(message(n) for n in range(1, 40)))
        device.send(Publish("$iothub/twin/GET/?$rid=1", b"", qos=1, packet_id=40))
        answers = [await device.next(PubAck | Publish) for _ in range(41)]
        assert [answer.packet_id for answer in answers if isinstance(answer, PubAck)] == list(range(1, 41))
        assert len(hub.of("d2c")) == 39

    hub.run(story)


def test_pubacks_keep_the_order_even_if_the_bus_does_not(hub) -> None:
    async def story(hub):
        device = await hub.online()
        hub.bus.held = []
        device.send(message(1), message(2), message(3))
        assert await device.quiet()
        first, second, third = hub.bus.held
        third.set_result(None)
        second.set_result(None)
        assert await device.quiet()
        first.set_result(None)
        assert [(await device.next(PubAck)).packet_id for _ in range(3)] == [1, 2, 3]

    hub.run(story)


@pytest.mark.parametrize(("crowded", "read_ahead"), [(False, READ_AHEAD_MAX), (True, 1)])
def test_a_slow_bus_holds_the_device_back(hub, crowded: bool, read_ahead: int) -> None:
    async def story(hub):
        device = await hub.online()
        hub.bus.held, hub.bus.crowded = [], crowded
        for number in range(1, 41):
            device.send(message(number))
            await hub.sleep(0.1)
        assert len(hub.bus.held) == read_ahead and device.unsent_bytes > 0
        for number in range(40):
            hub.bus.held[number].set_result(None)
            await hub.sleep(0.1)
        assert [(await device.next(PubAck)).packet_id for _ in range(40)] == list(range(1, 41))
        assert device.unsent_bytes == 0

    hub.run(story)


def test_when_the_bus_is_gone_the_connection_closes_and_nothing_is_acknowledged(hub) -> None:
    async def story(hub):
        device = await hub.online()
        await hub.bus.stop()
        device.send(message(1))
        await device.closed
        assert hub.events("close")[0]["reply"] == "bus_lost"

    hub.run(story)


def test_a_device_that_does_not_read_is_not_read_either(hub) -> None:
    async def story(hub):
        device = await hub.online()
        device.pause()
        for _ in range(200):
            device.send(*(PingReq() for _ in range(1000)))
            await hub.sleep(0.01)
        assert device.unsent_bytes > 50_000 and hub.endpoint.online == 1
        device.resume()
        await hub.sleep(5)
        assert device.unsent_bytes == 0

    hub.run(story)


def test_a_device_that_does_not_read_is_sent_no_more_than_a_little(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        device.pause()
        (session,) = hub.endpoint._sessions
        for number in range(400):
            hub.bus.publish(topic_of(SERIAL, Kind.METHOD, "fill", str(number)), bytes(4_000))
            await hub.sleep(0.01)
        held = session._stream.unsent_bytes
        assert session._write_paused and held < 100_000
        hub.bus.publish(topic_of(SERIAL, Kind.METHOD, "late", "1"), b"1")
        await hub.sleep(0.1)
        assert session._stream.unsent_bytes == held
        device.resume()
        await hub.sleep(1)
        hub.bus.publish(topic_of(SERIAL, Kind.METHOD, "again", "2"), b"2")
        while "again" not in (await device.next(Publish)).topic:
            pass

    hub.run(story)


def test_stop_ends_every_connection_and_the_endpoint_can_start_again(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        half_open = await hub.device()
        hub.inject(kind="hub.silent", count=1)
        mute = asyncio.ensure_future(hub.device())
        await hub.sleep(1)
        await hub.endpoint.stop()
        await asyncio.gather(device.closed, half_open.closed)
        with pytest.raises(NetError):
            await mute
        assert hub.endpoint.connections == hub.endpoint.online == 0
        await hub.endpoint.start(hub.net.host("other", "10.0.0.2"))
        await hub.online(METHODS)

    hub.run(story)


def test_a_connection_to_an_endpoint_that_stops_is_not_said_to_be_one_too_many(hub) -> None:
    async def story(hub):
        await hub.endpoint.stop()
        host = hub.net.host("late", "10.0.2.1")
        await hub.net.host_at("10.0.0.2").listen(8883, hub.endpoint._serve)
        (await host.connect(Address("10.0.0.2", 8883), timeout_s=5)).abort()
        assert hub.events("tcp")[-1]["reply"] == "reset: stopped"

    hub.run(story)

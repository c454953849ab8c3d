"""Cloud-to-device messages on their way to a device, over MQTT (iothub-mqtt.md section 1.12)."""

from dataclasses import replace

import pytest

from cloud_stub.bus.api import Kind, topic_of
from cloud_stub.hub.outstanding import DELIVERIES_MAX
from cloud_stub.state.c2d import Ack, C2dMessage
from emulator.wire.iothub import parse_bag
from emulator.wire.mqtt import ConnAck, Disconnect, PubAck, Publish, SubAck, Subscribe, Unsubscribe

SERIAL = "ZPR000001"
DEVICEBOUND = f"devices/{SERIAL}/messages/devicebound/#"
EMBEDDED = "devices/+/messages/devicebound/#"
LOCK_S = 60.0


async def first_session(hub) -> None:
    """Nothing is queued before a device has had its first session."""
    device = await hub.online()
    device.send(Disconnect())
    await device.closed


def queue(hub, body: bytes, message_id: str = "m1", ack: Ack = Ack.NONE, **bag: str) -> None:
    assert hub.memory.queues.send(SERIAL, C2dMessage(body, message_id, tuple(bag.items()), ack))
    hub.bus.publish(topic_of(SERIAL, Kind.C2D_READY), b"")


def waiting(hub) -> int:
    return hub.memory.queues.count(SERIAL)


def test_a_message_that_waits_comes_after_the_subscription_and_puback_completes_it(hub) -> None:
    async def story(hub):
        await first_session(hub)
        queue(hub, b"hello", ack=Ack.FULL, colour="light blue")
        device = await hub.online(DEVICEBOUND)
        got = await device.next(Publish)
        prefix = f"devices/{SERIAL}/messages/devicebound/"
        first = f"%24.to=%2Fdevices%2F{SERIAL}%2Fmessages%2FdeviceBound&%24.mid=m1&colour=light%20blue&iothub-ack=full"
        assert got.topic == prefix + first
        assert (got.payload, got.qos, got.dup) == (b"hello", 1, False)
        assert waiting(hub) == 1
        device.send(PubAck(got.packet_id))
        await device.in_step()
        assert waiting(hub) == 0

    hub.run(story)


def test_a_message_for_a_device_that_is_online_comes_at_once_in_order(hub) -> None:
    async def story(hub):
        device = await hub.online(EMBEDDED)
        for number in range(5):
            queue(hub, b"%d" % number, f"m{number}")
        got = [await device.next(Publish) for _ in range(5)]
        assert [each.payload for each in got] == [b"0", b"1", b"2", b"3", b"4"]
        assert len({each.packet_id for each in got}) == 5

    hub.run(story)


def test_anybody_may_send_a_message_over_the_bus(hub) -> None:
    async def story(hub):
        device = await hub.online(DEVICEBOUND)
        bag = (("$.mid", "own"), ("$.ct", "text/plain"), ("n", ""))
        await hub.bus.publish(topic_of(SERIAL, Kind.DEVICEBOUND), b"hi", bag)
        got = await device.next(Publish)
        assert parse_bag(got.topic.rpartition("/")[2]) == {
            "$.to": f"/devices/{SERIAL}/messages/deviceBound",
            "$.mid": "own",
            "$.ct": "text/plain",
            "n": "",
        }
        await hub.bus.publish(topic_of(SERIAL, Kind.DEVICEBOUND), b"hi", (("$.exp", "soon"),))
        await hub.bus.publish(topic_of("ZPR999999", Kind.DEVICEBOUND), b"hi")
        assert await device.quiet() and hub.intake.refused == 2

    hub.run(story)


def test_a_subscription_of_qos_0_completes_on_send(hub) -> None:
    async def story(hub):
        device = await hub.online()
        device.send(Subscribe(1, ((DEVICEBOUND, 0),)))
        assert await device.next(SubAck) == SubAck(1, (0,))
        queue(hub, b"a")
        got = await device.next(Publish)
        assert (got.qos, got.packet_id, waiting(hub)) == (0, 0, 0)

    hub.run(story)


def test_what_is_not_acknowledged_comes_again_with_dup_and_its_packet_id(hub) -> None:
    async def story(hub):
        device = await hub.online(DEVICEBOUND, keep_alive_s=0)
        queue(hub, b"a")
        first = await device.next(Publish)
        began = hub.now()
        again = await device.next(Publish, within_s=100)
        assert LOCK_S <= hub.now() - began <= LOCK_S + 1
        assert (again.dup, again.packet_id, again.payload) == (True, first.packet_id, b"a")
        device.send(PubAck(again.packet_id))
        await device.in_step()
        assert waiting(hub) == 0 and await device.quiet(2 * LOCK_S)

    hub.run(story)


def test_what_a_lost_connection_had_comes_again_on_the_next_with_dup(hub) -> None:
    async def story(hub):
        device = await hub.online(DEVICEBOUND)
        queue(hub, b"a")
        queue(hub, b"b", "m2")
        first = await device.next(Publish)
        await device.next(Publish)
        device.send(PubAck(first.packet_id))
        await device.in_step()
        device.abort()
        device = await hub.online(DEVICEBOUND)
        again = await device.next(Publish)
        assert (again.payload, again.dup) == (b"b", True)
        assert await device.quiet()

    hub.run(story)


def test_a_message_that_is_never_acknowledged_ends_as_a_dead_letter(hub) -> None:
    async def story(hub):
        device = await hub.online(DEVICEBOUND, keep_alive_s=0)
        queue(hub, b"a", ack=Ack.NEGATIVE)
        deliveries = [await device.next(Publish, within_s=100) for _ in range(10)]
        assert [each.dup for each in deliveries] == [False] + [True] * 9
        assert await device.quiet(2 * LOCK_S) and waiting(hub) == 0
        batch = hub.memory.queues.feedback.receive()
        assert batch is not None and "DeliveryCountExceeded" in str(batch)

    hub.run(story)


def test_a_message_that_waits_too_long_for_an_offline_device_expires_by_itself(hub) -> None:
    async def story(hub):
        await first_session(hub)
        queue(hub, b"a", ack=Ack.NEGATIVE)
        await hub.sleep(3_700)
        assert waiting(hub) == 0 and "Expired" in str(hub.memory.queues.feedback.receive())

    hub.run(story)


def test_a_kept_session_gets_what_waits_right_after_connack(hub) -> None:
    async def story(hub):
        first = await hub.online(DEVICEBOUND, clean_session=False)
        first.abort()
        await hub.sleep(1)
        queue(hub, b"a")
        second = await hub.device()
        second.send(replace(second.connect_packet, clean_session=False))
        assert await second.next(ConnAck) == ConnAck(True, 0)
        assert (await second.next(Publish)).payload == b"a"

    hub.run(story)


def test_nothing_comes_after_unsubscribe_nor_to_a_clean_session_without_a_subscription(hub) -> None:
    async def story(hub):
        device = await hub.online(DEVICEBOUND)
        device.send(Unsubscribe(2, (DEVICEBOUND,)))
        await hub.sleep(1)
        queue(hub, b"a")
        device = await hub.online()
        assert await device.quiet() and waiting(hub) == 1

    hub.run(story)


def test_only_so_many_are_in_flight_and_each_puback_makes_room(hub) -> None:
    async def story(hub):
        device = await hub.online(DEVICEBOUND)
        for number in range(DELIVERIES_MAX + 5):
            queue(hub, b"x", f"m{number}")
        got = [await device.next(Publish) for _ in range(DELIVERIES_MAX)]
        assert await device.quiet()
        device.send(*(PubAck(each.packet_id) for each in got[:3]))
        assert len([await device.next(Publish) for _ in range(3)]) == 3 and await device.quiet()

    hub.run(story)


def test_a_device_that_does_not_read_is_not_sent_everything(hub) -> None:
    async def story(hub):
        device = await hub.online(DEVICEBOUND)
        device.pause()
        for number in range(50):
            queue(hub, bytes(60_000), f"m{number}")
        await hub.sleep(1)
        (session,) = hub.endpoint._sessions
        assert session._stream.unsent_bytes < 200_000
        device.resume()
        for _ in range(DELIVERIES_MAX):
            got = await device.next(Publish)
            device.send(PubAck(got.packet_id))
        await device.next(Publish)

    hub.run(story)


@pytest.mark.parametrize("copies", [1, 2])
def test_the_fault_that_delivers_again(hub, copies: int) -> None:
    async def story(hub):
        device = await hub.online(DEVICEBOUND)
        if copies == 2:
            hub.inject(kind="hub.c2d_again", count=1)
        queue(hub, b"a")
        queue(hub, b"b", "m2")
        got = [await device.next(Publish) for _ in range(copies + 1)]
        assert [each.payload for each in got] == [b"a"] * copies + [b"b"]
        assert [each.dup for each in got] == [False, True, False] if copies == 2 else [False, False]

    hub.run(story)


def test_a_device_with_special_characters_in_its_id_gets_messages(hub) -> None:
    async def story(hub):
        hub.registry.produce("a+b#c%d")
        device = await hub.online("devices/a%2Bb%23c%25d/messages/devicebound/#", serial="a+b#c%d")
        await hub.bus.publish(topic_of("a+b#c%d", Kind.DEVICEBOUND), b"hi")
        assert (await device.next(Publish)).topic.startswith("devices/a%2Bb%23c%25d/messages/devicebound/")
        device.send(Publish("devices/a%2Bb%23c%25d/messages/events/", b"up", qos=1, packet_id=1))
        await device.next(PubAck)
        (up,) = hub.of("d2c")
        assert up.topic == "hub/a%2Bb%23c%25d/d2c"
        assert dict(up.properties)["iothub-connection-device-id"] == "a+b#c%d"

    hub.run(story)

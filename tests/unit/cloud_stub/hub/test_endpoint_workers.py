"""Two endpoints of one hub, as its workers are: one memory, one bus, and nothing else in common."""

import json

from cloud_stub.bus.api import Kind, topic_of
from cloud_stub.state.c2d import C2dMessage
from emulator.wire.mqtt import ConnAck, PubAck, Publish, SubAck, Subscribe

SERIAL = "ZPR000001"
FIRST, SECOND = "10.0.2.1", "10.0.2.2"
DEVICEBOUND = f"devices/{SERIAL}/messages/devicebound/#"
DESIRED = "$iothub/twin/PATCH/properties/desired/#"


async def two_workers(hub):
    workers = [hub.new_endpoint(label) for label in ("1.1", "2.1")]
    for worker, address in zip(workers, (FIRST, SECOND), strict=True):
        await worker.start(hub.net.host(f"worker {address}", address))
    return workers


async def online(hub, at: str, *filters: str, **changes):
    device = await hub.device(at=at)
    assert (await device.login(*filters, **changes)).code == 0
    return device


def test_a_device_that_connects_to_another_worker_leaves_the_first(hub) -> None:
    async def story(hub):
        first, second = await two_workers(hub)
        old = await online(hub, FIRST)
        new = await online(hub, SECOND)
        await old.closed
        assert (first.online, second.online) == (0, 1) and await new.quiet()
        assert hub.methods.online(SERIAL)  # news of the old connection's end come after those of the new one
        notices = [(json.loads(each.payload)["state"], dict(each.properties)) for each in hub.of("connection")]
        states = [(state, properties["hub-worker"], properties["hub-session"]) for state, properties in notices]
        assert states == [("connected", "1.1", "1"), ("connected", "2.1", "2"), ("disconnected", "1.1", "1")]
        new.abort()
        await hub.sleep(1)
        assert not hub.methods.online(SERIAL)
        for worker in (first, second):
            await worker.stop()

    hub.run(story)


def test_a_stored_session_and_what_waits_for_it_are_found_by_the_other_worker(hub) -> None:
    async def story(hub):
        first, second = await two_workers(hub)
        old = await online(hub, FIRST, DEVICEBOUND, DESIRED, clean_session=False)
        hub.memory.queues.send(SERIAL, C2dMessage(b"a", "m1"))
        hub.bus.publish(topic_of(SERIAL, Kind.C2D_READY), b"")
        assert (await old.next(Publish)).dup is False
        old.abort()
        await hub.sleep(1)
        new = await hub.device(at=SECOND)
        assert await new.login(clean_session=False) == ConnAck(True, 0)
        again = await new.next(Publish)
        assert (again.payload, again.dup) == (b"a", True)
        new.send(PubAck(again.packet_id))
        await hub.bus.publish(topic_of(SERIAL, Kind.DESIRED), b'{"n":1}')
        assert json.loads((await new.next(Publish)).payload) == {"n": 1, "$version": 2}
        assert await new.quiet() and hub.memory.queues.count(SERIAL) == 0
        for worker in (first, second):
            await worker.stop()

    hub.run(story)


def test_a_subscription_of_qos_0_is_kept_as_such(hub) -> None:
    async def story(hub):
        workers = await two_workers(hub)
        old = await online(hub, FIRST, clean_session=False)
        old.send(Subscribe(1, ((DEVICEBOUND, 0),)))
        assert await old.next(SubAck) == SubAck(1, (0,))
        old.abort()
        new = await hub.device(at=SECOND)
        assert await new.login(clean_session=False) == ConnAck(True, 0)
        await hub.bus.publish(topic_of(SERIAL, Kind.DEVICEBOUND), b"a")
        assert (await new.next(Publish)).qos == 0
        for worker in workers:
            await worker.stop()

    hub.run(story)

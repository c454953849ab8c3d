"""Changes and calls on their way down that are lost, doubled or out of order."""

import asyncio
import json

import pytest

from cloud_stub.bus.api import Kind, topic_of
from emulator.wire.mqtt import Publish

SERIAL = "ZPR000001"
METHODS = "$iothub/methods/POST/#"
DESIRED = "$iothub/twin/PATCH/properties/desired/#"
TWIN = "$iothub/twin/res/#"


async def change(hub, number: int) -> None:
    await hub.bus.publish(topic_of(SERIAL, Kind.DESIRED), json.dumps({"n": number}).encode())
    await hub.sleep(0.1)


async def versions(device, count: int) -> list[int]:
    pushes = [await device.next(Publish) for _ in range(count)]
    assert [push.topic.rpartition("=")[2] for push in pushes] == [
        str(json.loads(push.payload)["$version"]) for push in pushes
    ]
    return [json.loads(push.payload)["$version"] for push in pushes]


@pytest.mark.parametrize(
    ("kind", "pushed"),
    [("hub.desired_lost", [3, 4]), ("hub.desired_twice", [2, 2, 3, 4]), ("hub.desired_out_of_order", [3, 2, 4])],
)
def test_changes_are_lost_doubled_or_out_of_order(hub, kind: str, pushed: list[int]) -> None:
    async def story(hub):
        device = await hub.online(DESIRED, TWIN)
        hub.inject(kind=kind, count=1)
        for number in range(3):
            await change(hub, number)
        assert await versions(device, len(pushed)) == pushed and await device.quiet()
        device.send(Publish("$iothub/twin/GET/?$rid=1", b""))
        twin = json.loads((await device.next(Publish)).payload)
        assert twin["desired"]["$version"] == 4 and twin["desired"]["n"] == 2

    hub.run(story)


def test_a_method_that_is_sent_twice_is_answered_once(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        hub.inject(kind="hub.method_twice", count=1)
        call = asyncio.ensure_future(hub.methods.invoke(SERIAL, "reboot", {}))
        first, second = await device.next(Publish), await device.next(Publish)
        assert first.topic == second.topic and first.payload == second.payload
        rid = first.topic.rpartition("=")[2]
        device.send(Publish(f"$iothub/methods/res/200/?$rid={rid}", b'"first"'))
        device.send(Publish(f"$iothub/methods/res/500/?$rid={rid}", b'"second"'))
        result = await call
        assert (result.status, result.payload) == (200, "first")
        assert await device.quiet()

    hub.run(story)

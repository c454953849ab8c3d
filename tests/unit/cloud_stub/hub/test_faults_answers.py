"""Answers of the hub that are lost, late or wrong, as a device sees them."""

import json

import pytest

from emulator.errors import UsageError
from emulator.wire.mqtt import PingReq, PingResp, PubAck, Publish

SERIAL = "ZPR000001"
EVENTS = f"devices/{SERIAL}/messages/events/"
TWIN = "$iothub/twin/res/#"
GET = Publish("$iothub/twin/GET/?$rid=7", b"")
PATCH = Publish("$iothub/twin/PATCH/properties/reported/?$rid=8", b'{"a":1}')


def message(packet_id: int, payload: bytes = b"{}") -> Publish:
    return Publish(EVENTS, payload, qos=1, packet_id=packet_id)


def test_a_late_puback_holds_back_those_behind_it(hub) -> None:
    async def story(hub):
        device = await hub.online()
        hub.inject(kind="hub.delay_puback", delay_s=20.0, count=1)
        began = hub.now()
        device.send(message(1), message(2))
        assert await device.next(PubAck, within_s=30) == PubAck(1)
        assert 20 <= hub.now() - began <= 20.1
        assert await device.next(PubAck) == PubAck(2)
        assert len(hub.of("d2c")) == 2

    hub.run(story)


@pytest.mark.parametrize("publishes", [1, 3])
def test_the_connection_closes_with_its_nth_message_which_the_hub_has(hub, publishes: int) -> None:
    async def story(hub):
        hub.inject(kind="hub.close_after", publishes=publishes, count=1)
        device = await hub.online()
        for number in range(1, publishes):
            device.send(message(number))
            await device.next(PubAck)
        device.send(message(publishes))
        await device.closed
        assert len(hub.of("d2c")) == publishes and hub.events("close")[0]["reply"] == "injected"
        device = await hub.online()
        device.send(*(message(number) for number in range(1, 10)))
        assert len([await device.next(PubAck) for _ in range(9)]) == 9

    hub.run(story)


def test_a_used_up_quota_closes_and_takes_nothing(hub) -> None:
    async def story(hub):
        hub.inject(kind="hub.quota", count=1)
        device = await hub.online()
        device.send(message(1))
        await device.closed
        assert hub.of("d2c") == [] and hub.events("close")[0]["reply"] == "quota"

    hub.run(story)


@pytest.mark.parametrize("status", [429, 500])
def test_twin_requests_are_answered_with_an_error_and_not_served(hub, status: int) -> None:
    async def story(hub):
        device = await hub.online(TWIN)
        hub.inject(kind="hub.twin_status", status=status, count=2)
        device.send(GET, PATCH)
        topics = [(await device.next(Publish)).topic for _ in range(2)]
        assert topics == [f"$iothub/twin/res/{status}/?$rid=7", f"$iothub/twin/res/{status}/?$rid=8"]
        device.send(GET)
        twin = json.loads((await device.next(Publish)).payload)
        assert twin["reported"] == {"$version": 1}

    hub.run(story)


def test_a_twin_request_that_is_never_answered_is_served_all_the_same(hub) -> None:
    async def story(hub):
        device = await hub.online(TWIN)
        hub.inject(kind="hub.twin_silent", request="patch")
        device.send(PATCH)
        assert await device.quiet()
        device.send(GET)
        assert json.loads((await device.next(Publish)).payload)["reported"] == {"a": 1, "$version": 2}

    hub.run(story)


def test_an_oversize_reply_is_json_all_the_same(hub) -> None:
    async def story(hub):
        device = await hub.online(TWIN)
        hub.inject(kind="hub.oversize_reply", size_bytes=300_000, count=1)
        device.send(GET)
        reply = await device.next(Publish)
        assert len(reply.payload) == 300_000 and "desired" in json.loads(reply.payload)

    hub.run(story)


def test_pings_are_answered_late(hub) -> None:
    async def story(hub):
        device = await hub.online()
        hub.inject(kind="hub.late_pingresp", delay_s=45.0, count=1)
        began = hub.now()
        device.send(PingReq())
        await device.next(PingResp, within_s=60)
        assert 45 <= hub.now() - began <= 45.1
        await device.in_step()
        hub.inject(kind="hub.late_pingresp", delay_s=5.0)
        device.send(PingReq())
        await hub.sleep(1)
        device.abort()
        await hub.sleep(60)

    hub.run(story)


@pytest.mark.parametrize(
    ("fault", "key"),
    [
        ({"kind": "hub.delay_puback", "delay_s": 0.0}, "delay_s"),
        ({"kind": "hub.delay_puback", "delay_s": float("inf")}, "delay_s"),
        ({"kind": "hub.close_after", "publishes": 0}, "publishes"),
        ({"kind": "hub.twin_status", "status": 200}, "status"),
        ({"kind": "hub.twin_silent", "request": "put"}, "request"),
        ({"kind": "hub.oversize_reply", "size_bytes": 1 << 30}, "size_bytes"),
        ({"kind": "hub.clock_skew", "offset_s": 1e12}, "offset_s"),
        ({"kind": "hub.token_cut", "after_s": -1.0}, "after_s"),
        ({"kind": "hub.device_disabled", "count": 1}, "count"),
    ],
)
def test_bounds_are_named(hub, fault, key) -> None:
    async def story(hub):
        with pytest.raises(UsageError, match=key):
            hub.inject(**fault)

    hub.run(story)

"""A hub of a small tier under load, as devices see it."""

import pytest

from cloud_stub.hub.throttle import BURST_S, LINE_S, Capacity, Operation, Tier
from emulator.wire.mqtt import ConnAck, PubAck, Publish

SERIAL = "ZPR000001"
EVENTS = f"devices/{SERIAL}/messages/events/"
TWIN = "$iothub/twin/res/#"
S1 = Capacity(Tier.S1)


def use_up(hub, operation: Operation, *, wait_s: float = 0.0) -> None:
    """Others have used the burst, and wait in line for so long."""
    rate = S1.rate(operation)
    assert hub.throttle.wait_s(operation, rate * (BURST_S + wait_s)) == pytest.approx(wait_s)


def message(packet_id: int, payload: bytes = b"{}") -> Publish:
    return Publish(EVENTS, payload, qos=1, packet_id=packet_id)


def test_pubacks_get_slow_before_the_connection_closes(hub_with) -> None:
    async def story(hub):
        device = await hub.online()
        use_up(hub, Operation.D2C, wait_s=10.0)
        began = hub.now()
        device.send(message(1))
        await device.next(PubAck, within_s=15)
        assert 9.9 <= hub.now() - began <= 10.1 and len(hub.of("d2c")) == 1
        hub.throttle.wait_s(Operation.D2C, 100 * LINE_S)
        device.send(message(2))
        await device.closed
        assert hub.events("close")[0]["reply"] == "throttled" and len(hub.of("d2c")) == 1

    hub_with(capacity=S1).run(story)


def test_logins_wait_in_line_and_then_find_the_door_closed(hub_with) -> None:
    async def story(hub):
        use_up(hub, Operation.CONNECT, wait_s=3.0)
        device = await hub.device()
        began = hub.now()
        device.send(device.connect_packet, message(1))
        assert await device.next(ConnAck) == ConnAck(False, 0)
        assert 2.9 <= hub.now() - began <= 3.1
        await device.next(PubAck)
        hub.throttle.wait_s(Operation.CONNECT, 100 * LINE_S)
        late = await hub.device()
        late.send(late.connect_packet)
        await late.closed
        assert hub.events("connect")[-1]["reply"] == "none: throttled"

    hub_with(capacity=S1).run(story)


def test_a_client_that_leaves_the_line_is_not_let_in(hub_with) -> None:
    async def story(hub):
        use_up(hub, Operation.CONNECT, wait_s=3.0)
        device = await hub.device()
        device.send(device.connect_packet)
        await hub.sleep(1)
        device.abort()
        await hub.sleep(5)
        assert hub.endpoint.online == 0 and hub.events("connect") == []

    hub_with(capacity=S1).run(story)


@pytest.mark.parametrize(
    ("operation", "request_", "good"),
    [
        (Operation.TWIN_READ, Publish("$iothub/twin/GET/?$rid=1", b""), "200"),
        (Operation.TWIN_UPDATE, Publish("$iothub/twin/PATCH/properties/reported/?$rid=1", b"{}"), "204"),
    ],
)
def test_twin_requests_wait_and_are_then_answered_with_429(hub_with, operation, request_, good) -> None:
    async def story(hub):
        device = await hub.online(TWIN)
        use_up(hub, operation, wait_s=2.0)
        began = hub.now()
        device.send(request_)
        assert (await device.next(Publish)).topic.startswith(f"$iothub/twin/res/{good}/")
        assert 1.9 <= hub.now() - began <= 2.1
        hub.throttle.wait_s(operation, S1.rate(operation) * LINE_S)
        device.send(request_)
        assert (await device.next(Publish)).topic == "$iothub/twin/res/429/?$rid=1"

    hub_with(capacity=S1).run(story)


def test_the_daily_quota_closes_and_lets_nobody_in_until_midnight(hub_with) -> None:
    async def story(hub):
        device = await hub.online()
        assert hub.throttle.spend(4_096 * 399_999)
        device.send(message(1))
        await device.next(PubAck)
        device.send(message(2))
        await device.closed
        late = await hub.device()
        late.send(late.connect_packet)
        await late.closed
        assert [record["reply"] for record in hub.events("close")] == ["quota", "quota"]
        await hub.sleep(12 * 3_600)
        assert (await hub.online()) is not None

    hub_with(capacity=S1).run(story)

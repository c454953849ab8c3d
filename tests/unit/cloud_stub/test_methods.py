import asyncio
import json

import pytest

from cloud_stub.bus import ERROR, Kind, topic_of
from cloud_stub.methods import IN_FLIGHT_MAX, MethodError, MethodFault, MethodResult, connection_state
from emulator.wire.mqtt import PubAck, Publish

SERIAL = "ZPR000001"
METHODS = "$iothub/methods/POST/#"


async def failure(call) -> MethodFault:
    with pytest.raises(MethodError) as caught:
        await call
    return caught.value.fault


async def serve(device, *answers: tuple[str, bytes]) -> Publish:
    """Answer one call with each (status, body)."""
    call = await device.next(Publish)
    rid = call.topic.partition("$rid=")[2]
    for number, (status, body) in enumerate(answers, 1):
        device.send(Publish(f"$iothub/methods/res/{status}/?$rid={rid}", body, qos=1, packet_id=number))
        await device.next(PubAck)
    return call


def test_a_call_goes_down_as_qos_0_and_its_answer_comes_back(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        async with asyncio.TaskGroup() as group:
            result = group.create_task(hub.methods.invoke(SERIAL, "501", ["16", "4"]))
            call = await serve(device, ("200", b""))
        assert call.topic.startswith("$iothub/methods/POST/501/?$rid=") and call.qos == 0
        assert json.loads(call.payload) == ["16", "4"] and result.result() == MethodResult(200, None)
        assert [delivery.topic.rpartition("/")[0] for delivery in hub.of("method") + hub.of("method-response")] == [
            f"hub/{SERIAL}/method/501",
            f"hub/{SERIAL}/method-response/200",
        ]

    hub.run(story)


@pytest.mark.parametrize(
    ("answers", "result"),
    [
        ([("-2", b"")], MethodResult(-2, None)),
        ([("500", b'{"why":1}')], MethodResult(500, {"why": 1})),
        ([("200", b"[Device]\n")], MethodResult(200, "[Device]\n")),
        ([("200", b"1"), ("400", b"2")], MethodResult(200, 1)),
    ],
)
def test_the_first_answer_counts_whatever_it_says(hub, answers, result) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        async with asyncio.TaskGroup() as group:
            call = group.create_task(hub.methods.invoke(SERIAL, "300"))
            await serve(device, *answers)
        assert call.result() == result

    hub.run(story)


def test_a_status_that_is_no_integer_is_the_callers_error_only(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        async with asyncio.TaskGroup() as group:
            fault = group.create_task(failure(hub.methods.invoke(SERIAL, "502")))
            await serve(device, ("fine", b""))
        assert fault.result() is MethodFault.BAD_ARGUMENT and not device.closed.done()

    hub.run(story)


def test_who_is_offline_or_has_not_subscribed_is_not_online(hub) -> None:
    async def story(hub):
        assert await failure(hub.methods.invoke(SERIAL, "502")) is MethodFault.NOT_ONLINE
        assert hub.now() == 0
        device = await hub.online()
        assert hub.methods.online(SERIAL)
        assert await failure(hub.methods.invoke(SERIAL, "502")) is MethodFault.NOT_ONLINE
        device.abort()
        await hub.sleep(1)
        assert not hub.methods.online(SERIAL)

    hub.run(story)


def test_no_answer_in_time_and_the_answer_that_comes_late(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        began = hub.now()
        assert await failure(hub.methods.invoke(SERIAL, "502", None, 7)) is MethodFault.TIMED_OUT
        assert hub.now() - began == pytest.approx(7)
        await serve(device, ("200", b""))
        assert not device.closed.done()

    hub.run(story)


def test_a_device_that_goes_away_ends_its_calls(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        async with asyncio.TaskGroup() as group:
            fault = group.create_task(failure(hub.methods.invoke(SERIAL, "502")))
            await device.next(Publish)
            device.abort()
        assert fault.result() is MethodFault.DISCONNECTED

    hub.run(story)


def test_too_many_calls_at_once_are_refused_and_room_comes_back(hub) -> None:
    async def story(hub):
        await hub.online(METHODS)
        async with asyncio.TaskGroup() as group:
            waiting = [
                group.create_task(failure(hub.methods.invoke(SERIAL, "502", None, 5))) for _ in range(IN_FLIGHT_MAX)
            ]
            await hub.sleep(1)
            assert await failure(hub.methods.invoke(SERIAL, "502")) is MethodFault.TOO_MANY
        assert {call.result() for call in waiting} == {MethodFault.TIMED_OUT}
        assert await failure(hub.methods.invoke(SERIAL, "502", None, 5)) is MethodFault.TIMED_OUT

    hub.run(story)


@pytest.mark.parametrize("name", ["", "a/b", "a+b", "#", "x" * 70_000])
def test_names_that_mqtt_cannot_carry_and_payloads_that_are_too_large(hub, name: str) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        expected = MethodFault.TIMED_OUT if len(name) > 65_000 else MethodFault.BAD_ARGUMENT
        assert await failure(hub.methods.invoke(SERIAL, name, None, 5)) is expected
        assert await failure(hub.methods.invoke(SERIAL, "1", "x" * 131_073)) is MethodFault.TOO_LARGE
        assert await device.quiet()

    hub.run(story)


def test_any_client_of_the_bus_can_call_and_sees_the_answer_with_its_own_rid(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        hub.bus.publish(topic_of(SERIAL, Kind.METHOD, "502", "my rid & more"), b"null")
        await serve(device, ("200", b""))
        (answer,) = hub.of("method-response")
        assert answer.topic == f"hub/{SERIAL}/method-response/200/my%20rid%20%26%20more"

    hub.run(story)


def test_nonsense_on_the_bus_harms_nobody(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        async with asyncio.TaskGroup() as group:
            result = group.create_task(hub.methods.invoke(SERIAL, "502"))
            call = await device.next(Publish)
            (asked,) = hub.of("method")
            rid = asked.topic.rpartition("/")[2]
            for status, properties in (("fine", ()), ("200", ((ERROR, "what"),)), ("404", ((ERROR, "1"),))):
                await hub.bus.publish(topic_of(SERIAL, Kind.METHOD_RESPONSE, status, rid), b"", properties)
            await hub.bus.publish(topic_of("ZPR000002", Kind.METHOD_RESPONSE, "200", rid), b"")
            await hub.bus.publish(topic_of(SERIAL, Kind.CONNECTION), b"[]")
            await hub.bus.publish("hub/x/y/z", b"")
            device.send(Publish(f"$iothub/methods/res/200/?$rid={call.topic.partition('$rid=')[2]}", b"1"))
        assert result.result() == MethodResult(200, 1)

    hub.run(story)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", b"{}", b'{"state":1}', b'{"state":"?"}', b"[" * 100_000])
def test_other_messages_say_nothing_about_the_connection(payload: bytes) -> None:
    assert connection_state(payload) is None

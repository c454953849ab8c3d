import asyncio
import json

import pytest

from cloud_stub.bus.api import ERROR, Kind, topic_of
from cloud_stub.hub.methods import IN_FLIGHT_MAX, MethodError, MethodResult, duration
from cloud_stub.hub.presence import connection_state
from cloud_stub.state.errors import BodyShape, ErrorCode
from emulator.wire.mqtt import PubAck, Publish, SubAck, Subscribe

SERIAL = "ZPR000001"
METHODS = "$iothub/methods/POST/#"


async def failure(call) -> ErrorCode:
    with pytest.raises(MethodError) as caught:
        await call
    return caught.value.code


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
        assert fault.result() is ErrorCode.BAD_ARGUMENT and not device.closed.done()

    hub.run(story)


def test_who_is_offline_or_has_not_subscribed_is_not_online(hub) -> None:
    async def story(hub):
        assert await failure(hub.methods.invoke(SERIAL, "502")) is ErrorCode.NOT_ONLINE
        assert hub.now() == 0
        device = await hub.online()
        assert hub.methods.online(SERIAL)
        assert await failure(hub.methods.invoke(SERIAL, "502")) is ErrorCode.NOT_ONLINE
        device.abort()
        await hub.sleep(1)
        assert not hub.methods.online(SERIAL)

    hub.run(story)


def test_no_answer_in_time_and_the_answer_that_comes_late(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        began = hub.now()
        assert await failure(hub.methods.invoke(SERIAL, "502", None, 7)) is ErrorCode.TIMED_OUT
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
        assert fault.result() is ErrorCode.CONNECTION_CLOSED

    hub.run(story)


def test_too_many_calls_at_once_are_refused_and_room_comes_back(hub) -> None:
    async def story(hub):
        await hub.online(METHODS)
        async with asyncio.TaskGroup() as group:
            waiting = [
                group.create_task(failure(hub.methods.invoke(SERIAL, "502", None, 5))) for _ in range(IN_FLIGHT_MAX)
            ]
            await hub.sleep(1)
            assert await failure(hub.methods.invoke(SERIAL, "502")) is ErrorCode.TOO_MANY_METHODS
        assert {call.result() for call in waiting} == {ErrorCode.TIMED_OUT}
        assert await failure(hub.methods.invoke(SERIAL, "502", None, 5)) is ErrorCode.TIMED_OUT

    hub.run(story)


@pytest.mark.parametrize("name", ["", "a/b", "a+b", "#", "x" * 70_000])
def test_names_that_mqtt_cannot_carry_and_payloads_that_are_too_large(hub, name: str) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        expected = ErrorCode.TIMED_OUT if len(name) > 65_000 else ErrorCode.BAD_ARGUMENT
        assert await failure(hub.methods.invoke(SERIAL, name, None, 5)) is expected
        assert await failure(hub.methods.invoke(SERIAL, "1", "x" * 131_073)) is ErrorCode.TOO_LARGE
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


def test_a_payload_goes_down_as_the_text_that_it_is(hub) -> None:
    async def story(hub):
        device = await hub.online(METHODS)
        for payload, body in (
            ("Ladestasjon på", '"Ladestasjon på"'.encode()),
            ("\ud800", b'"\\ud800"'),
            (None, b"null"),
        ):
            async with asyncio.TaskGroup() as group:
                group.create_task(hub.methods.invoke(SERIAL, "1", payload))
                assert (await serve(device, ("200", b""))).payload == body

    hub.run(story)


async def failed(call) -> MethodError:
    with pytest.raises(MethodError) as caught:
        await call
    return caught.value


def test_a_caller_may_wait_for_the_device_to_connect(hub) -> None:
    async def story(hub):
        began = hub.now()
        error = await failed(hub.methods.invoke(SERIAL, "502", None, 5, 7))
        assert error.code is ErrorCode.NOT_ONLINE and hub.now() - began == pytest.approx(7)
        assert error.info == {"timeout": "00:00:07"}
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(hub.methods.invoke(SERIAL, "502", None, 5, 60)) for _ in range(2)]
            await hub.sleep(20)
            device = await hub.online()
            await hub.sleep(20)
            assert not any(call.done() for call in calls), "it is connected and takes no methods yet"
            device.send(Subscribe(2, ((METHODS, 1),)))
            assert await device.next(SubAck) == SubAck(2, (1,))
            for _ in calls:
                asked = await device.next(Publish)
                device.send(Publish(f"$iothub/methods/res/200/?$rid={asked.topic.partition('$rid=')[2]}", b"1"))
        assert [call.result() for call in calls] == [MethodResult(200, 1)] * 2

    hub.run(story)


def test_the_time_to_answer_begins_when_the_device_is_there(hub) -> None:
    async def story(hub):
        async with asyncio.TaskGroup() as group:
            error = group.create_task(failed(hub.methods.invoke(SERIAL, "502", None, 10, 60)))
            await hub.sleep(50)
            await hub.online(METHODS)
            connected = hub.now()
        assert error.result().code is ErrorCode.TIMED_OUT and hub.now() - connected == pytest.approx(10, abs=1)
        assert error.result().info == {"timeout": "00:00:10"}

    hub.run(story)


def test_a_device_that_comes_without_methods_is_not_online_when_time_is_up(hub) -> None:
    async def story(hub):
        await hub.online()
        began = hub.now()
        error = await failed(hub.methods.invoke(SERIAL, "502", None, 5, 3))
        assert error.code is ErrorCode.NOT_ONLINE and hub.now() - began == pytest.approx(3, abs=0.2)

    hub.run(story)


def test_errors_of_methods_have_the_new_shape_and_name_the_device(hub) -> None:
    for code in ErrorCode:
        error = MethodError(code, SERIAL)
        assert error.shape is BodyShape.NEW and SERIAL in str(error) and str(code.value) in str(error)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00"), (30, "00:00:30"), (300, "00:05:00"), (0.25, "00:00:00.2500000")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text

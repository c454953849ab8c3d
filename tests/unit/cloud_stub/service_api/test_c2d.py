"""Emptying queues, feedback, and the routes of our own that stand for the vendor's AMQP."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloud_stub.bus.api import Kind, topic_of
from cloud_stub.service_api.d2c_feed import QUEUE_MAX, WATCHERS_MAX, D2cFeed, D2cMessage, Watcher
from emulator.wire.mqtt import PubAck, Publish
from tests.unit.cloud_stub.service_api.service_lab import client_of, serving
from tests.unit.cloud_stub.service_api.test_app import is_new, is_old

SERIAL = "ZPR000001"
SEND = f"/stub/devices/{SERIAL}/messages/devicebound"
FEEDBACK = "/messages/serviceBound/feedback"
DEVICEBOUND = f"devices/{SERIAL}/messages/devicebound/#"
EVENTS = "/stub/messages/events"


def test_a_message_goes_to_the_device_with_its_bag_and_its_end_is_told(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            device = await hub.online(DEVICEBOUND)
            message = {"body": {"a": 1}, "messageId": "m-1", "properties": {"x": "1 2", "n": None}, "ack": "full"}
            sent = await api.ok("POST", SEND, message)
            assert sent == {"deviceId": SERIAL, "messageId": "m-1", "queued": True}
            got = await device.next(Publish)
            to = f"%24.to=%2Fdevices%2F{SERIAL}%2Fmessages%2FdeviceBound"
            assert got.topic == f"devices/{SERIAL}/messages/devicebound/{to}&%24.mid=m-1&x=1%202&n&iothub-ack=full"
            assert got.payload == b'{"a":1}' and got.qos == 1
            assert (await api.ok("GET", f"/devices/{SERIAL}"))["cloudToDeviceMessageCount"] == 1
            device.send(PubAck(got.packet_id))
            await hub.sleep(14)
            assert (await api.send("GET", FEEDBACK)).status_code == 204, "no batch is ready yet"
            await hub.sleep(2)
            reply = await api.send("GET", FEEDBACK)
            assert reply.headers["Content-Type"] == "application/vnd.microsoft.iothub.feedback.json"
            (record,) = reply.json()
            assert (record["originalMessageId"], record["statusCode"], record["deviceId"]) == ("m-1", "Success", SERIAL)
            lock = reply.headers["ETag"].strip('"')
            assert (await api.send("POST", f"{FEEDBACK}/{lock}/abandon")).status_code == 204
            lock = (await api.send("GET", FEEDBACK)).headers["ETag"].strip('"')
            assert (await api.send("DELETE", f"{FEEDBACK}/{lock}")).status_code == 204
            lost = await api.send("DELETE", f"{FEEDBACK}/{lock}")
            assert lost.status_code == 412 and is_new(lost.text, 412002, "The lock token .*")
            assert (await api.send("GET", FEEDBACK)).status_code == 204

    hub.run(story)


def test_a_queue_holds_50_messages_and_can_be_emptied(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            assert (await api.ok("POST", SEND, {"body": "too early"}))["queued"] is False
            (await hub.online()).abort()
            await hub.sleep(1)
            for number in range(50):
                assert (await api.ok("POST", SEND, {"body": str(number)}))["queued"] is True
            full = await api.send("POST", SEND, {"body": "51"})
            assert full.status_code == 403 and is_new(full.text, 403004, ".*")
            purged = {"deviceId": SERIAL, "moduleId": None, "totalMessagesPurged": 50}
            assert await api.ok("DELETE", f"/devices/{SERIAL}/commands") == purged
            assert (await api.ok("DELETE", f"/devices/{SERIAL}/commands"))["totalMessagesPurged"] == 0
            unknown = await api.send("DELETE", "/devices/other/commands")
            assert unknown.status_code == 404 and is_old(unknown.text, "DeviceNotFound")

    hub.run(story)


def test_a_message_dies_when_its_time_is_over(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            (await hub.online()).abort()
            await hub.sleep(1)
            await api.ok("POST", SEND, {"body": "x", "ttlSeconds": 60, "ack": "negative", "messageId": "m"})
            await hub.sleep(90)
            assert (await api.ok("GET", f"/devices/{SERIAL}"))["cloudToDeviceMessageCount"] == 0
            assert (await api.ok("GET", FEEDBACK))[0]["statusCode"] == "Expired"

    hub.run(story)


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        ({"body": "text"}, b"text"),
        ({"body": ["å"]}, b'["\\u00e5"]'),
        ({"bodyBase64": base64.b64encode(b"\x00\xff").decode()}, b"\x00\xff"),
        ({}, b""),
    ],
)
def test_bodies(hub, body: dict[str, Any], payload: bytes) -> None:
    async def story(hub):
        async with serving(hub) as api:
            device = await hub.online(DEVICEBOUND)
            await api.ok("POST", SEND, body)
            assert (await device.next(Publish)).payload == payload

    hub.run(story)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"ack": "maybe"}, 400004),
        ({"body": "x", "bodyBase64": ""}, 400004),
        ({"bodyBase64": "?"}, 400004),
        ({"bodyBase64": 5}, 400004),
        ({"properties": {"a": 1}}, 400004),
        ({"properties": []}, 400004),
        ({"ttlSeconds": 59}, 400004),
        ({"messageId": "x" * 200}, 400004),
        ({"messageId": "é"}, 400004),
        ({"body": "x" * 65_537}, 413001),
    ],
)
def test_messages_that_cannot_be(hub, body: dict[str, Any], code: int) -> None:
    async def story(hub):
        async with serving(hub) as api:
            reply = await api.send("POST", SEND, body)
            assert is_new(reply.text, code, ".*") and reply.status_code == code // 1000

    hub.run(story)


async def events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Any]]:
    """Server-sent events; a comment is an event without a name."""
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
            name = ""
        elif line.startswith(":"):
            yield "", line.removeprefix(": ")


def test_d2c_messages_stream_to_those_who_watch(hub) -> None:
    async def story(hub):
        async with serving(hub) as api, client_of(hub) as others:
            url, token = f"https://zapcloud.azure-devices.net{EVENTS}", {"Authorization": api.token("service")}
            async with (
                api.client.stream("GET", url, headers=token) as everything,
                others.stream("GET", f"{url}?deviceId=other", headers=token) as other,
            ):
                assert everything.headers["Content-Type"] == "text/event-stream"
                seen, quiet = events(everything.aiter_lines()), events(other.aiter_lines())
                assert await anext(seen) == ("", "watching") and await anext(quiet) == ("", "watching")
                device = await hub.online()
                topic = f"devices/{SERIAL}/messages/events/$.ct=application%2Fjson&a=b"
                device.send(Publish(topic, b'{"v":1}', 1, packet_id=1), Publish(topic, b"\xff", 1, packet_id=2))
                name, first = await anext(seen)
                assert name == "message" and first["deviceId"] == SERIAL and first["body"] == '{"v":1}'
                assert first["properties"]["a"] == "b"
                assert first["properties"]["iothub-connection-device-id"] == SERIAL
                assert (await anext(seen))[1]["bodyBase64"] == "/w=="
                assert await anext(quiet) == ("", "still here")
                await hub.bus.publish(topic_of("other", Kind.D2C), b"from the bus")
                assert (await anext(quiet))[1]["body"] == "from the bus"
            await hub.sleep(1)
            assert not api.service._feed._watchers and api.service._feed._undo is None

    hub.run(story)


def test_stopping_the_service_ends_the_streams(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            url, token = f"https://zapcloud.azure-devices.net{EVENTS}", {"Authorization": api.token()}
            async with api.client.stream("GET", url, headers=token) as stream:
                await anext(stream.aiter_lines())
                await api.service.stop()
            assert not api.service._feed._watchers

    hub.run(story)


def test_too_many_names_and_too_many_watchers(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            many = "&".join(f"deviceId=d{n}" for n in range(101))
            assert (await api.send("GET", f"{EVENTS}?{many}")).status_code == 400
            api.service._feed._watchers.update({Watcher(frozenset()): None for _ in range(WATCHERS_MAX)})
            full = await api.send("GET", EVENTS)
            assert full.status_code == 429 and is_new(full.text, 429001, ".*")

    hub.run(story)


def test_who_reads_too_slowly_loses_messages_and_is_told_how_many(hub) -> None:
    async def story(hub):
        feed = D2cFeed(hub.bus)
        async with feed.watch(frozenset()) as watcher, feed.watch(frozenset({"y"})) as picky:
            for number in range(QUEUE_MAX + 7):
                await hub.bus.publish(topic_of("x", Kind.D2C), str(number).encode())
            await hub.sleep(0.1)
            assert await watcher.next(1) == D2cMessage("x", (), b"0")
            assert watcher.dropped() == 7 and watcher.dropped() == 0
            began = hub.now()
            assert await picky.next(5) is None and hub.now() - began == pytest.approx(5)
            waiting = asyncio.ensure_future(picky.next(50))
            await hub.sleep(1)
            await hub.bus.publish(topic_of("y", Kind.D2C), b"!")
            assert await waiting == D2cMessage("y", (), b"!")

    hub.run(story)

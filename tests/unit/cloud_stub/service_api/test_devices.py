"""Registry, twins and queries through the service API, with the facts that were recorded from the vendor's."""

import asyncio
import base64
import re
from urllib.parse import quote

import pytest

from cloud_stub.service_api.desk import Desk
from cloud_stub.service_api.query_parser import condition_of
from cloud_stub.service_api.query_routes import AT_ONCE, devices_where
from emulator.wire.mqtt import Publish
from tests.unit.cloud_stub.service_api.service_lab import serving
from tests.unit.cloud_stub.service_api.test_app import is_new, is_old

SERIAL = "ZPR000001"
NEVER = "0001-01-01T00:00:00Z"
TIME = r"2026-06-01T12:00:\d\d\.\d{6}Z"
DESIRED = "$iothub/twin/PATCH/properties/desired/#"


def test_a_new_device_has_keys_of_the_hubs_making_and_what_was_recorded(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            reply = await api.send("PUT", "/devices/new", {"deviceId": "new", "authentication": {"type": "sas"}})
            device = reply.json()
            assert reply.status_code == 200 and reply.headers["ETag"] == f'"{device["etag"]}"'
            keys = device["authentication"]["symmetricKey"]
            assert len({base64.b64decode(key) for key in keys.values()}) == 2
            assert all(len(base64.b64decode(key)) == 32 for key in keys.values())
            assert re.fullmatch(r"\d{18}", device["generationId"])
            assert base64.b64decode(device["etag"]).isdigit()
            assert device == {
                "deviceId": "new",
                "generationId": device["generationId"],
                "etag": device["etag"],
                "connectionState": "Disconnected",
                "status": "enabled",
                "statusReason": None,
                "connectionStateUpdatedTime": NEVER,
                "statusUpdatedTime": NEVER,
                "lastActivityTime": NEVER,
                "cloudToDeviceMessageCount": 0,
                "authentication": {
                    "symmetricKey": keys,
                    "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
                    "type": "sas",
                },
                "capabilities": {"iotEdge": False},
            }
            assert await api.ok("GET", "/devices/new") == device

    hub.run(story)


def test_the_life_of_a_device_and_its_preconditions(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            first = await api.ok("PUT", "/devices/d", {"deviceId": "d"}, If_Match='""')
            again = await api.send("PUT", "/devices/d", {"deviceId": "d"})
            assert again.status_code == 409 and is_old(again.text, "DeviceAlreadyExists")
            assert again.headers["iothub-errorcode"] == "DeviceAlreadyExists"
            disabled = {"deviceId": "d", "status": "disabled", "statusReason": "sold"}
            second = await api.ok("PUT", "/devices/d", disabled, If_Match=f'"{first["etag"]}"')
            assert second["status"] == "disabled" and second["statusReason"] == "sold"
            assert second["etag"] != first["etag"] and second["statusUpdatedTime"] != NEVER
            stale = await api.send("PUT", "/devices/d", disabled, If_Match=f'"{first["etag"]}"')
            assert stale.status_code == 412 and is_old(stale.text, "PreconditionFailed")
            assert stale.headers["iothub-errorcode"] == "PreconditionFailed"
            for any_tag in ("*", '"*"'):
                await api.ok("PUT", "/devices/d", {"deviceId": "d"}, If_Match=any_tag)
            assert (await api.send("DELETE", "/devices/d", If_Match='"stale"')).status_code == 412
            gone = await api.send("DELETE", "/devices/d", If_Match="*")
            assert gone.status_code == 204 and gone.content == b""
            for method in ("GET", "DELETE"):
                missing = await api.send(method, "/devices/d")
                assert missing.status_code == 404 and is_old(missing.text, "DeviceNotFound")
            third = await api.ok("PUT", "/devices/d", {"deviceId": "d"})
            assert third["generationId"] != first["generationId"]

    hub.run(story)


@pytest.mark.parametrize("device_id", ["a%b", "a+b", "a#b", "a?b", "it's", "a:b;c", "%2F"])
def test_ids_with_characters_that_mean_something_in_addresses(hub, device_id: str) -> None:
    async def story(hub):
        async with serving(hub) as api:
            name = quote(device_id, safe="")
            await api.ok("PUT", f"/devices/{name}", {"deviceId": device_id})
            token = api.token(resource=f"zapcloud.azure-devices.net/devices/{device_id}")
            assert (await api.ok("GET", f"/devices/{name}", Authorization=token))["deviceId"] == device_id
            assert (await api.ok("GET", f"/twins/{name}"))["deviceId"] == device_id

    hub.run(story)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"deviceId": "other"}, "deviceId must be the one in the address."),
        ({"status": "asleep"}, "status.*"),
        ({"authentication": {"symmetricKey": {"primaryKey": "x"}}}, "authentication.symmetricKey.*"),
        ({"authentication": {"type": "none"}}, "authentication.type.*"),
        ({"authentication": 5}, "authentication.*"),
    ],
)
def test_a_device_that_cannot_be(hub, body: dict, says: str) -> None:
    async def story(hub):
        async with serving(hub) as api:
            reply = await api.send("PUT", "/devices/d", body)
            assert reply.status_code == 400 and is_new(reply.text, 400004, says)
            bad_id = await api.send("PUT", "/devices/a%20b", {})
            assert bad_id.status_code == 400 and is_new(bad_id.text, 400004, "device id: must be .*")

    hub.run(story)


def test_devices_are_listed_in_order_and_counted(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            await api.make("b", "a")
            await api.ok("PUT", "/devices/c", {"status": "disabled"})
            await hub.online()
            assert [device["deviceId"] for device in await api.ok("GET", "/devices")] == [SERIAL, "a", "b", "c"]
            assert [device["deviceId"] for device in await api.ok("GET", "/devices?top=2")] == [SERIAL, "a"]
            for top in ("0", "1001", "-1", "many", "1" * 30):
                reply = await api.send("GET", f"/devices?top={top}")
                assert is_new(reply.text, 400004, r"The field top must be within \[1; 1000\]\.")
            statistics = {"totalDeviceCount": 4, "enabledDeviceCount": 3, "disabledDeviceCount": 1}
            assert await api.ok("GET", "/statistics/devices") == statistics
            assert await api.ok("GET", "/statistics/service") == {"connectedDeviceCount": 1}

    hub.run(story)


def test_many_devices_in_one_request(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            done = await api.ok("POST", "/devices", [{"id": f"d{n}", "importMode": "create"} for n in range(100)])
            assert done == {"isSuccessful": True, "errors": [], "warnings": []}
            items = [
                {"id": "d1", "importMode": "create"},
                {"id": "d2", "importMode": "delete"},
                {"id": "d3", "importMode": "updateTwin", "properties": {"desired": {"a": 1}}},
            ]
            failed = await api.ok("POST", "/devices", items, status=400)
            assert failed["isSuccessful"] is False and failed["errors"][0]["deviceId"] == "d1"
            assert (await api.send("GET", "/devices/d2")).status_code == 404
            assert hub.of("desired")[-1].payload == b'{"a":1,"$version":2}'
            too_many = await api.send("POST", "/devices", [{"id": f"x{n}"} for n in range(101)])
            assert is_new(too_many.text, 400004, "body: must be a list of 1 to 100 devices")

    hub.run(story)


def test_a_device_that_is_disabled_or_deleted_loses_its_connection(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            device = await hub.online()
            assert (await api.ok("GET", f"/devices/{SERIAL}"))["connectionState"] == "Connected"
            await api.ok("PUT", f"/devices/{SERIAL}", {"status": "disabled"}, If_Match="*")
            await device.closed
            assert (await api.ok("GET", f"/devices/{SERIAL}"))["connectionState"] == "Disconnected"

    hub.run(story)


def test_a_new_twin_has_what_was_recorded(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            await api.make("new")
            reply = await api.send("GET", "/twins/new")
            twin = reply.json()
            assert reply.headers["ETag"] == '"AAAAAAAAAAE="'
            made = twin["properties"]["desired"]["$metadata"]["$lastUpdated"]
            assert re.fullmatch(TIME, made)
            section = {"$metadata": {"$lastUpdated": made}, "$version": 1}
            assert twin == {
                "deviceId": "new",
                "etag": "AAAAAAAAAAE=",
                "deviceEtag": (await api.ok("GET", "/devices/new"))["etag"],
                "status": "enabled",
                "statusUpdateTime": NEVER,
                "connectionState": "Disconnected",
                "lastActivityTime": NEVER,
                "cloudToDeviceMessageCount": 0,
                "authenticationType": "sas",
                "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
                "modelId": "",
                "version": 2,
                "properties": {"desired": section, "reported": section},
                "capabilities": {"iotEdge": False},
            }
            assert list(twin)[:3] == ["deviceId", "etag", "deviceEtag"] and "tags" not in twin

    hub.run(story)


def test_a_change_of_desired_properties_counts_and_reaches_the_device(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            device = await hub.online(DESIRED)
            path, patch = f"/twins/{SERIAL}", {"properties": {"desired": {"amps": 16, "a": {"b": 1}}}}
            before = await api.ok("GET", path)
            reply = await api.send("PATCH", path, patch)
            twin = reply.json()
            assert twin["etag"] == "AAAAAAAAAAI=" and reply.headers["ETag"] == '"AAAAAAAAAAI="'
            assert (twin["version"], twin["properties"]["desired"]["$version"]) == (before["version"] + 1, 2)
            metadata = twin["properties"]["desired"]["$metadata"]
            assert metadata["$lastUpdatedVersion"] == metadata["a"]["b"]["$lastUpdatedVersion"] == 2
            assert re.fullmatch(TIME, metadata["amps"]["$lastUpdated"])
            pushed = await device.next(Publish)
            assert pushed.topic.endswith("/?$version=2") and b'"$version":2' in pushed.payload
            stale = await api.send("PATCH", path, patch, If_Match='"AAAAAAAAAAE="')
            assert stale.status_code == 412 and is_old(stale.text, "PreconditionFailed")
            again = await api.ok("PATCH", path, {"properties": {"desired": {"a": None}}}, If_Match='"AAAAAAAAAAI="')
            assert "a" not in again["properties"]["desired"] and again["version"] == 4

    hub.run(story)


def test_tags_merge_and_put_replaces_the_parts_that_it_has(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            await api.make("d")
            await api.ok("PATCH", "/twins/d", {"tags": {"a": 1, "b": {"c": 2}}, "properties": {"desired": {"x": 1}}})
            twin = await api.ok("PATCH", "/twins/d", {"tags": {"b": {"d": 3}}, "etag": "ignored", "version": 99})
            assert twin["tags"] == {"a": 1, "b": {"c": 2, "d": 3}} and twin["version"] == 4
            twin = await api.ok("PUT", "/twins/d", {"tags": {"z": 1}}, If_Match="*")
            assert twin["tags"] == {"z": 1} and twin["properties"]["desired"]["x"] == 1
            twin["properties"]["desired"] = {**twin["properties"]["desired"], "y": 2}
            back = await api.ok("PUT", "/twins/d", twin)
            assert (back["properties"]["desired"]["x"], back["properties"]["desired"]["y"]) == (1, 2)
            assert "tags" not in await api.ok("PUT", "/twins/d", {"tags": {}})

    hub.run(story)


@pytest.mark.parametrize(
    "body",
    [
        {"tags": 5},
        {"properties": {"desired": []}},
        {"properties": "x"},
        {"tags": {"a.b": 1}},
        {"tags": {"a": "x" * 5000}},
        {"properties": {"desired": {f"k{n}": "x" * 4000 for n in range(9)}}},
    ],
)
def test_a_twin_that_breaks_a_rule_is_refused_and_nothing_changes(hub, body: dict) -> None:
    async def story(hub):
        async with serving(hub) as api:
            reply = await api.send("PATCH", f"/twins/{SERIAL}", body)
            assert reply.status_code == 400 and is_new(reply.text, 400004, ".*")
            assert (await api.ok("GET", f"/twins/{SERIAL}"))["version"] == 2
            missing = await api.send("PATCH", "/twins/other", {"tags": {}})
            assert missing.status_code == 404 and is_old(missing.text, "DeviceNotFound")

    hub.run(story)


def test_a_query_gives_twins_page_by_page(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            await api.make(*(f"d{n:03}" for n in range(120)))
            await api.ok("PATCH", "/twins/d007", {"tags": {"town": "Oslo"}})
            query = {"query": "SELECT * FROM devices WHERE STARTSWITH(deviceId, 'd')"}
            first = await api.send("POST", "/devices/query", query)
            assert first.headers["x-ms-item-type"] == "Twin" and len(first.json()) == 100
            assert first.json()[7] == await api.ok("GET", "/twins/d007")
            token = first.headers["x-ms-continuation"]
            rest = await api.send("POST", "/devices/query", query, x_ms_continuation=token)
            assert [twin["deviceId"] for twin in rest.json()] == [f"d{n}" for n in range(100, 120)]
            assert "x-ms-continuation" not in rest.headers
            small = await api.send("POST", "/devices/query", query, x_ms_max_item_count="3")
            assert len(small.json()) == 3 and "x-ms-continuation" in small.headers
            raw = {"query": "SELECT COUNT() AS n FROM devices WHERE is_defined(tags.town)"}
            counted = await api.send("POST", "/devices/query", raw)
            assert counted.headers["x-ms-item-type"] == "Raw" and counted.json() == [{"n": 1}]

    hub.run(story)


@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        ({"query": "SELECT * FROM devices WHERE"}, {}, "query: position 28: expected a name, found the end"),
        ({"query": 5}, {}, "query must be a text of 1 to 8192 characters."),
        ({}, {}, "query must be a text of 1 to 8192 characters."),
        ({"query": "SELECT * FROM devices"}, {"x_ms_max_item_count": "0"}, r"The field x-ms-max-item-count must.*"),
        ({"query": "SELECT * FROM devices"}, {"x_ms_continuation": "abc"}, "query: position 1: the continuation.*"),
    ],
)
def test_a_query_that_cannot_be(hub, body: dict, headers: dict[str, str], says: str) -> None:
    async def story(hub):
        async with serving(hub) as api:
            reply = await api.send("POST", "/devices/query", body, **headers)
            assert reply.status_code == 400 and is_new(reply.text, 400004, says)

    hub.run(story)


def test_a_query_over_many_devices_lets_others_have_their_turn(hub) -> None:
    async def story(hub):
        hub.registry.produce_all([f"d{n:04}" for n in range(500)])
        turns = 0

        async def others():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        busy = asyncio.ensure_future(others())
        found = await devices_where(Desk(hub.memory, hub.bus, hub.methods), condition_of("STARTSWITH(deviceId, 'd')"))
        busy.cancel()
        assert len(found) == 500 and turns >= 500 // AT_ONCE

    hub.run(story)

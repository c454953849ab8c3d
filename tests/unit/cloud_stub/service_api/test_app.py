"""What is common to all routes of the service API: who is let in, headers, errors in both shapes."""

import json
import re

import pytest

from cloud_stub.bus.api import BusError
from cloud_stub.hub.throttle import Capacity, Operation, Throttle, Tier
from cloud_stub.state.errors import BodyShape, ErrorCode, HubError
from tests.unit.cloud_stub.service_api.service_lab import VERSION, serving

SERIAL = "ZPR000001"
TRACKING = r"[0-9a-f]{32}-G:[0-9]-TimeStamp:06/01/2026 12:00:\d\d"
REQUEST_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def is_old(text: str, name: str, message: str = ".*") -> bool:
    """The old shape, byte for byte."""
    shape = rf'\{{"Message":"ErrorCode:{name};{message}","ExceptionMessage":"Tracking ID:{TRACKING}"\}}'
    return re.fullmatch(shape, text) is not None


def is_new(text: str, code: int, message: str, info: str = "") -> bool:
    """The new shape, byte for byte."""
    inner = rf'\{{\\"errorCode\\":{code},\\"trackingId\\":\\"{TRACKING}\\",\\"message\\":\\"{message}\\",{info}'
    stamp = r'\\"timestampUtc\\":\\"2026-06-01T12:0\d:\d\d\.\d{6}Z\\"\}'
    return re.fullmatch(rf'\{{"Message":"{inner}{stamp}","ExceptionMessage":""\}}', text) is not None


def test_every_reply_has_the_hubs_headers(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            for path, status in ((f"/devices/{SERIAL}", 200), ("/devices/other", 404), ("/nowhere", 404)):
                reply = await api.send("GET", path)
                assert reply.status_code == status
                assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
                assert reply.headers["Server"] == "Microsoft-HTTPAPI/2.0" and reply.headers["Vary"] == "Origin"
                assert re.fullmatch(REQUEST_ID, reply.headers["x-ms-request-id"])
            assert "Authorization" not in json.dumps(api.service.history_json())
            assert [(seen["request"], seen["reply"]) for seen in api.service.history_json()] == [
                (f"GET /devices/{SERIAL}", "200"),
                ("GET /devices/other", "404"),
                ("GET /nowhere", "404"),
            ]

    hub.run(story)


def test_the_version_of_the_api_is_not_judged(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            for query in ("", "?api-version=2016-02-03", "?api-version=x"):
                url = f"https://zapcloud.azure-devices.net/devices/{SERIAL}{query}"
                assert (await api.client.get(url, headers={"Authorization": api.token()})).status_code == 200

    hub.run(story)


def test_a_token_that_is_not_good_enough_gives_401_in_the_old_shape_and_no_reason(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            bad = {
                "no_token": "",
                "bad_token": "Bearer eyJ0",
                "no_policy": api.token().partition("&skn=")[0],
                "unknown_policy": api.token().replace("skn=iothubowner", "skn=root"),
                "wrong_scope": api.token(resource="zapcloud.azure-devices.net/devices/other"),
                "wrong_signature": api.token(key=b"x" * 32),
                "expired": api.token(valid_s=-1),
            }
            for reason, token in bad.items():
                reply = await api.send("GET", f"/devices/{SERIAL}", Authorization=token)
                assert reply.status_code == 401 and is_old(reply.text, "IotHubUnauthorizedAccess", "Unauthorized"), (
                    reason
                )
                assert reply.headers["iothub-errorcode"] == "IotHubUnauthorizedAccess"
                assert api.service.history_json()[-1]["data"]["reason"] == reason

    hub.run(story)


def test_tokens_of_the_host_or_of_what_is_asked_for_are_good_in_any_spelling(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            for resource in ("ZapCloud.Azure-Devices.net", f"zapcloud.azure-devices.net/devices/{SERIAL}"):
                for token in (api.token(resource=resource), api.token("registryRead", resource=resource)):
                    assert (await api.send("GET", f"/devices/{SERIAL}", Authorization=token)).status_code == 200
            secondary = api.token(key=api.policies["iothubowner"].secondary_key)
            assert (await api.send("GET", f"/devices/{SERIAL}", Authorization=secondary)).status_code == 200

    hub.run(story)


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ("registryRead", "GET /devices"),
        ("registryReadWrite", "GET /devices, PUT /devices/d"),
        ("service", "GET /twins/d, POST /devices/query"),
        ("device", ""),
        ("iothubowner", "GET /devices, PUT /devices/d, GET /twins/d, POST /devices/query"),
    ],
)
def test_each_policy_allows_its_routes_and_gets_403_at_the_others(hub, policy: str, allowed: str) -> None:
    requests = {
        "GET /devices": None,
        "PUT /devices/d": {"deviceId": "d"},
        "GET /twins/d": None,
        "POST /devices/query": {"query": "SELECT * FROM devices"},
    }

    async def story(hub):
        async with serving(hub) as api:
            hub.registry.produce("d")
            for request, body in requests.items():
                method, path = request.split()
                extra = {"If_Match": "*"} if method == "PUT" else {}
                reply = await api.send(method, path, body, Authorization=api.token(policy), **extra)
                if request in allowed:
                    assert reply.status_code == 200, request
                else:
                    assert reply.status_code == 403 and is_old(reply.text, "IotHubForbidden"), request

    hub.run(story)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/devices/", 404), ("PATCH", "/devices", 405), ("GET", "/$iothub/websocket", 404)],
)
def test_addresses_that_do_not_exist(hub, method: str, path: str, status: int) -> None:
    async def story(hub):
        async with serving(hub) as api:
            reply = await api.send(method, path)
            assert reply.status_code == status
            assert reply.json() == {"Message": f"No route of this hub: {method} {path}", "ExceptionMessage": ""}

    hub.run(story)


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"\xff\xfe", b"[1]", b'{"a":NaN}', b"[" * 100_000, b"[" * 200 + b"]" * 200, b'"text"']
)
def test_a_body_that_is_no_json_object_is_400004_in_the_new_shape(hub, body: bytes) -> None:
    async def story(hub):
        async with serving(hub) as api:
            for method, path in (("PATCH", f"/twins/{SERIAL}"), ("POST", "/devices/query"), ("PUT", "/devices/d")):
                reply = await api.send(method, path, body)
                assert reply.status_code == 400 and is_new(reply.text, 400004, r"The body .*\.")

    hub.run(story)


def test_a_body_that_is_too_large_is_413001(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            reply = await api.send("PATCH", f"/twins/{SERIAL}", b" " * 300_000)
            assert reply.status_code == 413 and is_new(reply.text, 413001, "The body has more than 262144 bytes.")
            assert (await api.send("GET", f"/devices/{SERIAL}")).status_code == 200

    hub.run(story)


def test_every_error_code_has_a_body_in_its_shape(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            for code in ErrorCode:
                error = HubError(code, "text", {"timeout": "00:00:05"})
                body, headers = api.service._marks.error(error)
                if error.shape is BodyShape.OLD:
                    assert is_old(body.decode(), code.label, "text") and headers == {"iothub-errorcode": code.label}
                else:
                    info = r'\\"info\\":\{\\"timeout\\":\\"00:00:05\\"\},'
                    assert is_new(body.decode(), code.value, "text", info) and headers == {}

    hub.run(story)


def test_what_the_hub_has_not_is_typed_and_not_retried(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            for path in (f"/devices/{SERIAL}/modules", "/configurations", "/jobs"):
                assert await api.ok("GET", path) == []
            for path, name in (
                (f"/devices/{SERIAL}/modules/m", "ModuleNotFound"),
                (f"/twins/{SERIAL}/modules/m", "ModuleNotFound"),
                ("/configurations/c", "ConfigurationNotFound"),
                ("/devices/other/modules/m", "DeviceNotFound"),
            ):
                reply = await api.send("GET", path)
                assert reply.status_code == 404 and is_old(reply.text, name), path
            for method, path in (
                ("PUT", f"/devices/{SERIAL}/modules/m"),
                ("PUT", "/configurations/c"),
                ("GET", f"/digitaltwins/{SERIAL}"),
                ("POST", f"/digitaltwins/{SERIAL}/commands/reboot"),
                ("POST", "/jobs/create"),
            ):
                reply = await api.send(method, path, {})
                assert reply.status_code == 501 and is_new(reply.text, 501000, "This hub has none: .*"), path

    hub.run(story)


def test_a_bus_that_is_gone_is_503003(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            await hub.bus.stop()
            with pytest.raises(BusError):
                await hub.bus.publish("hub/x", b"")
            reply = await api.send("PATCH", f"/twins/{SERIAL}", {"properties": {"desired": {"a": 1}}})
            assert reply.status_code == 503 and is_new(reply.text, 503003, r"The hub's bus .*")
            await hub.bus.start()

    hub.run(story)


def test_a_tier_makes_callers_wait_and_then_refuses_them(hub) -> None:
    async def story(hub):
        throttle = Throttle(Capacity(Tier.S1), now=hub.now, utc=hub.utc)
        async with serving(hub, throttle=throttle) as api:
            for _ in range(100):
                await api.ok("GET", f"/devices/{SERIAL}")
            began, statuses = hub.now(), []
            for _ in range(3):
                statuses.append((await api.send("GET", f"/devices/{SERIAL}")).status_code)
            assert statuses == [200, 200, 200] and hub.now() - began > 1, "they wait in line"
            while throttle.wait_s(Operation.REGISTRY) is not None:
                pass
            reply = await api.send("GET", f"/devices/{SERIAL}")
            assert reply.status_code == 429 and json.loads(reply.json()["Message"])["errorCode"] == 429001

    hub.run(story)


def test_a_client_that_leaves_in_the_middle_of_its_request_harms_nobody(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:

            async def forever():
                yield b'{"a":'
                await hub.sleep(5)
                raise ConnectionAbortedError

            url = f"https://zapcloud.azure-devices.net/twins/{SERIAL}?{VERSION}"
            with pytest.raises(ConnectionAbortedError):
                await api.client.patch(url, content=forever(), headers={"Authorization": api.token()})
            await hub.sleep(1)
            assert (await api.send("GET", f"/devices/{SERIAL}")).status_code == 200

    hub.run(story)

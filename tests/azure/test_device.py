"""azure-iot-device 2.14, unmodified, as a device of the hub: what it sees, and what the hub sees of it."""

import json

import pytest

from tests.azure.bus import BusWatcher
from tests.azure.conftest import Start
from tests.azure.hub import Hub
from tests.azure.sdk import ProxyProgram, Sdk
from tests.azure.takeover import take_over

pytestmark = pytest.mark.needs("azure-sdks", "mosquitto")

OVER = [pytest.param({}, id="tcp"), pytest.param({"websockets": True}, id="websocket")]
"""Options of the SDK's client for each transport."""

RENEWAL_S = 5
RENEWAL_MARGIN_S = 120
"""How long before its token ends the SDK takes a new one; not to be changed from outside."""


def online(hub: Hub, start: Start, device_id: str, **options: object) -> Sdk:
    """The script ``device``, ready, as a new device."""
    device = start("device", DEVICE_CONNECTION_STRING=hub.produce(device_id), CLIENT_OPTIONS=json.dumps(options))
    device.next("ready")
    assert hub.device(device_id)["online"] is True
    return device


def stop(hub: Hub, device: Sdk, device_id: str) -> None:
    """End the script ``device`` as it wants to be ended."""
    hub.call_method(device_id, "stop")
    assert device.events()[-1] == {"event": "ended"}
    assert hub.device(device_id)["online"] is False
    assert hub.ends(device_id)[-1] == "disconnect"


# Telemetry


@pytest.mark.parametrize("options", OVER)
def test_telemetry_with_its_properties(hub: Hub, bus: BusWatcher, start: Start, options: dict[str, object]) -> None:
    device_id = f"telemetry-{len(options)}"
    connection_string = hub.produce(device_id)
    client = start("telemetry", DEVICE_CONNECTION_STRING=connection_string, CLIENT_OPTIONS=json.dumps(options))
    assert [event["event"] for event in client.events()] == ["connected", "acknowledged", "ended"]

    full, plain = bus.next(f"hub/{device_id}/d2c"), bus.next(f"hub/{device_id}/d2c")
    assert (full.payload, plain.payload) == (b'{"temperature": 21.5}', b"plain")
    assert full.properties.items() >= {
        ("$.mid", "m 1"),
        ("$.cid", "c/1"),
        ("$.uid", "somebody"),
        ("$.ct", "application/json"),
        ("$.ce", "utf-8"),
        ("alert", "no"),
        ("sign & måte", "a=b&c/d?e+f%20"),
        ("iothub-connection-device-id", device_id),
    }
    assert "alert" not in plain.properties
    (connect,) = hub.history(device_id, "connect")
    assert (connect["code"], connect["api_version"]) == (0, "2019-10-01")
    assert hub.ends(device_id) == ["disconnect"]


def test_a_program_may_name_proxy_and_roots_itself(
    hub: Hub, proxy: ProxyProgram, bus: BusWatcher, start: Start
) -> None:
    client = start(
        "configured",
        DEVICE_CONNECTION_STRING=hub.produce("configured"),
        PROXY_PORT=str(proxy.port),
        CA_FILE=hub.cloud.ready["ca"],
        mqtt_proxy="",
        SSL_CERT_FILE="",
    )
    assert client.events() == [{"event": "acknowledged"}]
    assert bus.next("hub/configured/d2c").payload == b"configured"


# Who is refused


def test_a_hub_that_it_does_not_trust_is_not_logged_in_to(hub: Hub, start: Start) -> None:
    connection_string = hub.produce("distrustful")
    client = start("refused", DEVICE_CONNECTION_STRING=connection_string, SSL_CERT_FILE=hub.cloud.ready["vendor_root"])
    (event,) = client.events()
    assert "TlsExchangeAuthError" in event["why"]
    assert hub.logins("distrustful") == []


@pytest.mark.parametrize("device_id", ["wrong-key", "nobody"])
def test_bad_credentials_are_a_credential_error(hub: Hub, start: Start, device_id: str) -> None:
    if device_id == "wrong-key":
        hub.produce(device_id)
    wrong = hub.connection_string(device_id, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    (event,) = start("refused", DEVICE_CONNECTION_STRING=wrong).events()
    assert event["error"] == "CredentialError"
    assert hub.logins(device_id) == [5]


# Twin and methods


@pytest.mark.parametrize("options", OVER)
def test_the_twin_is_read_reported_and_pushed(
    hub: Hub, bus: BusWatcher, start: Start, options: dict[str, object]
) -> None:
    device_id = f"twin-{len(options)}"
    device = online(hub, start, device_id, **options)
    status, twin = hub.call_method(device_id, "twin")
    assert status == 200 and twin["reported"] == {"$version": 1}
    version = twin["desired"]["$version"]

    assert hub.call_method(device_id, "report", {"led": "on", "gone": None, "deep": {"a": [1, 2]}}) == (200, None)
    assert hub.reported(device_id) == ({"led": "on", "deep": {"a": [1, 2]}}, 2)
    status, complaint = hub.call_method(device_id, "report", {"a.b": 1})
    assert status == 400 and "400" in complaint
    assert hub.reported(device_id)[1] == 2

    hub.desire(device_id, {"interval_s": 30})
    pushed = device.next("desired")["patch"]
    assert pushed == {"interval_s": 30, "$version": version + 1}
    _, twin = hub.call_method(device_id, "twin")
    assert twin["desired"].items() >= pushed.items()
    assert twin["reported"] == {"led": "on", "deep": {"a": [1, 2]}, "$version": 2}
    stop(hub, device, device_id)


@pytest.mark.parametrize("options", OVER)
def test_methods(hub: Hub, start: Start, options: dict[str, object]) -> None:
    device_id = f"methods-{len(options)}"
    device = online(hub, start, device_id, **options)
    for name, payload in (("Reboot", {"in_s": 3}), ("102", None), ("with space & more", ["a", 1, None]), ("t", "text")):
        assert hub.call_method(device_id, name, payload) == (207, {"name": name, "payload": payload})
        assert device.next("method") == {"event": "method", "name": name, "payload": payload}
    assert hub.call_method_in_vain(device_id, "ignore", timeout_s=0.2) == 504101
    stop(hub, device, device_id)
    assert hub.call_method_in_vain(device_id, "Reboot") == 404103


# Cut off


def test_it_comes_back_after_a_kick_with_all_that_it_had_subscribed(hub: Hub, bus: BusWatcher, start: Start) -> None:
    """The SDK subscribes once and relies on the hub's memory of its session."""
    device = online(hub, start, "kicked")
    take_over(hub, hub.produce("kicked"))
    assert [device.next("connection")["connected"] for _ in range(2)] == [False, True]

    assert hub.call_method("kicked", "send", "still here") == (200, None)
    assert bus.next("hub/kicked/d2c").payload == b'"still here"'
    hub.desire("kicked", {"interval_s": 5})
    assert device.next("desired")["patch"]["interval_s"] == 5
    assert hub.logins("kicked") == [0, 0, 0] and hub.ends("kicked")[0] == "takeover"
    stop(hub, device, "kicked")


def test_what_was_desired_while_it_was_away_is_fetched_when_it_is_back(hub: Hub, start: Start) -> None:
    """Pushes are not queued: the SDK reads its twin after each reconnect, and makes a patch of what is new in it.

    It listens to the answer only if the program has asked for the twin itself before.
    """
    device = online(hub, start, "away", connection_retry_interval=1)
    hub.call_method("away", "twin")
    hub.desire("away", {"interval_s": 1})
    first = device.next("desired")["patch"]
    with hub.broken("hub.connack", who="away", code=3):
        with hub.broken("hub.token_cut", who="away", count=1):
            assert device.next("background")["error"] == "ConnectionDroppedError"
        assert device.next("background")["error"] == "ConnectionFailedError"
        hub.desire("away", {"interval_s": 2})
    made = device.next("desired")["patch"]
    assert made["interval_s"] == 2 and made["$version"] == first["$version"] + 1
    assert hub.logins("away")[:2] == [0, 3] and hub.ends("away")[0] == "sas_expired"
    stop(hub, device, "away")


def test_a_token_is_renewed_by_a_new_login_before_it_ends(hub: Hub, bus: BusWatcher, start: Start) -> None:
    device = online(hub, start, "renewing", sastoken_ttl=RENEWAL_MARGIN_S + RENEWAL_S)
    assert device.next("connection", within_s=3 * RENEWAL_S)["connected"] is False
    assert device.next("connection")["connected"] is True
    assert hub.call_method("renewing", "send", "renewed") == (200, None)
    assert bus.next("hub/renewing/d2c").payload == b'"renewed"'
    assert hub.logins("renewing") == [0, 0] and hub.ends("renewing") == ["disconnect"]

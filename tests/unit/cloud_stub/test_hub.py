from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.hub import (
    Accepted,
    BadStatus,
    Channel,
    CloseReason,
    ForeignFilters,
    Grant,
    HubRules,
    Refused,
    RefusedReason,
    Violation,
    decide_connect,
    grant,
    meaning_of,
    stamped,
)
from cloud_stub.registry import DeviceStatus, Registry, derived_keys
from emulator.wire.iothub import D2C, MethodResponse, TwinGet, TwinPatch, sas_token, username
from emulator.wire.mqtt import Connect, Publish

HOST = "zapcloud.azure-devices.net"
SERIAL = "ZPR000001"
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
RULES = HubRules(HOST)
REGISTRY = Registry(derived_keys(b"s" * 32))
DEVICE = REGISTRY.produce(SERIAL)
KEY = DEVICE.primary_key


def connect(
    resource: str = f"ZapCloud.azure-devices.net/devices/{SERIAL}",
    *,
    key: bytes = KEY,
    expiry: int = NOW_S + 60,
    **changes: object,
) -> Connect:
    token = sas_token(resource, key, expiry).encode()
    return replace(Connect(SERIAL, username(HOST, SERIAL, "2018-06-30"), token), **changes)  # type: ignore[arg-type]


def decide(packet: Connect, rules: HubRules = RULES, at: datetime = NOW) -> Accepted | Refused:
    return decide_connect(packet, now_utc=at, rules=rules, device_of=REGISTRY.get)


def test_the_charger_of_the_reference_is_accepted() -> None:
    assert decide(connect()) == Accepted(SERIAL, NOW_S + 60, True, "2018-06-30")


@pytest.mark.parametrize(
    "resource",
    [
        f"{HOST}/devices/{SERIAL}",
        f"{HOST}%2Fdevices%2F{SERIAL}",
        f"{HOST}%2fdevices%2f{SERIAL}",
        f"{HOST}/devices",
        HOST,
    ],
)
def test_a_resource_counts_as_written_and_by_whole_segments(resource: str) -> None:
    assert isinstance(decide(connect(resource)), Accepted)


@pytest.mark.parametrize(
    "user", [f"{HOST}/{SERIAL}/api-version=2016-11-14", f"{HOST}/{SERIAL}", f"{HOST.upper()}/{SERIAL}"]
)
def test_old_user_names_are_accepted(user: str) -> None:
    assert isinstance(decide(connect(username=user)), Accepted)


def test_the_secondary_key_is_as_good() -> None:
    assert isinstance(decide(connect(key=DEVICE.secondary_key)), Accepted)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (connect(username=None), RefusedReason.BAD_USERNAME),
        (connect(username="nonsense"), RefusedReason.BAD_USERNAME),
        (connect(username=username("other.azure-devices.net", SERIAL, "1")), RefusedReason.WRONG_HOST),
        (connect(client_id=SERIAL.lower()), RefusedReason.ID_MISMATCH),
        (connect(client_id="ZPR9", username=username(HOST, "ZPR9", "1")), RefusedReason.UNKNOWN_DEVICE),
        (connect(client_id=f"{SERIAL}/m", username=f"{HOST}/{SERIAL}/m/?x=1"), RefusedReason.UNKNOWN_DEVICE),
        (connect(password=None), RefusedReason.MISSING_SAS),
        (connect(password=b""), RefusedReason.MISSING_SAS),
        (connect(password=b"\xff"), RefusedReason.BAD_SAS),
        (connect(password=b"SharedAccessSignature sr=x"), RefusedReason.BAD_SAS),
        (connect(f"{HOST}/devices/ZPR000002"), RefusedReason.WRONG_SCOPE),
        (connect(f"{HOST}/devices/{SERIAL}1"), RefusedReason.WRONG_SCOPE),
        (connect("other.azure-devices.net/devices/" + SERIAL), RefusedReason.WRONG_SCOPE),
        (connect(key=b"x" * 32), RefusedReason.WRONG_SIGNATURE),
        (connect(expiry=NOW_S), RefusedReason.SAS_EXPIRED),
        (connect(password=sas_token(HOST, KEY, NOW_S + 60, policy="device").encode()), RefusedReason.POLICY_SAS),
    ],
)
def test_every_fault_of_a_credential_is_code_5(packet: Connect, reason: RefusedReason) -> None:
    decision = decide(packet)
    assert isinstance(decision, Refused) and (decision.code, decision.reason) == (5, reason)


def test_another_protocol_level_is_code_1() -> None:
    assert decide(Connect("", protocol_level=3)) == Refused(1, RefusedReason.PROTOCOL_LEVEL)


def test_a_disabled_device_is_refused_with_the_configured_code() -> None:
    def disabled(_: str):  # type: ignore[no-untyped-def]
        return replace(DEVICE, status=DeviceStatus.DISABLED)

    for code in (5, 3):
        decision = decide_connect(connect(), now_utc=NOW, rules=HubRules(HOST, disabled_code=code), device_of=disabled)
        assert decision == Refused(code, RefusedReason.DISABLED, SERIAL)


def test_skew_lets_an_expired_token_in() -> None:
    late = NOW + timedelta(seconds=100)
    assert isinstance(decide(connect(), at=late), Refused)
    assert isinstance(decide(connect(), HubRules(HOST, token_skew_s=300), at=late), Accepted)


@given(st.text(), st.none() | st.text(), st.none() | st.binary())
def test_any_connect_is_decided(client_id: str, user: str | None, password: bytes | None) -> None:
    decision = decide(Connect(client_id, user, password))
    assert isinstance(decision, Refused) and decision.code == 5


def test_no_secret_is_in_any_decision() -> None:
    for decision in (decide(connect()), decide(connect(key=b"x" * 32))):
        assert "sig=" not in repr(decision) and "Signature" not in repr(decision)


EVENTS = f"devices/{SERIAL}/messages/events/"


@pytest.mark.parametrize(
    ("topic", "meaning"),
    [
        (EVENTS + "ri=default", D2C({"ri": "default"})),
        (EVENTS.rstrip("/"), D2C({})),
        ("$iothub/twin/GET/?$rid=4200", TwinGet("4200")),
        ("$iothub/twin/PATCH/properties/reported/?$rid=a", TwinPatch("a")),
        ("$iothub/methods/res/200/?$rid=1", MethodResponse(200, "1")),
        ("$iothub/methods/res/fine/?$rid=1", BadStatus("1")),
    ],
)
def test_what_a_device_may_publish(topic: str, meaning: object) -> None:
    assert meaning_of(Publish(topic, b"", qos=1, packet_id=1), SERIAL) == meaning


@pytest.mark.parametrize(
    ("publish", "reason"),
    [
        (Publish(EVENTS, b"", qos=2, packet_id=1), CloseReason.QOS_2),
        (Publish("devices/ZPR000002/messages/events/", b""), CloseReason.FOREIGN_TOPIC),
        (Publish("devices/other", b""), CloseReason.FOREIGN_TOPIC),
        (Publish("$iothub/twin/GET/?$rid=", b""), CloseReason.FOREIGN_TOPIC),
        (Publish(EVENTS, bytes(262_145)), CloseReason.OVERSIZE),
    ],
)
def test_what_ends_the_connection(publish: Publish, reason: CloseReason) -> None:
    meaning = meaning_of(publish, SERIAL)
    assert isinstance(meaning, Violation) and meaning.reason is reason


def test_qos_2_is_granted_as_1_and_every_form_of_the_devicebound_filter_counts() -> None:
    filters = [
        ("$iothub/methods/POST/#", 2),
        ("$iothub/twin/res/#", 0),
        ("$iothub/twin/PATCH/properties/desired/#", 1),
        ("devices/+/messages/devicebound/#", 2),
        (f"devices/{SERIAL}/messages/devicebound/#", 2),
    ]
    assert grant(filters, SERIAL, RULES) == Grant((1, 0, 1, 1, 1), frozenset(Channel))


def test_a_foreign_filter_closes_or_is_granted_in_vain() -> None:
    filters = [("$iothub/methods/POST/#", 1), ("devices/ZPR000002/#", 2)]
    assert grant(filters, SERIAL, RULES) == Violation(CloseReason.FOREIGN_FILTER, "devices/ZPR000002/#")
    tolerant = HubRules(HOST, foreign_filters=ForeignFilters.GRANT_AND_IGNORE)
    assert grant(filters, SERIAL, tolerant) == Grant((1, 1), frozenset({Channel.METHODS}))


def test_the_hub_stamps_messages_and_a_device_cannot_forge_that() -> None:
    bag = {"ri": "default", "flag": None, "iothub-connection-device-id": "me", "iothub-EnqueuedTime": "never"}
    properties = stamped(SERIAL, bag, now_utc=NOW, retain=True, will=True)
    assert properties[:4] == (("ri", "default"), ("flag", ""), ("mqtt-retain", "true"), ("iothub-MessageType", "Will"))
    assert dict(properties)["iothub-connection-device-id"] == SERIAL
    assert dict(properties)["iothub-enqueuedtime"] == "2026-06-01T12:00:00.000000Z"
    assert len(properties) == len(dict(properties)) == 8

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.hub.rules import (
    BadStatus,
    Channel,
    CloseReason,
    ForeignFilters,
    Grant,
    HubRules,
    Login,
    Violation,
    grant,
    kept,
    meaning_of,
    message_bytes,
    restored,
    stamped,
)
from emulator.wire.iothub import D2C, MethodResponse, TwinGet, TwinPatch
from emulator.wire.mqtt import Publish

SERIAL = "ZPR000001"
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
RULES = HubRules("zapcloud.azure-devices.net")
LOGIN = Login(SERIAL, "639159552000000000", '{"scope":"device","type":"sas","issuer":"iothub"}')

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
    assert grant(filters, SERIAL, RULES) == Grant(
        (1, 0, 1, 1, 1),
        {Channel.METHODS: 1, Channel.TWIN_RESPONSES: 0, Channel.DESIRED: 1, Channel.DEVICEBOUND: 1},
    )


def test_a_foreign_filter_closes_or_is_granted_in_vain() -> None:
    filters = [("$iothub/methods/POST/#", 1), ("devices/ZPR000002/#", 2)]
    assert grant(filters, SERIAL, RULES) == Violation(CloseReason.FOREIGN_FILTER, "devices/ZPR000002/#")
    tolerant = HubRules(RULES.host, foreign_filters=ForeignFilters.GRANT_AND_IGNORE)
    assert grant(filters, SERIAL, tolerant) == Grant((1, 1), {Channel.METHODS: 1})


def test_the_hub_stamps_messages_and_a_device_cannot_forge_that() -> None:
    bag = {"ri": "default", "flag": None, "iothub-connection-device-id": "me", "iothub-EnqueuedTime": "never"}
    properties = stamped(LOGIN, bag, now_utc=NOW, retain=True, will=True)
    assert properties[:4] == (("ri", "default"), ("flag", ""), ("mqtt-retain", "true"), ("iothub-MessageType", "Will"))
    assert dict(properties)["iothub-connection-device-id"] == SERIAL
    assert dict(properties)["iothub-enqueuedtime"] == "2026-06-01T12:00:00.000000Z"
    assert dict(properties)["iothub-connection-auth-generation-id"] == LOGIN.generation_id
    assert dict(properties)["iothub-connection-auth-method"] == LOGIN.auth_method
    assert len(properties) == len(dict(properties)) == 9


def test_a_device_with_a_model_is_stamped_with_it() -> None:
    modelled = Login(SERIAL, "1", "{}", model_id="dtmi:a;1")
    properties = stamped(modelled, {"$.sub": "meter", "dt-dataschema": "forged"}, now_utc=NOW)
    assert ("dt-dataschema", "dtmi:a;1") in properties and ("dt-subject", "meter") in properties
    assert ("dt-dataschema", "forged") not in properties


def test_properties_count_towards_the_size_of_a_message() -> None:
    assert message_bytes({"$.ct": "abc", "name": "value", "flag": None}, b"12") == 2 + 3 + 4 + 5 + 4
    body = bytes(262_144 - 4)
    assert meaning_of(Publish(EVENTS + "a=123", body), SERIAL) == D2C({"a": "123"})
    over = meaning_of(Publish(EVENTS + "a=1234", body), SERIAL)
    assert isinstance(over, Violation) and over.reason is CloseReason.OVERSIZE
    assert meaning_of(Publish(EVENTS + "%24.ct=1234", body), SERIAL) == D2C({"$.ct": "1234"})


@given(st.dictionaries(st.sampled_from(list(Channel)), st.integers(0, 1)))
def test_a_stored_session_comes_back_as_it_was(channels: dict[Channel, int]) -> None:
    assert restored(kept(channels)) == channels


def test_what_a_stored_session_does_not_know_is_left_out() -> None:
    assert restored(["methods/1", "nonsense/1", "desired"]) == {Channel.METHODS: 1, Channel.DESIRED: 0}


@pytest.mark.parametrize("device_id", ["a+b", "a#b", "100%", "a$b", "x:y;z"])
def test_ids_with_special_characters_may_be_written_plain_or_encoded(device_id: str) -> None:
    encoded = "".join(f"%{ord(c):02X}" if c in "+#%$:;" else c for c in device_id)
    for level in (device_id, encoded):
        assert meaning_of(Publish(f"devices/{level}/messages/events/", b""), device_id) == D2C({})
        filters = [(f"devices/{level}/messages/devicebound/#", 1)]
        assert grant(filters, device_id, RULES) == Grant((1,), {Channel.DEVICEBOUND: 1})

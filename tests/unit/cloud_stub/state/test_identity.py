from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.identity import (
    CaSigned,
    Device,
    DeviceSpec,
    DeviceStatus,
    SasAuth,
    Seen,
    SelfSigned,
    device_json,
    spec_of,
)

KEYS = SasAuth(b"p" * 32, b"s" * 32)
DEVICE = Device("sdk", "639159732000000000", "MTAwMDAwMDAw", KEYS)

auths = (
    st.builds(SasAuth, *[st.binary(min_size=16, max_size=64)] * 2)
    | st.builds(SelfSigned, *[st.sampled_from(["AB" * 20, "0F" * 32])] * 2)
    | st.just(CaSigned())
)
specs = st.builds(DeviceSpec, auths, st.sampled_from(DeviceStatus), st.none() | st.text(max_size=128), st.booleans())
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_a_device_that_was_never_seen() -> None:
    shown = device_json(DEVICE)
    assert shown == {
        "deviceId": "sdk",
        "generationId": "639159732000000000",
        "etag": "MTAwMDAwMDAw",
        "connectionState": "Disconnected",
        "status": "enabled",
        "statusReason": None,
        "connectionStateUpdatedTime": "0001-01-01T00:00:00Z",
        "statusUpdatedTime": "0001-01-01T00:00:00Z",
        "lastActivityTime": "0001-01-01T00:00:00Z",
        "cloudToDeviceMessageCount": 0,
        "authentication": {
            "symmetricKey": {
                "primaryKey": b64encode(b"p" * 32).decode(),
                "secondaryKey": b64encode(b"s" * 32).decode(),
            },
            "x509Thumbprint": {"primaryThumbprint": None, "secondaryThumbprint": None},
            "type": "sas",
        },
        "capabilities": {"iotEdge": False},
    }


def test_what_is_known_of_its_connection_is_shown() -> None:
    shown = device_json(DEVICE, Seen(True, "2026-06-01T12:00:00.000000Z", "2026-06-01T12:00:01.000000Z"), 3)
    assert shown["connectionState"] == "Connected" and shown["cloudToDeviceMessageCount"] == 3
    assert shown["lastActivityTime"] == "2026-06-01T12:00:01.000000Z"


@given(specs)
def test_a_device_that_is_sent_back_as_it_was_read_stays_as_it_is(spec: DeviceSpec) -> None:
    device = Device("sdk", "1", "MQ==", spec.auth, spec.status, spec.status_reason, iot_edge=spec.iot_edge)
    assert spec_of(device_json(device)) == spec


def test_what_is_left_out_is_the_default() -> None:
    assert spec_of({"deviceId": "sdk"}) == DeviceSpec(SasAuth())
    assert spec_of({"authentication": {"symmetricKey": {"primaryKey": "", "secondaryKey": None}}}) == DeviceSpec()
    prints = {"x509Thumbprint": {"primaryThumbprint": "ab" * 20}}
    assert spec_of({"authentication": prints}).auth == SelfSigned("AB" * 20)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"status": "asleep"}, "status"),
        ({"status": ["enabled"]}, "status"),
        ({"statusReason": "x" * 129}, "statusReason"),
        ({"capabilities": {"iotEdge": "yes"}}, "iotEdge"),
        ({"capabilities": []}, "capabilities"),
        ({"authentication": "sas"}, "authentication"),
        ({"authentication": {"type": "none"}}, "type"),
        ({"authentication": {"type": {"a": 1}}}, "type"),
        ({"authentication": {"type": "selfSigned"}}, "thumbprint is needed"),
        ({"authentication": {"x509Thumbprint": {"primaryThumbprint": "zz"}}}, "hexadecimal"),
        ({"authentication": {"x509Thumbprint": {"primaryThumbprint": 7}}}, "hexadecimal"),
        ({"authentication": {"symmetricKey": {"primaryKey": "short"}}}, "base64"),
        ({"authentication": {"symmetricKey": {"primaryKey": "ø" * 44}}}, "base64"),
        ({"authentication": {"symmetricKey": {"primaryKey": 7}}}, "base64"),
        ({"moduleId": "m"}, "no modules"),
    ],
)
def test_a_device_that_cannot_be_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(HubError, match=message) as refused:
        spec_of(data)
    assert refused.value.code is ErrorCode.BAD_ARGUMENT


@given(
    st.dictionaries(
        st.sampled_from(["status", "statusReason", "authentication", "capabilities"]),
        json_values | st.dictionaries(st.sampled_from(["type", "symmetricKey", "x509Thumbprint"]), json_values),
    )
)
def test_garbage_gives_only_a_hub_error(data: dict[str, Any]) -> None:
    try:
        spec_of(data)
    except HubError as error:
        assert error.status == 400

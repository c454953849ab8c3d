from base64 import b64encode
from datetime import UTC, datetime

import pytest

from cloud_stub.hub.policies import PERMISSIONS, Denied, Permission, Policies
from emulator.wire.sas import sas_token

HOST = "zapcloud.azure-devices.net"
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SOON = int(NOW.timestamp()) + 60
POLICIES = Policies(b"s" * 32)
PATH = (HOST, "devices", "ZPR000001")


def judge(token: str | None, needs: Permission = Permission.REGISTRY_READ, **changes):
    return POLICIES.judge_text(token, **{"path": PATH, "needs": needs, "now_utc": NOW, **changes})


def token(name: str = "iothubowner", resource: str = HOST, *, expiry: int = SOON, key: bytes | None = None) -> str:
    known = POLICIES.get(name)
    signer = key or (known.primary_key if known else b"k" * 32)
    return sas_token(resource, signer, expiry, policy=name, encode_resource=True)


@pytest.mark.parametrize("name", PERMISSIONS)
@pytest.mark.parametrize("needs", Permission)
def test_each_policy_may_do_what_the_vendor_says(name: str, needs: Permission) -> None:
    allowed = needs in PERMISSIONS[name]
    assert judge(token(name), needs) == (POLICIES[name] if allowed else Denied.NOT_PERMITTED)


def test_the_secondary_key_is_as_good_and_no_two_keys_are_the_same() -> None:
    policy = POLICIES["service"]
    assert judge(token("service", key=policy.secondary_key), Permission.SERVICE_CONNECT) is policy
    assert len({key for each in POLICIES for key in each.keys}) == 10


@pytest.mark.parametrize("resource", [HOST, HOST.upper(), f"{HOST}/devices", f"{HOST}:443", "/".join(PATH)])
def test_scopes_that_cover_the_device(resource: str) -> None:
    assert judge(token(resource=resource)) is POLICIES["iothubowner"]


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        (None, Denied.NO_TOKEN),
        ("", Denied.NO_TOKEN),
        ("Bearer x", Denied.BAD_TOKEN),
        (sas_token(HOST, b"k" * 32, SOON), Denied.NO_POLICY),
        (token("nobody"), Denied.UNKNOWN_POLICY),
        (token("IotHubOwner"), Denied.UNKNOWN_POLICY),
        (token(resource=f"{HOST}/devices/ZPR000002"), Denied.WRONG_SCOPE),
        (token(resource="other.net"), Denied.WRONG_SCOPE),
        (token(key=b"k" * 32), Denied.WRONG_SIGNATURE),
        (token(expiry=SOON - 60), Denied.EXPIRED),
    ],
)
def test_what_is_denied(text: str | None, denied: Denied) -> None:
    assert judge(text) is denied


def test_skew_lets_an_expired_token_in() -> None:
    assert judge(token(expiry=SOON - 60), skew_s=1.0) is POLICIES["iothubowner"]


def test_a_connection_string_has_the_primary_key_and_repr_has_none() -> None:
    policy = POLICIES["service"]
    key = b64encode(policy.primary_key).decode()
    assert policy.connection_string(HOST) == f"HostName={HOST};SharedAccessKeyName=service;SharedAccessKey={key}"
    assert key not in repr(policy) and "key" not in repr(policy)


def test_another_production_secret_makes_other_keys() -> None:
    assert Policies(b"t" * 32)["service"].primary_key != POLICIES["service"].primary_key
    assert Policies(b"s" * 32)["service"] == POLICIES["service"]

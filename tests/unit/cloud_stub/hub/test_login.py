from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.hub.client_certificate import parse_authorities
from cloud_stub.hub.login import Accepted, AuthMethod, Proof, Refused, RefusedReason, decide_connect
from cloud_stub.hub.policies import Policies
from cloud_stub.hub.rules import HubRules
from cloud_stub.state.database import State
from cloud_stub.state.identity import CaSigned, DeviceSpec, DeviceStatus, SelfSigned
from cloud_stub.state.registry import Registry, derived_keys
from emulator.wire.iothub import sas_token, username
from emulator.wire.mqtt import Connect
from tests.unit.cloud_stub.hub.people import EXPIRED, Person, authority, person

HOST = "zapcloud.azure-devices.net"
SERIAL = "ZPR000001"
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
RULES = HubRules(HOST)
REGISTRY = Registry(State(), derived_keys(b"s" * 32), lambda: NOW)
DEVICE = REGISTRY.produce(SERIAL)
KEY = DEVICE.primary_key
POLICIES = Policies(b"s" * 32)


def connect(
    resource: str = f"ZapCloud.azure-devices.net/devices/{SERIAL}",
    *,
    key: bytes = KEY,
    expiry: int = NOW_S + 60,
    **changes: object,
) -> Connect:
    token = sas_token(resource, key, expiry).encode()
    return replace(Connect(SERIAL, username(HOST, SERIAL, "2018-06-30"), token), **changes)  # type: ignore[arg-type]


def decide(
    packet: Connect, rules: HubRules = RULES, at: datetime = NOW, certificates: tuple[bytes, ...] = ()
) -> Accepted | Refused:
    proof = Proof(packet, certificates)
    return decide_connect(proof, now_utc=at, rules=rules, device_of=REGISTRY.get, policies=POLICIES)


def test_the_charger_of_the_reference_is_accepted() -> None:
    assert decide(connect()) == Accepted(DEVICE, AuthMethod.DEVICE_SAS, NOW_S + 60, "2018-06-30")


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
    assert isinstance(decide(connect(key=DEVICE.keys[1])), Accepted)


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
        (connect(password=sas_token(HOST, KEY, NOW_S + 60, policy="device").encode()), RefusedReason.WRONG_SIGNATURE),
        (connect(password=sas_token(HOST, KEY, NOW_S + 60, policy="nobody").encode()), RefusedReason.UNKNOWN_POLICY),
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
        rules = HubRules(HOST, disabled_code=code)
        proof = Proof(connect())
        decision = decide_connect(proof, now_utc=NOW, rules=rules, device_of=disabled, policies=POLICIES)
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


def by_policy(name: str, resource: str = HOST, *, key: bytes | None = None, expiry: int = NOW_S + 60) -> Connect:
    token = sas_token(resource, key or POLICIES[name].primary_key, expiry, policy=name, encode_resource=True)
    return connect(password=token.encode())


@pytest.mark.parametrize("resource", [HOST, f"{HOST}/devices", f"{HOST}/devices/{SERIAL}"])
@pytest.mark.parametrize("name", ["iothubowner", "device"])
def test_a_field_gateway_connects_devices_with_a_policy(name: str, resource: str) -> None:
    decision = decide(by_policy(name, resource))
    assert isinstance(decision, Accepted) and decision.auth_method is AuthMethod.HUB_SAS
    secondary = by_policy(name, resource, key=POLICIES[name].secondary_key)
    assert isinstance(decide(secondary), Accepted)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (by_policy("service"), RefusedReason.NOT_PERMITTED),
        (by_policy("registryReadWrite"), RefusedReason.NOT_PERMITTED),
        (by_policy("device", f"{HOST}/dev"), RefusedReason.WRONG_SCOPE),
        (by_policy("device", f"{HOST}/devices/ZPR000002"), RefusedReason.WRONG_SCOPE),
        (by_policy("device", expiry=NOW_S), RefusedReason.SAS_EXPIRED),
    ],
)
def test_a_policy_needs_the_permission_and_the_scope(packet: Connect, reason: RefusedReason) -> None:
    decision = decide(packet)
    assert isinstance(decision, Refused) and (decision.code, decision.reason) == (5, reason)


def test_an_empty_policy_name_means_none() -> None:
    token = sas_token(f"{HOST}/devices/{SERIAL}", KEY, NOW_S + 60).encode() + b"&skn="
    decision = decide(connect(password=token))
    assert isinstance(decision, Accepted) and decision.auth_method is AuthMethod.DEVICE_SAS


def test_a_client_that_writes_the_port_into_user_name_and_scope_is_accepted() -> None:
    user = f"{HOST}:18884/{SERIAL}/?api-version=2021-04-12&DeviceClientType=node&model-id=dtmi%3Aa%3Bb%3B1"
    decision = decide(connect(f"{HOST}:18884/devices/{SERIAL}", username=user))
    assert isinstance(decision, Accepted) and decision.model_id == "dtmi:a;b;1"


SOMEBODY = person("anything")
AUTHORITY = authority("Works CA")
RULES_X509 = HubRules(HOST, authorities=parse_authorities(AUTHORITY.pem))
DATES = RefusedReason.CERTIFICATE_DATES


def with_certificate(shown: tuple[Person, ...], device_id: str, at: datetime = NOW, **changes: object) -> object:
    packet = Connect(device_id, username(HOST, device_id, "2021-04-12"))
    packet = replace(packet, **changes)  # type: ignore[arg-type]
    decision = decide(packet, RULES_X509, at, tuple(each.der for each in shown))
    return decision.auth_method if isinstance(decision, Accepted) else decision.reason


def test_a_self_signed_certificate_is_known_by_either_thumbprint_of_either_kind() -> None:
    sha1, sha256 = SOMEBODY.thumbprints
    other = person("other").thumbprints[0]
    for number, prints in enumerate([(sha1, ""), (sha256, ""), (other, sha1), (other, sha256)]):
        device_id = f"self-{number}"
        REGISTRY.create(device_id, DeviceSpec(SelfSigned(*prints)))
        assert with_certificate((SOMEBODY,), device_id) is AuthMethod.DEVICE_X509
        assert with_certificate((SOMEBODY,), device_id, password=b"") is AuthMethod.DEVICE_X509


def test_what_is_wrong_with_a_self_signed_certificate() -> None:
    REGISTRY.create("self", DeviceSpec(SelfSigned(SOMEBODY.thumbprints[1])))
    token = sas_token(f"{HOST}/devices/self", KEY, NOW_S + 60).encode()
    assert with_certificate((), "self") is RefusedReason.NO_CERTIFICATE
    assert with_certificate((person("self"),), "self") is RefusedReason.WRONG_CERTIFICATE
    assert with_certificate((SOMEBODY,), "self", password=token) is RefusedReason.SAS_ON_X509
    assert with_certificate((SOMEBODY,), "self", at=NOW + timedelta(days=36_500)) is DATES
    assert with_certificate((SOMEBODY,), SERIAL) is RefusedReason.MISSING_SAS


def test_a_certificate_authority_vouches_for_the_device_that_the_certificate_names() -> None:
    REGISTRY.create("ca-device", DeviceSpec(CaSigned()))
    between = authority("Line 1", signer=AUTHORITY)
    direct, indirect = person("ca-device", signer=AUTHORITY), person("ca-device", signer=between)
    assert with_certificate((direct,), "ca-device") is AuthMethod.DEVICE_X509
    assert with_certificate((indirect, between), "ca-device") is AuthMethod.DEVICE_X509
    assert with_certificate((indirect, person("x"), between), "ca-device") is AuthMethod.DEVICE_X509


def test_what_an_authority_does_not_vouch_for() -> None:
    REGISTRY.create("ca-other", DeviceSpec(CaSigned()))
    between = authority("Line 2", signer=AUTHORITY)
    no_authority = person("Line 3", signer=AUTHORITY)
    old = authority("Line 4", signer=AUTHORITY, until=EXPIRED)
    unknown = RefusedReason.UNKNOWN_AUTHORITY
    assert with_certificate((person("ca-device", signer=AUTHORITY),), "ca-other") is RefusedReason.WRONG_CERTIFICATE
    assert with_certificate((person("ca-other"),), "ca-other") is unknown
    assert with_certificate((person("ca-other", signer=authority("Works CA")),), "ca-other") is unknown
    assert with_certificate((person("ca-other", signer=between),), "ca-other") is unknown  # a link is missing
    assert with_certificate((person("ca-other", signer=no_authority), no_authority), "ca-other") is unknown
    assert with_certificate((person("ca-other", signer=old), old), "ca-other") is unknown
    assert with_certificate((person("ca-other", signer=AUTHORITY, until=EXPIRED),), "ca-other") is DATES


@given(st.binary(max_size=200))
def test_bytes_that_are_no_certificate_are_none(der: bytes) -> None:
    packet = Connect("self-0", username(HOST, "self-0", "2021-04-12"))
    REGISTRY.get("self-0") or REGISTRY.create("self-0", DeviceSpec(SelfSigned(SOMEBODY.thumbprints[0])))
    decision = decide(packet, RULES_X509, certificates=(der,))
    assert isinstance(decision, Refused) and decision.reason is RefusedReason.NO_CERTIFICATE

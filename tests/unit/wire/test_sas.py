"""Shared access signatures, against tokens that openssl signed."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.sas import Sas, SasError, check_sas, covers, parse_sas, sas_token

KEY = base64.b64decode("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
EXPIRY = 1771585445

# printf '%s\n1771585445' RESOURCE | openssl dgst -sha256 -mac HMAC -binary \
#   -macopt hexkey:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f | base64
SIGNED_BY_OPENSSL = {
    "ZapCloud.azure-devices.net/devices/ZPR000001": "+PUO4X8jTPN194+Z1WNZmb/cwmuLF55OOk2W6ujRqQ0=",
    "ZapCloud.azure-devices.net%2Fdevices%2FZPR000001": "LHBnQSQ00pPpnkNBa034qBcxJxVw4ApT6d49pgrtIQw=",
    "ZapCloud.azure-devices.net%2fdevices%2fZPR000001": "3E8sFHKPnKSfULgETshJXmzggKxjd+aqYB2hNrYfRy4=",
}
CHARGER_TOKEN = (
    "SharedAccessSignature sr=ZapCloud.azure-devices.net/devices/ZPR000001"
    "&sig=%2BPUO4X8jTPN194%2BZ1WNZmb%2FcwmuLF55OOk2W6ujRqQ0%3D&se=1771585445"
)


def test_the_charger_writes_exactly_this_token() -> None:
    assert sas_token("ZapCloud.azure-devices.net/devices/ZPR000001", KEY, EXPIRY) == CHARGER_TOKEN


def test_the_sdks_encode_the_resource_and_services_name_their_policy() -> None:
    token = sas_token(
        "ZapCloud.azure-devices.net/devices/ZPR000001", KEY, EXPIRY, encode_resource=True, policy="service"
    )
    assert "sr=ZapCloud.azure-devices.net%2Fdevices%2FZPR000001&sig=LHBnQSQ00pPpnkNBa034" in token
    assert token.endswith("&se=1771585445&skn=service")


@pytest.mark.parametrize("resource", SIGNED_BY_OPENSSL)
@pytest.mark.parametrize("order", ["sr sig se", "sr se sig", "se sig sr", "sig skn sr se"])
def test_tokens_signed_by_openssl_are_good_in_any_spelling_and_order(resource: str, order: str) -> None:
    signature = SIGNED_BY_OPENSSL[resource]
    fields = {"sr": resource, "sig": signature.replace("+", "%2b"), "se": str(EXPIRY), "skn": ""}
    sas = parse_sas("SharedAccessSignature " + "&".join(f"{name}={fields[name]}" for name in order.split()))
    assert (sas.resource, sas.expiry, sas.policy) == (resource, EXPIRY, None)
    assert check_sas(sas, [KEY])
    assert covers(sas.resource, "zapcloud.azure-devices.net", "ZPR000001")


def test_either_key_is_good_and_no_other() -> None:
    sas = parse_sas(CHARGER_TOKEN)
    assert check_sas(sas, [b"other", KEY])
    assert check_sas(sas, [KEY, b"other"])
    assert not check_sas(sas, [b"other", b"another"])
    assert not check_sas(sas, [])


@pytest.mark.parametrize(
    "tampered",
    [
        CHARGER_TOKEN.replace("ZPR000001", "ZPR000002"),
        CHARGER_TOKEN.replace("ZapCloud", "zapcloud"),
        CHARGER_TOKEN.replace("/devices/", "%2Fdevices%2F"),  # the same resource, but not the text that was signed
        CHARGER_TOKEN.replace("1771585445", "1771585446"),
        CHARGER_TOKEN.replace("%2BPUO", "%2BPUP"),
        CHARGER_TOKEN.replace("qQ0%3D", ""),  # three bytes short
    ],
)
def test_a_changed_token_is_not_good(tampered: str) -> None:
    assert not check_sas(parse_sas(tampered), [KEY])


@pytest.mark.parametrize(
    ("resource", "covered"),
    [
        ("hub.net/devices/dev", True),
        ("HUB.net/devices/dev", True),
        ("hub.net%2Fdevices%2fdev", True),
        ("hub.net/devices", True),
        ("hub.net", True),
        ("hub.net/devices/Dev", False),
        ("hub.net/Devices/dev", False),
        ("hub.net/devices/de", False),
        ("hub.net/devices/dev/modules/m", False),
        ("hub.net/devices/dev/", False),
        ("hub.ne", False),
        ("", False),
    ],
)
def test_a_scope_is_whole_leading_segments(resource: str, covered: bool) -> None:
    assert covers(resource, "Hub.net", "dev") is covered


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sr=a&sig=YQ==&se=1",
        "SharedAccessSignature ",
        "sharedaccesssignature sr=a&sig=YQ==&se=1",
        "SharedAccessSignature sig=YQ==&se=1",
        "SharedAccessSignature sr=a&se=1",
        "SharedAccessSignature sr=a&sig=YQ==",
        "SharedAccessSignature sr=a&sig=YQ==&se=1&se=2",
        "SharedAccessSignature sr=a&sig=!&se=1",
        "SharedAccessSignature sr=a&sig=é&se=1",
        "SharedAccessSignature sr=a&sig=YQ==&se=",
        "SharedAccessSignature sr=a&sig=YQ==&se=-1",
        "SharedAccessSignature sr=a&sig=YQ==&se=01",
        "SharedAccessSignature sr=a&sig=YQ==&se=1.5",
        "SharedAccessSignature sr=a&sig=YQ==&se=٣",
        "SharedAccessSignature sr=a&sig=YQ==&se=" + "9" * 5_000,
    ],
)
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(SasError) as caught:
        parse_sas(text)
    assert "YQ" not in str(caught.value)


def test_an_empty_policy_is_none_and_unknown_fields_do_no_harm() -> None:
    text = "SharedAccessSignature x=1&sr=a&sig=YQ==&se=1"
    assert parse_sas(text) == parse_sas(text + "&skn=") == Sas("a", b"a", 1)
    assert parse_sas(text + "&skn=iothub%20owner").policy == "iothub owner"


@given(st.text(min_size=1), st.binary(max_size=64), st.integers(0, 10**12), st.none() | st.text(min_size=1))
def test_tokens_round_trip(resource: str, key: bytes, expiry: int, policy: str | None) -> None:
    sas = parse_sas(sas_token(resource, key, expiry, encode_resource=True, policy=policy))
    assert (sas.expiry, sas.policy) == (expiry, policy)
    assert check_sas(sas, [key])
    assert not check_sas(sas, [key + b"x"])


@given(st.text(), st.sampled_from(["", "SharedAccessSignature ", CHARGER_TOKEN]))
def test_garbage_gives_a_token_or_sas_error(text: str, head: str) -> None:
    try:
        sas = parse_sas(head + text)
    except SasError:
        return
    check_sas(sas, [KEY])
    covers(sas.resource, "hub", "dev")


def test_signatures_stay_out_of_repr() -> None:
    sas = parse_sas(CHARGER_TOKEN)
    assert repr(sas.signature) not in repr(sas)


@pytest.mark.parametrize("resource", ["hub.net/devices/a%41", "hub.net%2Fdevices%2Fa%2541"])
def test_an_id_with_a_percent_sign_may_be_written_plain_or_encoded(resource: str) -> None:
    assert covers(resource, "hub.net", "a%41")


@pytest.mark.parametrize(("resource", "host"), [("hub.net:8883/devices", "hub.net"), ("hub.net", "HUB.net:443")])
def test_a_port_does_not_count(resource: str, host: str) -> None:
    assert covers(resource, host, "dev")

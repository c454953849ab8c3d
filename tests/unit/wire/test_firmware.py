"""The update container: what is signed, what is refused, and that garbage never does anything else."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.firmware import (
    LOCATION_MAX_BYTES,
    MANIFEST_MAX_BYTES,
    FirmwareError,
    Location,
    Manifest,
    Running,
    UpdateReason,
    check_block,
    check_fits,
    decode_location,
    decode_location_request,
    decode_manifest,
    describe,
    encode_location,
    encode_location_request,
    encode_manifest,
    parse_version,
    sign,
    verify,
)

SIGNER = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
STRANGER = ec.derive_private_key(0xBAD, ec.SECP256R1())
PUBLIC = SIGNER.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
IMAGE = Random("image").randbytes(10_000)
MANIFEST = describe(IMAGE, version="5.4.0.0", security_counter=3, hardware="zaptec-pro", block_bytes=4096)
RUNNING = Running("5.3.0.3", 3, "zaptec-pro", slot_bytes=10_000, block_bytes=4096)

digests = st.binary(min_size=32, max_size=32)
versions = st.lists(st.integers(0, 999_999), min_size=1, max_size=8).map(lambda parts: ".".join(map(str, parts)))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    block_bytes, count = draw(st.integers(1, 2**20)), draw(st.integers(1, 20))
    size_bytes = block_bytes * (count - 1) + draw(st.integers(1, block_bytes))
    return Manifest(
        draw(versions),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.text(min_size=1, max_size=64)),
        size_bytes,
        block_bytes,
        draw(digests),
        tuple(draw(st.lists(digests, min_size=count, max_size=count))),
    )


def reason_of(call: Callable[..., Any], *args: Any) -> UpdateReason:
    with pytest.raises(FirmwareError) as caught:
        call(*args)
    return caught.value.reason


@given(manifests())
def test_a_manifest_comes_back_as_it_went(manifest: Manifest) -> None:
    assert decode_manifest(encode_manifest(manifest)) == manifest


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_garbage_is_malformed_and_nothing_else(data: bytes) -> None:
    for decode in (decode_manifest, decode_location, decode_location_request):
        assert reason_of(decode, data) is UpdateReason.MALFORMED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(json.loads(encode_manifest(MANIFEST)))), json_values)
def test_a_field_of_another_kind_is_malformed(key: str, value: Any) -> None:
    fields = json.loads(encode_manifest(MANIFEST))
    if fields[key] == value and type(fields[key]) is type(value):
        return
    data = json.dumps(fields | {key: value}, sort_keys=True, separators=(",", ":")).encode()
    try:
        assert encode_manifest(decode_manifest(data)) == data  # another value of the right kind
    except FirmwareError as error:
        assert error.reason is UpdateReason.MALFORMED


def test_only_the_canonical_form_is_accepted() -> None:
    data = encode_manifest(MANIFEST)
    spaced = json.dumps(json.loads(data), sort_keys=True).encode()
    extended = json.dumps(json.loads(data) | {"zz": 1}, sort_keys=True, separators=(",", ":")).encode()
    upper = data.replace(MANIFEST.sha256.hex().encode(), MANIFEST.sha256.hex().upper().encode())
    for other in (spaced, extended, upper, data + b"\n", b"[" * 100_000, data.ljust(MANIFEST_MAX_BYTES + 1)):
        assert reason_of(decode_manifest, other) is UpdateReason.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "5.4-beta"},
        {"version": ""},
        {"security_counter": -1},
        {"security_counter": 2**32},
        {"size_bytes": 0},
        {"block_bytes": 0},
        {"block_bytes": 2048},
        {"hardware": ""},
        {"sha256": b"short"},
        {"blocks": MANIFEST.blocks[:-1]},
        {"blocks": (*MANIFEST.blocks[:-1], b"short")},
    ],
)
def test_contradictions_are_never_encoded(changes: dict[str, Any]) -> None:
    assert reason_of(encode_manifest, replace(MANIFEST, **changes)) is UpdateReason.MALFORMED


def test_a_signature_has_a_fixed_length_and_is_the_same_every_time() -> None:
    data = encode_manifest(MANIFEST)
    assert sign(data, SIGNER) == sign(data, SIGNER)
    assert {len(sign(bytes([number]), SIGNER)) for number in range(50)} == {64}
    assert verify(data, sign(data, SIGNER), PUBLIC) == MANIFEST


def test_what_the_trusted_key_did_not_sign_is_refused() -> None:
    data = encode_manifest(MANIFEST)
    signature = sign(data, SIGNER)
    assert reason_of(verify, data, b"", PUBLIC) is UpdateReason.UNSIGNED
    for wrong in (sign(data, STRANGER), signature[:-1], signature + b"\0", bytes(64), b"\xff" * 64):
        assert reason_of(verify, data, wrong, PUBLIC) is UpdateReason.BAD_SIGNATURE
    altered = data.replace(b"5.4.0.0", b"5.5.0.0")
    assert reason_of(verify, altered, signature, PUBLIC) is UpdateReason.BAD_SIGNATURE


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_garbage_is_never_verified(data: bytes, signature: bytes) -> None:
    assert reason_of(verify, data, signature, PUBLIC) in {UpdateReason.UNSIGNED, UpdateReason.BAD_SIGNATURE}


def test_signed_nonsense_is_still_malformed() -> None:
    assert reason_of(verify, b"{}", sign(b"{}", SIGNER), PUBLIC) is UpdateReason.MALFORMED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hardware": "zaptec-go"}, UpdateReason.WRONG_HARDWARE),
        ({"security_counter": 2}, UpdateReason.OLDER),
        ({"version": "5.3.0.2"}, UpdateReason.OLDER),
        ({"version": "5.3"}, UpdateReason.OLDER),
        ({"size_bytes": 10_001}, UpdateReason.TOO_LARGE),
        ({"block_bytes": 4097}, UpdateReason.MALFORMED),
    ],
)
def test_a_genuine_image_for_another_charger_is_refused(changes: dict[str, Any], reason: UpdateReason) -> None:
    assert reason_of(check_fits, replace(MANIFEST, **changes), RUNNING) is reason


@pytest.mark.parametrize("version", ["5.3.0.3", "5.3.0.3.0", "5.3.0.10", "6"])
def test_an_equal_or_newer_version_fits(version: str) -> None:
    check_fits(replace(MANIFEST, version=version), RUNNING)


def test_every_block_is_checked_by_length_and_hash() -> None:
    blocks = [IMAGE[start : start + 4096] for start in range(0, len(IMAGE), 4096)]
    assert [MANIFEST.block_size(index) for index in range(3)] == [4096, 4096, 1808]
    for index, block in enumerate(blocks):
        check_block(MANIFEST, index, block)
        flipped = bytes([block[0] ^ 1]) + block[1:]
        assert reason_of(check_block, MANIFEST, index, flipped) is UpdateReason.WRONG_HASH
        assert reason_of(check_block, MANIFEST, index, block[:-1]) is UpdateReason.SHORT
    assert reason_of(check_block, MANIFEST, 0, blocks[1]) is UpdateReason.WRONG_HASH


def test_versions_compare_by_number_not_by_text() -> None:
    assert parse_version("5.10") > parse_version("5.9.9")
    assert parse_version("5.3.0") == parse_version("5.3")
    for bad in ("5..3", "v5", "5.3.0.3\n", "\u0665", "1" * 7, ".".join("1" * 9)):
        assert reason_of(parse_version, bad) is UpdateReason.MALFORMED


@given(st.binary(max_size=64))
def test_the_key_of_a_location_request_comes_back(key: bytes) -> None:
    assert decode_location_request(encode_location_request(key)) == key


def test_a_bad_location_request_does_not_quote_the_key() -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    with pytest.raises(FirmwareError) as caught:
        decode_location_request(json.dumps({"psk": f"!{key}"}).encode())
    assert key not in str(caught.value)


def test_a_location_comes_back_as_it_went() -> None:
    location = Location("https://devices.zaptec.com/firmware/ZPR000001/5.4.0.0.bin", "5.4.0.0")
    assert decode_location(encode_location(location)) == location


@pytest.mark.parametrize("host", ["host", "a.b", "3com.a-b.x1:8443", f"{'x' * 63}.com", f"{'abc.' * 62}abcde"])
def test_a_location_may_be_on_any_host_with_a_name(host: str) -> None:
    location = Location(f"https://{host}/a", "5.4.0.0")
    assert decode_location(encode_location(location)) == location


@pytest.mark.parametrize(
    "url",
    [
        "http://devices.zaptec.com/a",
        "https://",
        "https://host",
        "https://host:0/a",
        "https://host:123456/a",
        "https://user@host/a",
        "https://host/a?b",
        "https://host/a#b",
        "https://host/a b",
        "https://höst/a",
        "https://host//a",
        "file:///etc/passwd",
        "https://[::1/a",
        "https://a..b/a",
        "https://../a",
        "https://.a/a",
        "https://a./a",
        "https://-/a",
        "https://-a.com/a",
        "https://a-.com/a",
        "https://1.2.3.999/a",
        "https://127.0.0.1/a",
        f"https://{'x' * 64}.com/a",
        f"https://{'abc.' * 63}com/a",
    ],
)
def test_a_download_url_must_be_a_plain_https_file(url: str) -> None:
    data = json.dumps({"DownloadUrl": url, "Version": "5.4.0.0"}).encode()
    assert reason_of(decode_location, data) is UpdateReason.MALFORMED


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"DownloadUrl": "https://host/a"}',
        b'{"DownloadUrl": "https://host/a", "Version": 5}',
        b'{"DownloadUrl": "https://host/a", "Version": "new"}',
        b'{"DownloadUrl": null, "Version": "5.4"}',
        b'{"DownloadUrl": "https://host/a", "Version": "5.4"}'.ljust(LOCATION_MAX_BYTES + 1),
    ],
)
def test_a_location_reply_must_be_whole_and_short(data: bytes) -> None:
    assert reason_of(decode_location, data) is UpdateReason.MALFORMED

"""Who may sign firmware: signatures, the keys that a charger knows, and the list that a trust bundle brings."""

from base64 import b64encode
from dataclasses import replace
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import UsageError
from emulator.wire.firmware_keys import (
    BLOCK_LABEL,
    KEYS_MAX,
    REVOKED_MAX,
    SIGNATURE_MAX_BYTES,
    FirmwareKeys,
    encode_keys,
    find_keys,
    key_id,
    load_public_key,
    public_pem,
    sign,
    verify,
)
from emulator.wire.json_fields import canonical
from emulator.wire.update_reason import FirmwareError, UpdateReason
from tests.firmware_images import (
    KEY_ID,
    KEYS,
    MANIFEST,
    NEXT,
    NEXT_ID,
    PACKAGE,
    SIGNER,
    STRANGER,
    STRANGERS_ID,
    package,
    reason_of,
)

DATA, SIGNATURE = PACKAGE.manifest, sign(PACKAGE.manifest, SIGNER)
BOTH = FirmwareKeys((*KEYS.known_pems, public_pem(NEXT.public_key())), number=1)
BY_NEXT, BY_STRANGER = (package(key_id=name).manifest for name in (NEXT_ID, STRANGERS_ID))

# Signatures


def test_a_signature_is_der_and_the_same_every_time() -> None:
    assert sign(DATA, SIGNER) == SIGNATURE
    SIGNER.public_key().verify(SIGNATURE, DATA, ec.ECDSA(SHA256()))
    assert verify(DATA, SIGNATURE, KEYS) == MANIFEST


def test_nearly_all_signatures_have_one_length() -> None:
    lengths = [len(sign(number.to_bytes(2, "big"), SIGNER)) for number in range(1000)]
    assert max(lengths) == 71
    assert lengths.count(71) > 985


def test_a_signature_that_openssl_made_at_random_is_as_good() -> None:
    lengths = set()
    for _ in range(20):
        signature = SIGNER.sign(DATA, ec.ECDSA(SHA256()))
        assert verify(DATA, signature, KEYS) == MANIFEST
        lengths.add(len(signature))
    assert max(lengths) <= 72 < SIGNATURE_MAX_BYTES


@given(st.integers(0, len(SIGNATURE) - 1), st.integers(1, 255))
def test_any_other_byte_in_the_signature_makes_it_bad(position: int, change: int) -> None:
    altered = SIGNATURE[:position] + bytes([SIGNATURE[position] ^ change]) + SIGNATURE[position + 1 :]
    assert reason_of(verify, DATA, altered, KEYS) is UpdateReason.BAD_SIGNATURE


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_any_other_byte_in_the_manifest_makes_the_signature_bad(position: int, change: int) -> None:
    altered = DATA[:position] + bytes([DATA[position] ^ change]) + DATA[position + 1 :]
    assert reason_of(verify, altered, SIGNATURE, KEYS) in {UpdateReason.BAD_SIGNATURE, UpdateReason.UNKNOWN_KEY}


@given(st.binary(max_size=300), st.binary(max_size=80))
def test_garbage_is_never_verified(data: bytes, signature: bytes) -> None:
    reason = UpdateReason.BAD_SIGNATURE if signature else UpdateReason.UNSIGNED
    assert reason_of(verify, data, signature, KEYS) is reason


def test_what_is_cut_off_or_goes_on_is_bad() -> None:
    assert reason_of(verify, DATA, b"", KEYS) is UpdateReason.UNSIGNED
    for wrong in (SIGNATURE[:-1], SIGNATURE + b"\0", bytes(71), b"\xff" * 72, SIGNATURE * 100):
        assert reason_of(verify, DATA, wrong, KEYS) is UpdateReason.BAD_SIGNATURE


def test_signed_nonsense_is_still_malformed() -> None:
    for nonsense in (b"{}", b"", b"\xff" * 10, DATA + b" "):
        assert reason_of(verify, nonsense, sign(nonsense, SIGNER), KEYS) is UpdateReason.MALFORMED


# Which key


def test_a_stranger_is_unknown_whether_or_not_the_manifest_is_the_vendors() -> None:
    assert reason_of(verify, BY_STRANGER, sign(BY_STRANGER, STRANGER), KEYS) is UpdateReason.UNKNOWN_KEY
    assert reason_of(verify, DATA, sign(DATA, STRANGER), KEYS) is UpdateReason.BAD_SIGNATURE
    assert reason_of(verify, BY_STRANGER, SIGNATURE, KEYS) is UpdateReason.UNKNOWN_KEY


def test_a_key_that_may_sign_does_not_sign_for_another() -> None:
    for data, signer in ((BY_NEXT, SIGNER), (DATA, NEXT), (BY_STRANGER, SIGNER)):
        assert reason_of(verify, data, sign(data, signer), BOTH) is UpdateReason.BAD_SIGNATURE


def test_keys_come_and_go() -> None:
    """Rotation: the new key is announced beside the old, then the old one is revoked."""
    born, announced = KEYS, BOTH
    revoked = replace(BOTH, revoked=frozenset({KEY_ID}), number=2)
    by_old, by_next = (DATA, SIGNATURE), (BY_NEXT, sign(BY_NEXT, NEXT))
    assert reason_of(verify, *by_next, born) is UpdateReason.UNKNOWN_KEY
    assert verify(*by_old, announced).key_id == KEY_ID
    assert verify(*by_next, announced).key_id == NEXT_ID
    assert reason_of(verify, *by_old, revoked) is UpdateReason.REVOKED_KEY
    assert verify(*by_next, revoked).key_id == NEXT_ID


def test_with_every_key_revoked_nothing_is_installed() -> None:
    none = replace(KEYS, revoked=frozenset({KEY_ID}))
    assert none.may_sign() == {}
    assert reason_of(verify, DATA, SIGNATURE, none) is UpdateReason.REVOKED_KEY


def test_a_key_id_is_the_beginning_of_the_hash_of_its_spki() -> None:
    assert load_public_key(public_pem(SIGNER.public_key())).public_numbers() == SIGNER.public_key().public_numbers()
    assert key_id(SIGNER.public_key()) == KEY_ID
    assert len({KEY_ID, NEXT_ID, STRANGERS_ID}) == 3


def test_a_key_that_is_no_p256_key_is_the_makers_mistake() -> None:
    other = ec.derive_private_key(7, ec.SECP384R1()).public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for wrong in (pem, "", "-----", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(UsageError, match="firmware key"):
            FirmwareKeys((wrong,)).may_sign()


# The list in a trust bundle


def test_a_list_comes_back_as_it_went_whatever_stands_around_it() -> None:
    listed = replace(BOTH, revoked=frozenset({KEY_ID, "0123456789abcdef"}), number=7)
    block = encode_keys(listed)
    assert find_keys(block) == listed
    assert find_keys(f"# roots\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{block}") == listed
    assert max(map(len, block.splitlines())) <= 64


def test_text_without_a_list_has_none() -> None:
    assert find_keys("") is None
    assert find_keys("-----BEGIN CERTIFICATE-----\n") is None


def block_of(body: bytes) -> str:
    return f"-----BEGIN {BLOCK_LABEL}-----\n{b64encode(body).decode()}\n-----END {BLOCK_LABEL}-----\n"


SPKI = b64encode(SIGNER.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
LIST = {"format": 1, "number": 1, "keys": [SPKI], "revoked": []}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"number": 0},
        {"number": 2**31},
        {"number": True},
        {"keys": []},
        {"keys": [SPKI] * (KEYS_MAX + 1)},
        {"keys": [SPKI[:-4]]},
        {"keys": ["\u00e9"]},
        {"keys": [b64encode(b"no key").decode()]},
        {"keys": [7]},
        {"revoked": ["x"]},
        {"revoked": [KEY_ID] * (REVOKED_MAX + 1)},
        {"revoked": None},
    ],
)
def test_a_list_with_anything_wrong_is_refused_as_a_whole(changes: dict[str, object]) -> None:
    assert find_keys(block_of(canonical(LIST))) == replace(KEYS, number=1)
    assert reason_of(find_keys, block_of(canonical(LIST | changes))) is UpdateReason.MALFORMED


def test_two_lists_or_half_of_one_are_none() -> None:
    block = encode_keys(BOTH)
    for text in (
        block * 2,
        block[:100],
        block[40:],
        block.replace("END", "BEGIN"),
        BLOCK_LABEL,
        block.replace("\n", ""),
    ):
        assert reason_of(find_keys, text) is UpdateReason.MALFORMED


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_garbage_in_a_block_is_malformed_and_nothing_else(body: bytes) -> None:
    assert reason_of(find_keys, block_of(body)) is UpdateReason.MALFORMED


@given(st.integers(0, 2000), st.sampled_from(list("A-=\n z\u00e9\0")))
def test_another_character_in_a_block_gives_only_a_firmware_error(position: int, character: str) -> None:
    block = encode_keys(BOTH)
    at = position % len(block)
    try:
        find_keys(block[:at] + character + block[at + 1 :])
    except FirmwareError as error:
        assert error.reason is UpdateReason.MALFORMED


@pytest.mark.parametrize(
    "wrong",
    [
        KEYS,
        replace(BOTH, number=2**31),
        replace(BOTH, known_pems=()),
        replace(BOTH, known_pems=KEYS.known_pems * (KEYS_MAX + 1)),
        replace(BOTH, revoked=frozenset({"not an id"})),
        replace(BOTH, revoked=frozenset(f"{number:016x}" for number in range(REVOKED_MAX + 1))),
    ],
    ids=["number-0", "number", "no-keys", "keys", "revoked-id", "revoked"],
)
def test_a_list_that_nobody_could_read_is_not_written(wrong: FirmwareKeys) -> None:
    with pytest.raises(UsageError, match="firmware keys"):
        encode_keys(wrong)


def test_lists_of_different_numbers_differ() -> None:
    blocks = [encode_keys(replace(BOTH, number=number)) for number in (1, 2, 3)]
    assert all(earlier != later for earlier, later in pairwise(blocks))

"""CMS signatures are told from bare ones by their first bytes."""

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from cryptography.x509 import Certificate
from hypothesis import given
from hypothesis import strategies as st

from certs.issue import Authority, root_authority, rsa_key, server_certificate, signer_certificate
from cloud_stub.firmware.cms import cms_signature
from emulator.wire.firmware_keys import SIGNATURE_MAX_BYTES, FirmwareKeys, public_pem, sign, verify
from emulator.wire.signed_data import is_signed_data
from emulator.wire.update_reason import UpdateReason
from tests.firmware_images import KEY_ID, KEYS, PACKAGE, SIGNER, STRANGER, STRANGERS_ID, package, reason_of

DATA = PACKAGE.manifest
HEADS = [
    bytes.fromhex(head)
    for head in (
        "30 10 06 09 2a864886f70d010702 a0 03 30 01 02 01 01",
        "30 81 90 06 09 2a864886f70d010702 a0 81 83 30 81 80 02 01 03",
        "30 82 04a4 06 09 2a864886f70d010702 a0 82 0495 30 82 0491 02 01 01",
        "30 83 0104a4 06 09 2a864886f70d010702 a0 83 010495 30 83 010491 02 01 05",
        "30 80 06 09 2a864886f70d010702 a0 80 30 80 02 01 04",
    )
]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return root_authority("A CA that vouches for its signer")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    return signer_certificate("Signer", SIGNER.public_key(), authority)


@pytest.mark.parametrize("head", HEADS)
def test_every_form_of_length_is_known_and_what_follows_does_not_matter(head: bytes) -> None:
    assert is_signed_data(head) and is_signed_data(head + b"\xff" * 9)
    assert not any(is_signed_data(head[:end]) for end in range(len(head)))


@given(st.sampled_from(HEADS), st.binary(max_size=200))
def test_it_is_looked_for_at_the_start_and_nowhere_else(head: bytes, noise: bytes) -> None:
    assert is_signed_data(head + noise)
    assert not is_signed_data(b"\x30" + head + noise) and not is_signed_data(b"\0" + head + noise)


@given(st.binary(max_size=400) | st.binary(max_size=80).map(lambda tail: HEADS[2][:9] + tail))
def test_no_bytes_are_too_much_for_it(data: bytes) -> None:
    known = is_signed_data(data)
    expected = {UpdateReason.CERTIFICATE_SIGNER} if known else {UpdateReason.UNSIGNED, UpdateReason.BAD_SIGNATURE}
    assert reason_of(verify, DATA, data, KEYS) in expected


@given(st.integers(0, len(HEADS[2]) - 1), st.integers(1, 255))
def test_one_other_byte_gives_an_answer_too(position: int, change: int) -> None:
    head = HEADS[2]
    altered = head[:position] + bytes([head[position] ^ change]) + head[position + 1 :]
    assert is_signed_data(altered) in (True, False)


@given(st.integers(1, 2**256), st.integers(1, 2**256))
def test_no_ecdsa_signature_is_taken_for_it(r: int, s: int) -> None:
    assert not is_signed_data(encode_dss_signature(r, s))


def test_what_the_cloud_makes_is_known_and_as_long_every_time(certificate: Certificate) -> None:
    made = [cms_signature(DATA, SIGNER, certificate) for _ in range(20)]
    assert all(map(is_signed_data, made))
    assert len({len(signature) for signature in made}) == 1


@pytest.mark.parametrize(
    "options",
    [
        [PKCS7Options.DetachedSignature],
        [PKCS7Options.Binary],
        [PKCS7Options.DetachedSignature, PKCS7Options.Binary, PKCS7Options.NoCapabilities],
        [PKCS7Options.DetachedSignature, PKCS7Options.NoAttributes, PKCS7Options.NoCerts],
    ],
)
def test_so_is_every_other_way_to_make_one(certificate: Certificate, options: list[PKCS7Options]) -> None:
    builder = PKCS7SignatureBuilder().set_data(DATA).add_signer(certificate, SIGNER, SHA256())
    assert is_signed_data(builder.sign(Encoding.DER, options))


def test_a_chain_of_a_server_fits_into_what_a_charger_reads(authority: Authority) -> None:
    key = rsa_key()
    leaf = server_certificate(("api.zaptec.com",), key.public_key(), authority)
    builder = PKCS7SignatureBuilder().set_data(DATA).add_signer(leaf, key, SHA256())
    for _ in range(3):
        builder = builder.add_certificate(authority.certificate)
    signature = builder.sign(Encoding.DER, [PKCS7Options.DetachedSignature])
    assert 3000 < len(signature) < SIGNATURE_MAX_BYTES
    assert reason_of(verify, DATA, signature, KEYS) is UpdateReason.CERTIFICATE_SIGNER


def test_not_even_a_key_that_may_sign_does_so_with_a_certificate(certificate: Certificate) -> None:
    """The charger knows the key, the manifest names it, and a CA vouches for it: bare, its signature is good."""
    assert verify(DATA, sign(DATA, SIGNER), KEYS).key_id == KEY_ID
    assert reason_of(verify, DATA, cms_signature(DATA, SIGNER, certificate), KEYS) is UpdateReason.CERTIFICATE_SIGNER


def test_whatever_the_manifest_names_a_certificate_is_the_reason(authority: Authority) -> None:
    certificate = signer_certificate("Stranger", STRANGER.public_key(), authority)
    revoked = FirmwareKeys((public_pem(SIGNER.public_key()),), frozenset({KEY_ID}), 1)
    for data in (DATA, package(key_id=STRANGERS_ID).manifest, b"", b"\xff"):
        for keys in (KEYS, revoked):
            signature = cms_signature(data, STRANGER, certificate)
            assert reason_of(verify, data, signature, keys) is UpdateReason.CERTIFICATE_SIGNER

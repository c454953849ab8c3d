"""Trust bundles on the wire: what is signed, what is refused and for which reason, and that nothing else gets out."""

import json
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from certs.issue import root_authority
from emulator.errors import UsageError
from emulator.wire.bundle import (
    REPLY_MAX_BYTES,
    REQUEST_MAX_BYTES,
    SIGNATURE_BYTES,
    VERSION_MAX,
    Bundle,
    BundleError,
    BundleReason,
    BundleRequest,
    Newest,
    decode_request,
    encode_reply,
    encode_request,
    open_reply,
    sign,
)
from emulator.wire.firmware_keys import FirmwareKeys, encode_keys
from tests.firmware_images import KEYS, NEXT_ID

SIGNER, STRANGER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


KEY_PEM = public_pem(SIGNER)


@cache
def root_pem() -> str:
    return root_authority("Root of the test").pem.decode()


def signed(text: str, *, version: int = 8, key: ec.EllipticCurvePrivateKey = SIGNER) -> bytes:
    return encode_reply(version, text, sign(text, key))


def refused(data: bytes, key_pem: str = KEY_PEM) -> BundleReason:
    with pytest.raises(BundleError) as caught:
        open_reply(data, key_pem)
    return caught.value.reason


def test_a_signed_bundle_is_opened() -> None:
    bundle = open_reply(signed(root_pem()), KEY_PEM)
    assert bundle == Bundle(8, root_pem())


def test_all_who_open_the_same_bundle_share_it() -> None:
    reply = signed(root_pem())
    assert open_reply(reply, KEY_PEM) is open_reply(bytes(bytearray(reply)), KEY_PEM)


def test_the_roots_are_not_in_the_representation_of_a_bundle() -> None:
    assert repr(open_reply(signed(root_pem()), KEY_PEM)) == "Bundle(version=8)"


def test_a_reply_without_data_says_that_there_is_nothing_newer() -> None:
    assert open_reply(b'{"ver": 8}', KEY_PEM) == Newest(8)
    assert open_reply(encode_reply(9, None), KEY_PEM) == Newest(9)
    assert open_reply(b'{"ver": 8, "data": null, "sign": 3}', KEY_PEM) == Newest(8)


def test_the_signature_is_der_over_the_sha256_of_data_and_in_hex() -> None:
    fields = json.loads(signed(root_pem()))
    assert set(fields) == {"ver", "sign", "data"}
    signature = bytes.fromhex(fields["sign"])
    assert len(signature) == SIGNATURE_BYTES and signature[0] == 0x30
    SIGNER.public_key().verify(signature, fields["data"].encode(), ec.ECDSA(hashes.SHA256()))


def test_a_list_of_firmware_keys_stands_beside_the_roots_and_may_be_missing() -> None:
    keys = FirmwareKeys(KEYS.known_pems, frozenset({NEXT_ID}), 3)
    for text in (root_pem() + encode_keys(keys), encode_keys(keys) + root_pem()):
        assert open_reply(signed(text), KEY_PEM) == Bundle(8, root_pem(), keys)
    without = open_reply(signed(root_pem()), KEY_PEM)
    assert isinstance(without, Bundle) and without.firmware_keys is None


def test_a_charger_that_knows_no_such_list_finds_its_roots_all_the_same() -> None:
    text = root_pem() + encode_keys(FirmwareKeys(KEYS.known_pems, number=1))
    (certificate,) = x509.load_pem_x509_certificates(text.encode())
    assert certificate.public_bytes(Encoding.PEM).decode() == root_pem()


def test_a_damaged_list_spoils_the_bundle_even_if_it_is_signed() -> None:
    block = encode_keys(FirmwareKeys(KEYS.known_pems, number=1))
    for wrong in (block[:-10], block * 2, block.replace("eyJ", "AAA", 1)):
        assert refused(signed(root_pem() + wrong)) == BundleReason.MALFORMED


def test_a_list_alone_is_no_bundle() -> None:
    assert refused(signed(encode_keys(FirmwareKeys(KEYS.known_pems, number=1)))) == BundleReason.NO_CERTIFICATES


def test_what_stands_between_the_certificates_is_left_out() -> None:
    two = f"# old\n{root_pem()}\nand another\n{root_pem()}"
    bundle = open_reply(signed(two), KEY_PEM)
    assert isinstance(bundle, Bundle)
    assert bundle.roots_pem == root_pem() * 2
    assert len(x509.load_pem_x509_certificates(bundle.roots_pem.encode())) == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", BundleReason.EMPTY),
        (b" \r\n", BundleReason.EMPTY),
        (b"<html>", BundleReason.MALFORMED),
        (b"\xff\xfe", BundleReason.MALFORMED),
        (b"[" * 5000, BundleReason.MALFORMED),
        (b"[]", BundleReason.MALFORMED),
        (b"{}", BundleReason.MALFORMED),
        (b'{"ver": "8"}', BundleReason.MALFORMED),
        (b'{"ver": true}', BundleReason.MALFORMED),
        (b'{"ver": -1}', BundleReason.MALFORMED),
        (b'{"ver": 2147483648}', BundleReason.MALFORMED),
        (b'{"ver": 8, "data": 7}', BundleReason.MALFORMED),
        (b'{"ver": 8, "data": "x"}', BundleReason.MALFORMED),
        (b'{"ver": 8, "data": "x", "sign": "not hex"}', BundleReason.MALFORMED),
        (b'{"ver": 8, "data": "\\ud800", "sign": "30"}', BundleReason.MALFORMED),
        (b'{"ver": 8, "data": "x", "sign": ""}', BundleReason.BAD_SIGNATURE),
        (b'{"ver": 8, "data": "x", "sign": "30"}', BundleReason.BAD_SIGNATURE),
        (b'{"ver": 8, "data": "' + b"x" * REPLY_MAX_BYTES + b'"}', BundleReason.TOO_LARGE),
    ],
    ids=lambda value: value.decode(errors="replace")[:40] if isinstance(value, bytes) else value,
)
def test_what_is_no_bundle_has_a_reason(data: bytes, reason: BundleReason) -> None:
    assert refused(data) == reason


def test_a_strangers_signature_and_one_changed_byte_are_refused() -> None:
    assert refused(signed(root_pem(), key=STRANGER)) == BundleReason.BAD_SIGNATURE
    signature = sign(root_pem(), SIGNER)
    assert refused(encode_reply(8, root_pem().replace("A", "B", 1), signature)) == BundleReason.BAD_SIGNATURE
    assert refused(encode_reply(8, root_pem(), signature + b"\0")) == BundleReason.BAD_SIGNATURE


def test_the_version_is_not_signed() -> None:
    """As in the source: who answers in the vendor's name can bring an old bundle back under a new number."""
    signature = sign(root_pem(), SIGNER)
    assert open_reply(encode_reply(99, root_pem(), signature), KEY_PEM) == Bundle(99, root_pem())


@pytest.mark.parametrize("text", ["", "nothing", root_pem()[:300], root_pem().replace("BEGIN", "BEGUN", 1)])
def test_signed_text_without_a_whole_certificate_is_refused(text: str) -> None:
    assert refused(signed(text)) == BundleReason.NO_CERTIFICATES


def test_a_key_that_is_no_p256_key_is_the_makers_mistake() -> None:
    rsa = generate_private_key(public_exponent=65537, key_size=2048).public_key()
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    pems = [key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode() for key in (rsa, other)]
    for pem in (*pems, "", "-----"):
        with pytest.raises(UsageError, match="bundle key"):
            open_reply(signed(root_pem()), pem)


def read_in_both_ways(data: bytes) -> None:
    """Nothing but a BundleError may come of it."""
    for read in (lambda: open_reply(data, KEY_PEM), lambda: decode_request(data)):
        try:
            read()
        except BundleError as error:
            assert error.reason in set(BundleReason)


@given(st.binary(max_size=300))
def test_garbage_gives_only_a_bundle_error(data: bytes) -> None:
    read_in_both_ways(data)


@given(
    st.dictionaries(
        st.sampled_from(["ver", "sign", "data", "serial", "fw", "error", "override"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.integers(), max_size=2),
    )
)
def test_objects_of_the_right_keys_give_only_a_bundle_error(fields: dict[str, object]) -> None:
    read_in_both_ways(json.dumps(fields).encode())


@given(st.integers(0, 200), st.integers(0, 7))
def test_a_flipped_bit_anywhere_never_opens_as_something_else(position: int, bit: int) -> None:
    reply = signed(root_pem())
    at = position * len(reply) // 201
    flipped = reply[:at] + bytes([reply[at] ^ 1 << bit]) + reply[at + 1 :]
    try:
        opened = open_reply(flipped, KEY_PEM)
    except BundleError:
        return
    assert isinstance(opened, Newest) or opened.roots_pem == root_pem()  # the version, or the name of a key


SERIALS = st.from_regex(r"[A-Z]{3}[0-9]{6}", fullmatch=True)


@given(
    version=st.integers(0, VERSION_MAX),
    serial=SERIALS,
    error=st.text(max_size=200),
    override=st.none() | st.integers(0, VERSION_MAX),
)
def test_a_request_fits_the_buffer_and_comes_back_with_its_error_cut(
    version: int, serial: str, error: str, override: int | None
) -> None:
    body = encode_request(BundleRequest(version, serial, "5.3.0.3", error, override))
    assert len(body) <= REQUEST_MAX_BYTES
    request = decode_request(body)
    assert (request.version, request.serial, request.firmware, request.override) == (
        version,
        serial,
        "5.3.0.3",
        override,
    )
    assert error.startswith(request.error)


def test_a_request_looks_as_in_the_source() -> None:
    body = encode_request(BundleRequest(8, "ZPR000001", "5.3.0.3", "tls_unknown_ca"))
    assert body == b'{"ver":8,"serial":"ZPR000001","fw":"5.3.0.3","error":"tls_unknown_ca"}'
    assert b'"override":7' in encode_request(BundleRequest(8, "ZPR000001", "5.3.0.3", "", 7))


def test_only_the_error_is_cut() -> None:
    with pytest.raises(BundleError, match="too_large: request of"):
        encode_request(BundleRequest(8, "Z" * 90, "5.3.0.3"))
    with pytest.raises(BundleError, match="out of range"):
        encode_request(BundleRequest(-1, "ZPR000001", "5.3.0.3"))
    with pytest.raises(BundleError, match="too_large"):
        decode_request(b'{"ver":8,"serial":"ZPR000001","fw":"5.3.0.3","error":"' + b"x" * 100 + b'"}')

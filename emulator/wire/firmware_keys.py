"""Which keys may sign firmware, and their signatures over manifests (invented; the Pro's are not public).

A key is known by its id: the first 16 hexadecimal digits of the SHA-256 over its SubjectPublicKeyInfo in DER. A
signature is ECDSA P-256 with SHA-256 in DER (RFC 3279 section 2.2.3): ``openssl dgst -sha256 -verify`` checks it.

A charger is born with one key. Later keys, and the ids of those that must not sign any more, come as a block in the
signed text of the trust bundle (`emulator.wire.bundle`), which older chargers skip. A certificate never vouches for
firmware, whoever has issued it: a signature that brings one is refused as such, even if it is about a key that may
sign, and whatever the manifest names.
"""

import hashlib
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from emulator.errors import UsageError
from emulator.wire.json_fields import FieldError, Fields, canonical, count, json_object, text, texts
from emulator.wire.manifest import KEY_ID, KEY_ID_CHARACTERS, MANIFEST_MAX_BYTES, Manifest, decode_manifest
from emulator.wire.signed_data import is_signed_data
from emulator.wire.update_reason import FirmwareError, UpdateReason, malformed

SIGNATURE_BYTES = 71
"""Length of nearly all signatures that `sign` makes; one in 256 is shorter."""
SIGNATURE_MAX_BYTES = 16_384
"""Of the file. An ECDSA signature has 72 at most; the rest is there to tell CMS, with a chain of certificates."""
KEYS_MAX, REVOKED_MAX = 8, 64
NUMBER_MAX = 2**31 - 1
BLOCK_LABEL = "FIRMWARE KEYS"

_FORMAT = 1
_BLOCK = re.compile(rf"-----BEGIN {BLOCK_LABEL}-----\n([A-Za-z0-9+/=\n]*)-----END {BLOCK_LABEL}-----\n", re.ASCII)
_LINE_CHARACTERS = 64
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256, FIPS 186-4 D.1.2.3
_TOP_BIT = 1 << 255


@dataclass(frozen=True, slots=True)
class FirmwareKeys:
    """The keys that may sign: those in `known_pems` whose id is not in `revoked`.

    `number` goes up with each list; 0 is the one that a charger is born with. A charger never goes back to a lower one.
    """

    known_pems: tuple[str, ...]
    revoked: frozenset[str] = frozenset()
    number: int = 0

    def may_sign(self) -> dict[str, ec.EllipticCurvePublicKey]:
        """The keys that may sign, by id. UsageError: one of them is no PEM of a P-256 key."""
        return {name: key for name, key in self.known().items() if name not in self.revoked}

    def known(self) -> dict[str, ec.EllipticCurvePublicKey]:
        """The same with those that were revoked."""
        return dict(_loaded(pem) for pem in self.known_pems)


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """How manifests and lists name a key."""
    return hashlib.sha256(_der(key)).hexdigest()[:KEY_ID_CHARACTERS]


def public_pem(key: ec.EllipticCurvePublicKey) -> str:
    """A key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def load_public_key(pem: str) -> ec.EllipticCurvePublicKey:
    """The key in a PEM text. UsageError: none there, or not P-256."""
    return _loaded(pem)[1]


def sign(data: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The detached signature of manifest bytes: the same bytes and key always give the same one (RFC 6979).

    Of s and its negative, which both hold, it is the one that makes the signature `SIGNATURE_BYTES` long, if one does:
    fixed lengths keep simulated transfers repeatable.
    """
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True)))
    if bool(r & _TOP_BIT) == bool(s & _TOP_BIT):
        s = _ORDER - s
    return encode_dss_signature(r, s)


def verify(data: bytes, signature: bytes, keys: FirmwareKeys) -> Manifest:
    """The manifest in `data`, if a key that may sign it has signed it.

    FirmwareError UNSIGNED, CERTIFICATE_SIGNER, BAD_SIGNATURE, UNKNOWN_KEY, REVOKED_KEY or MALFORMED. Until the
    signature holds, `data` is looked at for nothing but the choice between these.
    """
    if not signature:
        raise FirmwareError(UpdateReason.UNSIGNED, "there is no signature")
    if is_signed_data(signature):
        detail = "signed with a certificate: certificates vouch for servers, never for firmware"
        raise FirmwareError(UpdateReason.CERTIFICATE_SIGNER, detail)
    for name, key in keys.may_sign().items():
        if _holds(data, signature, key):
            manifest = decode_manifest(data)
            if manifest.key_id != name:
                detail = f"the manifest names key {manifest.key_id}, {name} has signed it"
                raise FirmwareError(UpdateReason.BAD_SIGNATURE, detail)
            return manifest
    raise _not_signed(data, keys)


def encode_keys(keys: FirmwareKeys) -> str:
    """A list of keys as the block of a trust bundle. UsageError: a key that is none, or too much of anything."""
    if not 0 < keys.number <= NUMBER_MAX or not 0 < len(keys.known_pems) <= KEYS_MAX or len(keys.revoked) > REVOKED_MAX:
        raise UsageError(
            f"firmware keys: need number 1 to {NUMBER_MAX}, 1 to {KEYS_MAX} keys and {REVOKED_MAX} revoked at most"
        )
    if not all(map(KEY_ID.fullmatch, keys.revoked)):
        raise UsageError(f"firmware keys: a key id has {KEY_ID_CHARACTERS} hexadecimal digits in lower case")
    fields = {
        "format": _FORMAT,
        "number": keys.number,
        "keys": [b64encode(_der(key)).decode() for key in keys.known().values()],
        "revoked": sorted(keys.revoked),
    }
    body = b64encode(canonical(fields)).decode()
    lines = [body[start : start + _LINE_CHARACTERS] for start in range(0, len(body), _LINE_CHARACTERS)]
    return "\n".join((f"-----BEGIN {BLOCK_LABEL}-----", *lines, f"-----END {BLOCK_LABEL}-----\n"))


def find_keys(bundle_text: str) -> FirmwareKeys | None:
    """The list in the signed text of a bundle; None: it has none. FirmwareError(MALFORMED): not one good list."""
    if BLOCK_LABEL not in bundle_text:
        return None
    blocks = _BLOCK.findall(bundle_text)
    if len(blocks) != 1 or bundle_text.count(BLOCK_LABEL) != 2:
        raise malformed("firmware keys: not one whole block")
    try:
        return _keys_in(json_object(b64decode(blocks[0].replace("\n", ""), validate=True)))
    except FieldError as error:
        raise malformed(f"firmware keys: {error}") from None
    except ValueError:  # of base64, and of what should be keys
        raise malformed("firmware keys: damaged") from None


def _keys_in(fields: Fields) -> FirmwareKeys:
    number, keys, revoked = count(fields, "number"), texts(fields, "keys"), texts(fields, "revoked")
    if count(fields, "format") != _FORMAT or not 0 < number <= NUMBER_MAX:
        raise FieldError("format or number is out of range")
    if not 0 < len(keys) <= KEYS_MAX or len(revoked) > REVOKED_MAX or not all(map(KEY_ID.fullmatch, revoked)):
        raise FieldError("keys or revoked ones are too many or malformed")
    return FirmwareKeys(tuple(_pem_of(key) for key in keys), frozenset(revoked), number)


def _pem_of(encoded: str) -> str:
    """ValueError: not a P-256 key in base64."""
    try:
        return public_pem(_p256(load_der_public_key(b64decode(encoded, validate=True))))
    except (UsageError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None


def _holds(data: bytes, signature: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    try:
        key.verify(signature, data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _not_signed(data: bytes, keys: FirmwareKeys) -> FirmwareError:
    named = _key_named_in(data)
    if named in keys.revoked:
        return FirmwareError(UpdateReason.REVOKED_KEY, f"key {named} has been revoked")
    if named is not None and named not in keys.known():
        return FirmwareError(UpdateReason.UNKNOWN_KEY, f"nobody told this charger of key {named}")
    owner = "a key that may sign" if named is None else "the key that the manifest names"
    return FirmwareError(UpdateReason.BAD_SIGNATURE, f"not made by {owner}")


def _key_named_in(data: bytes) -> str | None:
    """The key id in bytes that nobody vouches for; None: they name none."""
    try:
        named = text(json_object(data[:MANIFEST_MAX_BYTES]), "key_id")
    except FieldError:
        return None
    return named if KEY_ID.fullmatch(named) else None


@lru_cache(maxsize=64)
def _loaded(pem: str) -> tuple[str, ec.EllipticCurvePublicKey]:
    """Id and key. A bad one is a mistake of whoever made the charger, not of a peer."""
    try:
        key = _p256(load_pem_public_key(pem.encode()))
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError("the firmware key is not a PEM public key") from None
    return key_id(key), key


def _p256(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError("the firmware key is not a P-256 key")
    return key


def _der(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

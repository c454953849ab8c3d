"""The update manifest, its signature, and the reply that says where the firmware is.

The container is invented: the Pro's image format is not public (zaptec.md section 14). An update is three files:

    image            the raw image
    image.manifest   canonical JSON: version, security counter, hardware, size, SHA-256 of the whole and of each block
    image.sig        ECDSA P-256 with SHA-256 over the manifest bytes: r and s, 32 bytes each, big-endian

The signature covers the manifest and the manifest covers every block, so nothing needs to be stored before it is known
to be good. The signature has a fixed length (DER would vary), which keeps simulated transfers repeatable.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from emulator.errors import WireError

MANIFEST_MAX_BYTES = 262_144
LOCATION_MAX_BYTES = 1536
"""zaptec.md section 14."""
SIGNATURE_BYTES = 64
MANIFEST_SUFFIX, SIGNATURE_SUFFIX = ".manifest", ".sig"
TOTAL_LENGTH_HEADER = "X-Total-Content-Length"

_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,7}", re.ASCII)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?=[^:/]{{1,253}}[:/])(?:{_LABEL}\.){{0,126}}(?=[A-Za-z]){_LABEL}"
"""RFC 1123 section 2.1: labels of 1 to 63 characters, the last of which no address in dots could have."""
_DOWNLOAD_URL = re.compile(rf"https://{_HOST}(?::[1-9]\d{{0,3}})?(?:/[A-Za-z0-9._~+-]{{1,255}}){{1,16}}", re.ASCII)
_COUNT_MAX = 2**32 - 1


class UpdateReason(StrEnum):
    """Why an update was not installed. Closed list."""

    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    MALFORMED = "malformed"
    WRONG_HARDWARE = "wrong_hardware"
    OLDER = "older"
    TOO_LARGE = "too_large"
    WRONG_HASH = "wrong_hash"
    SHORT = "short"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    UNCONFIRMED = "unconfirmed"


class FirmwareError(WireError):
    """An update that must not be installed, and why; `detail` is for people."""

    def __init__(self, reason: UpdateReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an image is. `blocks` holds the SHA-256 of each `block_bytes` of it; the last block may be shorter."""

    version: str
    security_counter: int
    hardware: str
    size_bytes: int
    block_bytes: int
    sha256: bytes
    blocks: tuple[bytes, ...]

    def block_size(self, index: int) -> int:
        """Length in bytes of a block."""
        return min(self.block_bytes, self.size_bytes - index * self.block_bytes)


@dataclass(frozen=True, slots=True)
class Location:
    """Where the current firmware is (zaptec.md section 14)."""

    download_url: str
    version: str


@dataclass(frozen=True, slots=True)
class Running:
    """What an update must fit: the charger's hardware, slots and buffers, and the firmware that it runs now."""

    version: str
    security_counter: int
    hardware: str
    slot_bytes: int
    block_bytes: int


def describe(image: bytes, *, version: str, security_counter: int, hardware: str, block_bytes: int) -> Manifest:
    """The manifest of an image."""
    blocks = (image[start : start + block_bytes] for start in range(0, len(image), block_bytes))
    hashes = tuple(hashlib.sha256(block).digest() for block in blocks)
    whole = hashlib.sha256(image).digest()
    return Manifest(version, security_counter, hardware, len(image), block_bytes, whole, hashes)


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON: sorted keys, no spaces, hashes in lower-case hex. FirmwareError(MALFORMED) for bad values."""
    _check(manifest)
    return _canonical(manifest)


def decode_manifest(data: bytes) -> Manifest:
    """The manifest in these bytes, which must be exactly what `encode_manifest` makes. Nothing is said of its maker."""
    if len(data) > MANIFEST_MAX_BYTES:
        raise _malformed(f"manifest of more than {MANIFEST_MAX_BYTES} bytes")
    fields = _json_object(data, "manifest")
    try:
        manifest = Manifest(
            version=_text(fields, "version"),
            security_counter=_count(fields, "security_counter"),
            hardware=_text(fields, "hardware"),
            size_bytes=_count(fields, "size_bytes"),
            block_bytes=_count(fields, "block_bytes"),
            sha256=bytes.fromhex(_text(fields, "sha256")),
            blocks=tuple(bytes.fromhex(block) for block in fields["blocks"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _malformed(f"manifest: {error}") from None
    _check(manifest)
    if _canonical(manifest) != data:
        raise _malformed("manifest is not canonical")
    return manifest


def sign(data: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The detached signature of manifest bytes; the same bytes and key always give the same one (RFC 6979)."""
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True)))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verify(data: bytes, signature: bytes, public_key_pem: str) -> Manifest:
    """The manifest in `data`, if the signature vouches for it. FirmwareError UNSIGNED, BAD_SIGNATURE or MALFORMED.

    Nothing in `data` is looked at before the signature holds.
    """
    if not signature:
        raise FirmwareError(UpdateReason.UNSIGNED, "there is no signature")
    if len(signature) != SIGNATURE_BYTES:
        raise FirmwareError(UpdateReason.BAD_SIGNATURE, f"signature of {len(signature)} bytes")
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        _public_key(public_key_pem).verify(der, data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise FirmwareError(UpdateReason.BAD_SIGNATURE, "not made by the key that this charger trusts") from None
    return decode_manifest(data)


def check_fits(manifest: Manifest, running: Running) -> None:
    """Refuse a genuine image that is not for this charger: FirmwareError WRONG_HARDWARE, TOO_LARGE, OLDER or MALFORMED.

    An equal version is installed again, as the cloud may ask for (zaptec.md section 14).
    """
    if manifest.hardware != running.hardware:
        detail = f"for {manifest.hardware}, this is {running.hardware}"
        raise FirmwareError(UpdateReason.WRONG_HARDWARE, detail)
    if manifest.block_bytes != running.block_bytes:
        raise _malformed(f"blocks of {manifest.block_bytes} bytes, this charger takes {running.block_bytes}")
    if manifest.size_bytes > running.slot_bytes:
        detail = f"{manifest.size_bytes} bytes, a slot holds {running.slot_bytes}"
        raise FirmwareError(UpdateReason.TOO_LARGE, detail)
    if manifest.security_counter < running.security_counter:
        detail = f"security counter {manifest.security_counter}, running {running.security_counter}"
        raise FirmwareError(UpdateReason.OLDER, detail)
    if parse_version(manifest.version) < parse_version(running.version):
        raise FirmwareError(UpdateReason.OLDER, f"version {manifest.version}, running {running.version}")


def check_block(manifest: Manifest, index: int, data: bytes) -> None:
    """Check one block of the image: FirmwareError SHORT or WRONG_HASH."""
    if len(data) != manifest.block_size(index):
        detail = f"block {index} has {len(data)} bytes, not {manifest.block_size(index)}"
        raise FirmwareError(UpdateReason.SHORT, detail)
    if not hmac.compare_digest(hashlib.sha256(data).digest(), manifest.blocks[index]):
        raise FirmwareError(UpdateReason.WRONG_HASH, f"block {index}")


def parse_version(text: str) -> tuple[int, ...]:
    """A dotted version in comparable form; trailing zeros do not count. FirmwareError(MALFORMED)."""
    if not _VERSION.fullmatch(text):
        raise _malformed(f"version {text[:40]!r}")
    numbers = [int(number) for number in text.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def location_path(serial: str) -> str:
    """Path of the location request at the API host (zaptec.md section 14)."""
    return f"/api/firmware/{serial}/current"


def encode_location_request(key: bytes) -> bytes:
    """Body of the location request. That it is JSON is invented; the source only shows that it carries the key."""
    return json.dumps({"psk": base64.b64encode(key).decode()}, separators=(",", ":")).encode()


def decode_location_request(data: bytes) -> bytes:
    """The key in a location request. FirmwareError(MALFORMED), which never quotes the key."""
    try:
        return base64.b64decode(_text(_json_object(data, "request"), "psk"), validate=True)
    except (KeyError, TypeError, binascii.Error, ValueError):
        raise _malformed("location request without a proper psk") from None


def encode_location(location: Location) -> bytes:
    """Body of the location reply."""
    fields = {"DownloadUrl": location.download_url, "Version": location.version}
    return json.dumps(fields, separators=(",", ":")).encode()


def decode_location(data: bytes) -> Location:
    """The location reply: small, with a proper version and the HTTPS address of a file. FirmwareError(MALFORMED)."""
    if len(data) > LOCATION_MAX_BYTES:
        raise _malformed(f"location reply of more than {LOCATION_MAX_BYTES} bytes")
    fields = _json_object(data, "location reply")
    try:
        location = Location(_text(fields, "DownloadUrl"), _text(fields, "Version"))
    except (KeyError, TypeError) as error:
        raise _malformed(f"location reply: {error}") from None
    if not _DOWNLOAD_URL.fullmatch(location.download_url):
        raise _malformed("DownloadUrl is not an HTTPS address of a file")
    parse_version(location.version)
    return location


def _canonical(manifest: Manifest) -> bytes:
    fields = {
        "version": manifest.version,
        "security_counter": manifest.security_counter,
        "hardware": manifest.hardware,
        "size_bytes": manifest.size_bytes,
        "block_bytes": manifest.block_bytes,
        "sha256": manifest.sha256.hex(),
        "blocks": [block.hex() for block in manifest.blocks],
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def _check(manifest: Manifest) -> None:
    parse_version(manifest.version)
    counts = (manifest.security_counter, manifest.size_bytes, manifest.block_bytes)
    if not all(0 <= count <= _COUNT_MAX for count in counts) or not manifest.size_bytes or not manifest.block_bytes:
        raise _malformed("manifest: a number is out of range")
    if not 1 <= len(manifest.hardware) <= 64:
        raise _malformed("manifest: hardware name is empty or too long")
    if len(manifest.blocks) != -(-manifest.size_bytes // manifest.block_bytes):
        raise _malformed(f"manifest: {len(manifest.blocks)} blocks do not make {manifest.size_bytes} bytes")
    if any(len(digest) != 32 for digest in (manifest.sha256, *manifest.blocks)):
        raise _malformed("manifest: a hash is not 32 bytes long")


def _json_object(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise _malformed(f"{what} is not JSON") from None
    if not isinstance(fields, dict):
        raise _malformed(f"{what} is not a JSON object")
    return fields


def _text(fields: Mapping[str, Any], key: str) -> str:
    if not isinstance(fields[key], str):
        raise TypeError(f"{key} is not a text")
    return str(fields[key])


def _count(fields: Mapping[str, Any], key: str) -> int:
    if type(fields[key]) is not int:
        raise TypeError(f"{key} is not a whole number")
    return int(fields[key])


def _public_key(pem: str) -> ec.EllipticCurvePublicKey:
    """The trusted key. It is ours, not the peer's, so a bad one is a mistake of whoever made the charger."""
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("the firmware key is not an elliptic-curve key")
    return key


def _malformed(detail: str) -> FirmwareError:
    return FirmwareError(UpdateReason.MALFORMED, detail)

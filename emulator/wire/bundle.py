"""The trust bundle: the roots that a charger accepts at hub and API, signed by the vendor (zaptec.md section 5).

A charger asks with a small JSON object and gets another: ``ver`` (int), ``sign`` (hex of a DER signature, ECDSA P-256
over the SHA-256 of ``data``) and ``data`` (PEM). A reply without ``data`` says that there is nothing newer. The
signature covers the roots and not the version: whoever can answer in the vendor's name can bring back an old bundle
under a new number. The list of firmware keys that `data` may hold beside the roots is invented, and has a number of its
own under the signature (`emulator.wire.firmware_keys`); a bundle without one says nothing about them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from emulator.errors import UsageError, WireError
from emulator.wire.firmware_keys import FirmwareKeys, find_keys
from emulator.wire.update_reason import FirmwareError

PATH = "/bundle"
REQUEST_MAX_BYTES = 100
"""What the body of a request may take (zaptec.md section 5)."""
REPLY_MAX_BYTES = 50_000
SIGNATURE_BYTES = 71
"""Length of the signatures that `sign` makes. Half of all have it; a fixed one keeps simulated transfers repeatable."""
VERSION_MAX = 2**31 - 1  # a C int

_ALGORITHM = ec.ECDSA(SHA256())  # made once: the first loads 1.4 MiB


class BundleReason(StrEnum):
    """Why a bundle, or what came in its place, is not used. Closed list."""

    EMPTY = "empty"
    """There is no body, or no bundle in the reply to a charger that has none."""
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    BAD_SIGNATURE = "bad_signature"
    NO_CERTIFICATES = "no_certificates"
    OLDER = "older"


class BundleError(WireError):
    """A request or a bundle that is refused, and why; `detail` is for people."""

    def __init__(self, reason: BundleReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """What a charger says of itself. `version` is 0 when it has no bundle; `error` is the TLS error that made it ask.

    `override` asks for that version, newer or not; that this is what the field means is our reading of the source.
    """

    version: int
    serial: str
    firmware: str
    error: str = ""
    override: int | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """Roots whose signature held. `roots_pem` has nothing but certificates in it.

    `firmware_keys` None: it does not say which keys may sign firmware.
    """

    version: int
    roots_pem: str = field(repr=False)
    firmware_keys: FirmwareKeys | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Newest:
    """There is nothing newer; `version` is what the server calls its newest."""

    version: int


def encode_request(request: BundleRequest) -> bytes:
    """The body of a request; `error` is cut so that it fits. BundleError: bad numbers, or too long all the same."""
    if not all(0 <= number <= VERSION_MAX for number in (request.version, request.override or 0)):
        raise BundleError(BundleReason.MALFORMED, "request: a version is out of range")
    error = request.error[:REQUEST_MAX_BYTES]
    while len(body := _request_json(request, error)) > REQUEST_MAX_BYTES:
        if not error:
            raise BundleError(BundleReason.TOO_LARGE, f"request of {len(body)} bytes")
        error = error[:-1]
    return body


def decode_request(data: bytes) -> BundleRequest:
    """The request in a body. BundleError: EMPTY, MALFORMED or TOO_LARGE."""
    fields = _json_object(data, REQUEST_MAX_BYTES)
    override = None if fields.get("override") is None else _number(fields, "override")
    serial, firmware, error = (_text(fields, key) for key in ("serial", "fw", "error"))
    return BundleRequest(_number(fields, "ver"), serial, firmware, error, override)


def encode_reply(version: int, data: str | None, signature: bytes = b"") -> bytes:
    """The body of a reply; `data` None says that there is nothing newer. Nothing is checked: the stub may lie."""
    signed = {} if data is None else {"sign": signature.hex(), "data": data}
    return json.dumps({"ver": version, **signed}, separators=(",", ":")).encode()


@lru_cache(maxsize=16)
def open_reply(data: bytes, public_key_pem: str) -> Bundle | Newest:
    """What a reply brings, or a bundle as it was stored. BundleError, every reason but OLDER.

    `public_key_pem` is the vendor's P-256 key; UsageError when it is none. The result is remembered: thousands of
    chargers in one process hold the same bundle.
    """
    fields = _json_object(data, REPLY_MAX_BYTES)
    version = _number(fields, "ver")
    if fields.get("data") is None:
        return Newest(version)
    text = _text(fields, "data")
    _check_signature(text, _text(fields, "sign"), _public_key(public_key_pem))
    return Bundle(version, _only_certificates(text), _firmware_keys(text))


def sign(data: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A DER signature of `SIGNATURE_BYTES` bytes over a bundle's data; a new one each time."""
    while len(signature := key.sign(data.encode(), _ALGORITHM)) != SIGNATURE_BYTES:
        pass  # every second one is a byte longer or shorter
    return signature


def _request_json(request: BundleRequest, error: str) -> bytes:
    fields: dict[str, Any] = {"ver": request.version, "serial": request.serial, "fw": request.firmware, "error": error}
    if request.override is not None:
        fields["override"] = request.override
    return json.dumps(fields, separators=(",", ":")).encode()


def _json_object(data: bytes, limit_bytes: int) -> Mapping[str, Any]:
    if not data.strip():
        raise BundleError(BundleReason.EMPTY, "no body")
    if len(data) > limit_bytes:
        raise BundleError(BundleReason.TOO_LARGE, f"more than {limit_bytes} bytes")
    try:
        fields = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise _malformed("not JSON") from None
    if not isinstance(fields, dict):
        raise _malformed("not a JSON object")
    return fields


def _number(fields: Mapping[str, Any], key: str) -> int:
    value = fields.get(key)
    if type(value) is not int or not 0 <= value <= VERSION_MAX:
        raise _malformed(f"{key} is no version")
    return value


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise _malformed(f"{key} is not a text")
    return value


def _check_signature(text: str, signature_hex: str, key: ec.EllipticCurvePublicKey) -> None:
    try:
        signature = bytes.fromhex(signature_hex)
        signed = text.encode()
    except ValueError:  # a lone surrogate has no bytes that anybody could have signed
        raise _malformed("sign is not hexadecimal, or data is not text") from None
    try:
        key.verify(signature, signed, _ALGORITHM)
    except InvalidSignature:
        raise BundleError(BundleReason.BAD_SIGNATURE, "not made by the key that this charger trusts") from None


def _only_certificates(text: str) -> str:
    """The certificates in a PEM text, written anew: what stands between them is nobody's business."""
    try:
        certificates = x509.load_pem_x509_certificates(text.encode())
    except (ValueError, x509.InvalidVersion):
        raise BundleError(BundleReason.NO_CERTIFICATES, "data holds no certificates, or damaged ones") from None
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates)


def _firmware_keys(text: str) -> FirmwareKeys | None:
    try:
        return find_keys(text)
    except FirmwareError as error:
        raise _malformed(error.detail) from None


@lru_cache(maxsize=4)
def _public_key(pem: str) -> ec.EllipticCurvePublicKey:
    """The vendor's key. It is ours, not the peer's, so a bad one is a mistake of whoever made the charger."""
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        raise UsageError("the bundle key is not a PEM public key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError("the bundle key is not a P-256 key")
    return key


def _malformed(detail: str) -> BundleError:
    return BundleError(BundleReason.MALFORMED, detail)

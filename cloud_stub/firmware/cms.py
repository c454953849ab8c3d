"""Firmware signatures in CMS (RFC 5652), which other updaters take and chargers do not: for the fault that tries."""

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from cryptography.x509 import Certificate

from emulator.wire.firmware_keys import SIGNATURE_BYTES

DRAWS_MAX = 64
OPTIONS = (PKCS7Options.DetachedSignature, PKCS7Options.Binary, PKCS7Options.NoAttributes)
"""Without attributes: the time of signing is one, and simulated transfers are to be repeatable."""
_LAST = bytes((0x04, SIGNATURE_BYTES))


def cms_signature(data: bytes, key: EllipticCurvePrivateKey, certificate: Certificate) -> bytes:
    """The detached signature of these bytes as SignedData in DER, with the signer's certificate.

    ECDSA is random here, and its length with it: of up to `DRAWS_MAX` it is the first whose signature is
    `SIGNATURE_BYTES` long, as every second is.
    """
    builder = PKCS7SignatureBuilder().set_data(data).add_signer(certificate, key, SHA256())
    made = builder.sign(Encoding.DER, OPTIONS)
    for _ in range(DRAWS_MAX - 1):
        if made[:-SIGNATURE_BYTES].endswith(_LAST):
            break
        made = builder.sign(Encoding.DER, OPTIONS)
    return made

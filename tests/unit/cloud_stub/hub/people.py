"""Client certificates and their authorities, made as they are needed."""

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
EXPIRED = datetime(2021, 1, 1, tzinfo=UTC)
END = datetime(2040, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Person:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def thumbprints(self) -> tuple[str, str]:
        sha1, sha256 = (self.certificate.fingerprint(kind).hex().upper() for kind in (hashes.SHA1(), hashes.SHA256()))
        return sha1, sha256


def person(name: str, *, signer: Person | None = None, until: datetime = END) -> Person:
    """Somebody, self-signed unless there is a signer."""
    return _made(name, signer, until, ca=False)


def authority(name: str, *, signer: Person | None = None, until: datetime = END) -> Person:
    """Somebody who may sign others."""
    return _made(name, signer, until, ca=True)


def _made(name: str, signer: Person | None, until: datetime, *, ca: bool) -> Person:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = subject if signer is None else signer.certificate.subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    return Person(builder.sign(key if signer is None else signer.key, hashes.SHA256()), key)

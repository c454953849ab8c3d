"""Certificates as an owner of devices makes them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

SINCE, UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as files."""

    path: Path
    key_path: Path
    made: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def thumbprint(self) -> str:
        """SHA-1, as the vendor's portal shows it."""
        return self.made.fingerprint(hashes.SHA1()).hex().upper()


def certificate(folder: Path, name: str, issuer: Certificate | None = None, *, authority: bool = False) -> Certificate:
    """A certificate for `name`, self-signed without an issuer; the file of one that is issued holds the chain."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.made.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(SINCE)
        .not_valid_after(UNTIL)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    path, key_path = folder / f"{name}.pem", folder / f"{name}-key.pem"
    above = issuer.path.read_bytes() if issuer else b""
    path.write_bytes(made.public_bytes(Encoding.PEM) + above)
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Certificate(path, key_path, made, key)

"""Issues X.509 certificates with fixed validity and fixed-length serial numbers: every issue has the same DER size.

Nothing here depends on today's date: chargers live in simulated time.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True, slots=True)
class Validity:
    """First and last second of validity. UTCTime ends with 2049, and another encoding would have another length."""

    begins: datetime
    ends: datetime


ALWAYS = Validity(datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC))
PAST = Validity(datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))
FUTURE = Validity(datetime(2045, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA certificate with its key."""

    certificate: x509.Certificate
    key: RSAPrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)


def rsa_key() -> RSAPrivateKey:
    """A new RSA-2048 key: like the hub's, and RSA handshakes are repeatable in size where ECDSA ones are not."""
    return generate_private_key(public_exponent=65537, key_size=2048)


def root_authority(common_name: str) -> Authority:
    """A self-signed CA with a key of its own."""
    key, name = rsa_key(), _name(common_name)
    builder = _ca_builder(name, key.public_key(), path_length=1).issuer_name(name)
    return Authority(builder.sign(key, SHA256()), key)


def intermediate_authority(common_name: str, issuer: Authority) -> Authority:
    """A CA below `issuer` that may issue server certificates only."""
    key = rsa_key()
    builder = _ca_builder(_name(common_name), key.public_key(), path_length=0)
    return Authority(_issued_by(builder, issuer).sign(issuer.key, SHA256()), key)


def server_certificate(
    names: Sequence[str], key: RSAPublicKey, issuer: Authority, validity: Validity = ALWAYS
) -> x509.Certificate:
    """A TLS server certificate for `names`; the first is also its common name."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    builder = (
        _builder(_name(names[0]), key, validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False, encipher=True), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    )
    return _issued_by(builder, issuer).sign(issuer.key, SHA256())


def signer_certificate(common_name: str, key: EllipticCurvePublicKey, issuer: Authority) -> x509.Certificate:
    """A certificate to sign code with."""
    builder = (
        _builder(_name(common_name), key, ALWAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False, encipher=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    )
    return _issued_by(builder, issuer).sign(issuer.key, SHA256())


def _name(common_name: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Zaptec Pro emulator, test use only")
    return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, key: RSAPublicKey | EllipticCurvePublicKey, validity: Validity
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(0x5A << 120 | secrets.randbits(120))  # 16 bytes whatever the draw
        .not_valid_before(validity.begins)
        .not_valid_after(validity.ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _ca_builder(subject: x509.Name, key: RSAPublicKey, path_length: int) -> x509.CertificateBuilder:
    return (
        _builder(subject, key, ALWAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(ca=True, encipher=False), critical=True)
    )


def _issued_by(builder: x509.CertificateBuilder, issuer: Authority) -> x509.CertificateBuilder:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return builder.issuer_name(issuer.certificate.subject).add_extension(identifier, critical=False)


def _key_usage(*, ca: bool, encipher: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )

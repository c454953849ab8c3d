"""What a client certificate says about a device (iothub-mqtt.md section 1.4). Pure: certificates and a time in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from emulator.errors import UsageError

CHAIN_MAX = 8
"""Certificates between a device's own and the registered authority's, both counted (invented)."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The certificate of which the client has the key. `thumbprints` are SHA-1 and SHA-256, upper-case hexadecimal."""

    common_name: str
    thumbprints: tuple[str, str]
    certificate: x509.Certificate

    def valid_at(self, now_utc: datetime) -> bool:
        """Whether its dates allow its use."""
        return _valid_at(self.certificate, now_utc)


@lru_cache(maxsize=256)
def parse_certificate(der: bytes) -> ClientCertificate | None:
    """The certificate; None for bytes that are none."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        thumbprints = tuple(certificate.fingerprint(kind).hex().upper() for kind in (hashes.SHA1(), hashes.SHA256()))  # noqa: S303 - what the hub's registry holds
    except (ValueError, x509.UnsupportedGeneralNameType):
        return None
    name = str(names[0].value) if names else ""
    return ClientCertificate(name, (thumbprints[0], thumbprints[1]), certificate)


def parse_authorities(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of authorities that sign devices' certificates. UsageError for what is not PEM of them."""
    try:
        found = tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise UsageError("authorities: not certificates in PEM form") from None
    if any(not _is_authority(certificate) for certificate in found):
        raise UsageError("authorities: a certificate that may not sign others")
    return found


def signed_by(
    leaf: ClientCertificate, others: Sequence[bytes], authorities: Iterable[x509.Certificate], now_utc: datetime
) -> bool:
    """Whether a chain leads from the leaf over some of the `others` (DER) to one of the authorities, all valid now."""
    parsed = [found.certificate for der in others[:CHAIN_MAX] if (found := parse_certificate(der))]
    trusted, link = tuple(authorities), leaf.certificate
    for _ in range(CHAIN_MAX):
        if _issuer(link, trusted, now_utc) is not None:
            return True
        between = _issuer(link, parsed, now_utc)
        if between is None:
            return False
        parsed.remove(between)
        link = between
    return False


def _issuer(
    certificate: x509.Certificate, candidates: Iterable[x509.Certificate], now_utc: datetime
) -> x509.Certificate | None:
    for candidate in candidates:
        if _is_authority(candidate) and _valid_at(candidate, now_utc) and _signed(certificate, candidate):
            return candidate
    return None


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


def _valid_at(certificate: x509.Certificate, now_utc: datetime) -> bool:
    return certificate.not_valid_before_utc <= now_utc <= certificate.not_valid_after_utc

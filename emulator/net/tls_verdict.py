"""What is wrong with a server's certificates or answers, in our terms."""

import ssl
import sys
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509

from emulator.errors import NetError, NetReason

_ENCODING_DER = 2  # of the private `_ssl.Certificate.public_bytes` before Python 3.13

_REASON_OF_VERIFY_CODE = {
    2: NetReason.TLS_UNKNOWN_CA,  # issuer of a looked-up certificate not found
    18: NetReason.TLS_UNKNOWN_CA,  # self-signed leaf
    19: NetReason.TLS_UNKNOWN_CA,  # self-signed root in the chain
    20: NetReason.TLS_UNKNOWN_CA,  # local issuer not found
    21: NetReason.TLS_UNKNOWN_CA,  # only the leaf, and it cannot be verified
    62: NetReason.TLS_WRONG_HOST,
    64: NetReason.TLS_WRONG_HOST,  # an IP address that the certificate does not have
}
_VERSION_REASONS = frozenset(
    {"TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "VERSION_TOO_LOW"}
)


def verified_chain(session: ssl.SSLObject) -> list[bytes]:
    """DER certificates, leaf first; empty while OpenSSL has not verified a chain."""
    if sys.version_info >= (3, 13):
        return session.get_verified_chain()
    chain = session._sslobj.get_verified_chain()  # type: ignore[attr-defined]
    return [certificate.public_bytes(_ENCODING_DER) for certificate in chain or ()]


@dataclass(frozen=True, slots=True)
class _Validity:
    subject: str
    not_before: datetime
    not_after: datetime


@lru_cache(maxsize=256)
def _validity_of(der: bytes) -> _Validity:
    certificate = x509.load_der_x509_certificate(der)
    return _Validity(
        certificate.subject.rfc4514_string(), certificate.not_valid_before_utc, certificate.not_valid_after_utc
    )


def date_error(chain: list[bytes], now: datetime) -> NetError | None:
    """What the dates of a chain mean at `now`; None: all are valid."""
    for validity in map(_validity_of, chain):
        if now < validity.not_before:
            said = f"{validity.subject} is valid from {validity.not_before:%Y-%m-%d}"
            return NetError(NetReason.TLS_NOT_YET_VALID, f"{said}; the clock shows {now:%Y-%m-%d %H:%M:%S}")
        if now > validity.not_after:
            said = f"{validity.subject} was valid to {validity.not_after:%Y-%m-%d}"
            return NetError(NetReason.TLS_EXPIRED, f"{said}; the clock shows {now:%Y-%m-%d %H:%M:%S}")
    return None


def tls_error(error: ssl.SSLError) -> NetError:
    """The one place where OpenSSL's errors get our names."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _REASON_OF_VERIFY_CODE.get(error.verify_code, NetReason.TLS_BROKEN)
        return NetError(reason, error.verify_message)
    text = error.reason or str(error)
    _, is_alert, alert = text.partition("_ALERT_")
    if text in _VERSION_REASONS:
        return NetError(NetReason.TLS_VERSION, text.lower())
    if is_alert:
        return NetError(NetReason.TLS_ALERT, alert.lower())
    return NetError(NetReason.TLS_BROKEN, text.lower())

"""What each side of a TLS connection offers and trusts."""

import ssl
import warnings
from functools import lru_cache
from pathlib import Path

from emulator.errors import UsageError
from emulator.net.keylog import Keylog

X509_V_FLAG_NO_CHECK_TIME = 0x200000  # openssl/x509_vfy.h; `ssl` has no name for it. The Rtc judges dates, not the OS

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES"
"""What a client offers. The CBC suites with SHA-1 are there so that a server of an older version fails by its version
and not for want of a common cipher."""


class Session(ssl.SSLObject):
    """An SSLObject that remembers the name that the client asked for."""

    asked_name = ""


def _remember_name(session: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
    if isinstance(session, Session):
        session.asked_name = name or ""


def client_context(roots_pem: str, keylog: Keylog | None = None) -> ssl.SSLContext:
    """A TLS 1.2 client that trusts `roots_pem` and leaves dates to the Rtc. Shared by all who trust the same roots.

    OpenSSL writes the secrets of its sessions to `keylog`. UsageError when `roots_pem` holds no certificates.
    """
    if keylog is None:
        return _client_context(roots_pem)
    return keylog.context(roots_pem, lambda: _client_context.__wrapped__(roots_pem))


@lru_cache(maxsize=64)
def _client_context(roots_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.set_ciphers(CIPHERS)
    context.verify_flags |= X509_V_FLAG_NO_CHECK_TIME
    try:
        context.load_verify_locations(cadata=roots_pem)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(f"trusted roots: {error}") from None
    return context


def server_context(
    chain_pem: Path,
    key_pem: Path,
    *,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
    ask_for_certificate: bool = False,
    keylog: Keylog | None = None,
) -> ssl.SSLContext:
    """A server that speaks `versions` (lowest, highest). Versions before 1.2 need OpenSSL's lowest security level.

    With `ask_for_certificate`, for versions up to 1.2, a client may show a certificate or none. `TlsStream` takes any
    that the client has the key of and that is not restricted to other purposes than TLS clients; its dates and its
    issuer are for the application to judge.

    The context is shared by all who ask for the same, until one of the files is written anew. OpenSSL writes the
    secrets of its sessions to `keylog`, but for those of clients that show a certificate.
    """
    written_ns = tuple(path.stat().st_mtime_ns for path in (chain_pem, key_pem))
    made = chain_pem, key_pem, versions, ask_for_certificate, written_ns
    if keylog is None:
        return _server_context(*made)
    return keylog.context(made, lambda: _server_context.__wrapped__(*made))


@lru_cache(maxsize=64)
def _server_context(
    chain_pem: Path,
    key_pem: Path,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion],
    ask_for_certificate: bool,
    written_ns: tuple[int, ...],
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if versions[0] < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a server of an old version is what chargers must refuse
        context.minimum_version, context.maximum_version = versions
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.load_cert_chain(chain_pem, key_pem)
    if ask_for_certificate:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME
    context.sslobject_class = Session
    context.sni_callback = _remember_name
    return context


@lru_cache(maxsize=64)
def trusting(certificate_der: bytes) -> ssl.SSLContext:
    """A context whose one trust anchor is this certificate; ssl.SSLError or ValueError if it is none.

    Put in a server's place once its own certificate is on the way, it lets this client through and no other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(cadata=certificate_der)
    return context

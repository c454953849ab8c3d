"""Fills a certificates directory: everything at once, safe when several processes start together."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from certs import layout
from certs.issue import (
    FUTURE,
    PAST,
    Authority,
    intermediate_authority,
    root_authority,
    rsa_key,
    server_certificate,
    signer_certificate,
)
from certs.layout import BadKind, CertsDir, Root
from emulator.errors import UsageError

MAKING = ".making"


def default_dir() -> Path:
    """``$ZAPTEC_CERTS``, or ``zaptec-pro-emulator/certs-N`` in the user's cache; N is the number of the layout.

    Checkouts of different layouts share the cache, and must not make each other's files anew.
    """
    if named := os.environ.get("ZAPTEC_CERTS"):
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "zaptec-pro-emulator" / f"certs-{layout.LAYOUT}"


def ensure(out: Path) -> CertsDir:
    """The complete certificates directory `out`, made now if it is missing or incomplete.

    A complete directory is only read, so it may be read-only. An incomplete one is made anew as a whole, because its
    parts vouch for each other. UsageError when `out` cannot be written, or holds files that are not ours.
    """
    certs = CertsDir(out)
    if certs.is_complete():
        return certs
    try:
        _claim(out)
        with _locked(out):
            if not certs.is_complete():  # another process may have made it while we waited
                _fill(out)
    except OSError as error:
        raise UsageError(f"{out}: {error.strerror or error}") from None
    return certs


def _claim(out: Path) -> None:
    """Only an empty directory becomes ours: somebody's own keys must never be overwritten."""
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(out.iterdir()) and not (out / layout.LOCK).exists():
        raise UsageError(f"{out}: holds files that are not ours; name an empty or a new directory")


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Holds the directory's lock, which the kernel frees even if the process dies."""
    descriptor = os.open(out / layout.LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fill(out: Path) -> None:
    """Write everything aside, then move it in. The marker goes first and comes back last: without it nothing counts."""
    making = out / MAKING
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    files = _made()
    for name, content in files.items():
        _write(making / name, content)
    _write(making / layout.MARKER, json.dumps({"layout": layout.LAYOUT}).encode())
    (out / layout.MARKER).unlink(missing_ok=True)
    for name in (*files, layout.MARKER):
        (making / name).replace(out / name)
    making.rmdir()
    out.chmod(0o700)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _made() -> dict[str, bytes]:
    """All file contents by name. All good servers share one key: a key per leaf would only cost time."""
    files, roots, issuers = dict[str, bytes](), dict[Root, Authority](), dict[Root, Authority]()
    for root in Root:
        roots[root] = root_authority(f"{root.value.capitalize()} Root CA")
        issuers[root] = intermediate_authority(f"{root.value.capitalize()} Server CA", roots[root])
        for names, made in ((layout.root_names(root), roots[root]), (layout.intermediate_names(root), issuers[root])):
            files |= {names[0]: made.pem, names[1]: _private_pem(made.key)}
    files[layout.ROOTS] = b"".join(files[layout.root_names(root)[0]] for root in Root)
    return files | _good_servers(issuers) | _bad_servers(issuers[Root.OLD]) | _signers(roots[Root.OLD])


def _good_servers(issuers: Mapping[Root, Authority]) -> dict[str, bytes]:
    key = rsa_key()
    files = {layout.SERVER_KEY: _private_pem(key)}
    for host, names in layout.SERVER_NAMES.items():
        for root in layout.roots_of(host):
            leaf = server_certificate(names, key.public_key(), issuers[root])
            files[layout.server_chain(host, root)] = _pem(leaf) + issuers[root].pem
    return files


def _bad_servers(good: Authority) -> dict[str, bytes]:
    """One chain and key of each bad kind. They share a key that no good server has."""
    key = rsa_key()
    public = key.public_key()
    names = tuple(chain.from_iterable(layout.SERVER_NAMES.values()))
    stranger = root_authority("Unknown Root CA")
    proxy = root_authority("Intercepting Proxy CA")
    chains: Mapping[BadKind, tuple[x509.Certificate, Authority]] = {
        BadKind.EXPIRED: (server_certificate(names, public, good, PAST), good),
        BadKind.NOT_YET_VALID: (server_certificate(names, public, good, FUTURE), good),
        BadKind.WRONG_HOST: (server_certificate(("wrong-host.example",), public, good), good),
        BadKind.UNKNOWN_ROOT: (server_certificate(names, public, stranger), stranger),
        BadKind.INTERCEPTED: (server_certificate(names, public, proxy), proxy),
    }
    files = {layout.bad_chain(kind): _pem(leaf) + issuer.pem for kind, (leaf, issuer) in chains.items()}
    return files | {layout.bad_key(kind): _private_pem(key) for kind in chains}


def _signers(authority: Authority) -> dict[str, bytes]:
    """A P-256 key pair for each signer, and for one of them a certificate too."""
    files = {}
    for name in layout.SIGNERS:
        key = ec.generate_private_key(ec.SECP256R1())
        files[f"{name}.key"] = _private_pem(key)
        files[f"{name}.pub.pem"] = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        if name == layout.VOUCHED:
            files[layout.VOUCHED_CERTIFICATE] = _pem(signer_certificate("Vouched signer", key.public_key(), authority))
    return files


def _private_pem(key: RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)

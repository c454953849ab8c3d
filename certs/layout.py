"""Which files a certificates directory holds, and how to read them."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from emulator.errors import UsageError

LAYOUT = 3
"""Number of this layout. A directory with another one is made anew."""

HUB_HOST = "zapcloud.azure-devices.net"

SERVER_NAMES: dict[str, tuple[str, ...]] = {
    HUB_HOST: (HUB_HOST, "*.azure-devices.net"),
    "api.zaptec.com": ("api.zaptec.com",),
    "devices.zaptec.com": ("devices.zaptec.com",),
    "zapcloud-api.azurewebsites.net": ("zapcloud-api.azurewebsites.net",),
    "localhost": ("localhost",),
}
"""Names in each server certificate: the hosts of manual row M2, and localhost for tools."""

VENDOR_HOSTS = frozenset({"devices.zaptec.com"})
"""Hosts whose own certificate the vendor issues; a public CA issues those of all others (zaptec.md section 5)."""


class Root(StrEnum):
    """The root CAs. OLD and NEW stand for the two that the hub changed between, Baltimore and DigiCert G2."""

    OLD = "old"
    NEW = "new"
    VENDOR = "vendor"


class BadKind(StrEnum):
    """What is wrong with a bad server certificate (manual row M4). All but WRONG_HOST name every default host."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_HOST = "wrong_host"
    UNKNOWN_ROOT = "unknown_root"
    INTERCEPTED = "intercepted"


MARKER = "made.json"
LOCK = ".lock"
ROOTS = "roots.pem"
SERVER_KEY = "server.key"
FIRMWARE, FIRMWARE_NEXT, FOREIGN = "firmware-signer", "firmware-next-signer", "foreign-signer"
VOUCHED, BUNDLE = "vouched-signer", "bundle-signer"
SIGNERS = (FIRMWARE, FIRMWARE_NEXT, FOREIGN, VOUCHED, BUNDLE)
VOUCHED_CERTIFICATE = f"{VOUCHED}.pem"

FIRMWARE_SIGNERS = {"firmware": FIRMWARE, "firmware-next": FIRMWARE_NEXT, "foreign": FOREIGN, "vouched": VOUCHED}
"""Keys that firmware may be signed with, by the name that faults and the control API call them."""


def root_names(root: Root) -> tuple[str, str]:
    """File names of a root certificate and its key."""
    return f"root-{root.value}.pem", f"root-{root.value}.key"


def intermediate_names(root: Root) -> tuple[str, str]:
    """File names of the certificate and the key that issue servers below a root."""
    return f"intermediate-{root.value}.pem", f"intermediate-{root.value}.key"


def roots_of(host: str) -> tuple[Root, ...]:
    """The roots that a default host has a chain under; the first is the one that it uses when nothing is wrong."""
    return (Root.VENDOR, Root.OLD, Root.NEW) if host in VENDOR_HOSTS else (Root.OLD, Root.NEW)


def server_chain(host: str, root: Root) -> str:
    """File name of the chain of a default host under a root."""
    return f"server-{root.value}-{host}.pem"


def bad_chain(kind: BadKind) -> str:
    """File name of the chain of a bad certificate."""
    return f"bad-{kind.value}.pem"


def bad_key(kind: BadKind) -> str:
    """File name of the private key of a bad certificate."""
    return f"bad-{kind.value}.key"


def file_names() -> frozenset[str]:
    """Every file of a complete directory except the marker."""
    return frozenset(
        {ROOTS, SERVER_KEY, VOUCHED_CERTIFICATE}
        | {name for root in Root for name in (*root_names(root), *intermediate_names(root))}
        | {server_chain(host, root) for host in SERVER_NAMES for root in roots_of(host)}
        | {name(kind) for kind in BadKind for name in (bad_chain, bad_key)}
        | {f"{signer}{suffix}" for signer in SIGNERS for suffix in (".key", ".pub.pem")}
    )


@dataclass(frozen=True, slots=True)
class CertsDir:
    """A complete certificates directory. Chains are PEM, leaf first; keys are unencrypted PKCS #8 PEM, mode 600."""

    path: Path

    @property
    def roots_path(self) -> Path:
        """All roots in one file, for tools that want a CA file."""
        return self.path / ROOTS

    def roots_pem(self) -> str:
        """What that file holds: who trusts it accepts the good certificate of every default host under every root."""
        return self.roots_path.read_text(encoding="ascii")

    def root_pem(self, root: Root) -> str:
        """The certificate of one root."""
        return self.root_file(root).read_text(encoding="ascii")

    def root_file(self, root: Root) -> Path:
        """The same as a file, for other processes."""
        return self.path / root_names(root)[0]

    def server(self, host: str, root: Root | None = None) -> tuple[Path, Path]:
        """Chain and key of the good server certificate for a default host, under its own root if `root` is None.

        UsageError: no such host, or it has no chain under that root.
        """
        if host not in SERVER_NAMES:
            raise UsageError(f"certificates: no server certificate for {host}; there are {', '.join(SERVER_NAMES)}")
        under = root or roots_of(host)[0]
        if under not in roots_of(host):
            raise UsageError(f"certificates: {host} has no certificate under the {under.value} root")
        return self.path / server_chain(host, under), self.path / SERVER_KEY

    def bad(self, kind: str) -> tuple[Path, Path]:
        """Chain and key of a bad server certificate. UsageError when `kind` is not a `BadKind`."""
        if kind not in set(BadKind):
            raise UsageError(f"certificates: {kind!r} is not a bad kind; known are {', '.join(BadKind)}")
        return self.path / bad_chain(BadKind(kind)), self.path / bad_key(BadKind(kind))

    def firmware_public_pem(self) -> str:
        """The public key that chargers check firmware manifests with."""
        return self.firmware_public_path.read_text(encoding="ascii")

    @property
    def firmware_public_path(self) -> Path:
        """The same as a file, for tools and other processes."""
        return self.path / f"{FIRMWARE}.pub.pem"

    def bundle_public_pem(self) -> str:
        """The public key that chargers check trust bundles with (zaptec.md section 5)."""
        return self.bundle_public_path.read_text(encoding="ascii")

    @property
    def bundle_public_path(self) -> Path:
        """The same as a file, for other processes."""
        return self.path / f"{BUNDLE}.pub.pem"

    def firmware_signer(self) -> EllipticCurvePrivateKey:
        """The P-256 key that signs firmware manifests."""
        return self._private_key(FIRMWARE)

    def firmware_signers(self) -> dict[str, EllipticCurvePrivateKey]:
        """The keys of `FIRMWARE_SIGNERS`: the one chargers are born to trust, the one they learn to trust next, one
        that nobody knows, and one that only the old root has certified to sign code."""
        return {name: self._private_key(signer) for name, signer in FIRMWARE_SIGNERS.items()}

    def firmware_public_pems(self) -> dict[str, str]:
        """The public halves of the same keys."""
        return {name: self._public_pem(signer) for name, signer in FIRMWARE_SIGNERS.items()}

    def vouched_certificate_pem(self) -> str:
        """The certificate of the ``vouched`` key, under the old root."""
        return (self.path / VOUCHED_CERTIFICATE).read_text(encoding="ascii")

    def foreign_signer(self) -> EllipticCurvePrivateKey:
        """A P-256 key that no charger trusts."""
        return self._private_key(FOREIGN)

    def bundle_signer(self) -> EllipticCurvePrivateKey:
        """The P-256 key that signs trust bundles."""
        return self._private_key(BUNDLE)

    def is_complete(self) -> bool:
        """Whether every file of the current layout is there."""
        try:
            made = json.loads((self.path / MARKER).read_bytes())
            return made == {"layout": LAYOUT} and file_names() <= {entry.name for entry in self.path.iterdir()}
        except (OSError, ValueError):
            return False

    def _public_pem(self, signer: str) -> str:
        return (self.path / f"{signer}.pub.pem").read_text(encoding="ascii")

    def _private_key(self, signer: str) -> EllipticCurvePrivateKey:
        key = load_pem_private_key((self.path / f"{signer}.key").read_bytes(), password=None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise UsageError(f"{self.path / signer}.key: not an elliptic-curve key")
        return key

"""Which files a certificates directory holds, and how to read them."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from emulator.errors import UsageError

LAYOUT = 1
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


class BadKind(StrEnum):
    """What is wrong with a bad server certificate (manual row M4). All but WRONG_HOST name every default host."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_HOST = "wrong_host"
    UNKNOWN_ROOT = "unknown_root"
    INTERCEPTED = "intercepted"


MARKER = "made.json"
LOCK = ".lock"
ROOT = "root.pem"
SERVER_KEY = "server.key"
FIRMWARE, FOREIGN, BUNDLE = "firmware-signer", "foreign-signer", "bundle-signer"
SIGNERS = (FIRMWARE, FOREIGN, BUNDLE)


def server_chain(host: str) -> str:
    """File name of the chain of a default host."""
    return f"server-{host}.pem"


def bad_chain(kind: BadKind) -> str:
    """File name of the chain of a bad certificate."""
    return f"bad-{kind.value}.pem"


def bad_key(kind: BadKind) -> str:
    """File name of the private key of a bad certificate."""
    return f"bad-{kind.value}.key"


def file_names() -> frozenset[str]:
    """Every file of a complete directory except the marker."""
    return frozenset(
        {ROOT, "root.key", "intermediate.pem", "intermediate.key", SERVER_KEY}
        | {server_chain(host) for host in SERVER_NAMES}
        | {name(kind) for kind in BadKind for name in (bad_chain, bad_key)}
        | {f"{signer}{suffix}" for signer in SIGNERS for suffix in (".key", ".pub.pem")}
    )


@dataclass(frozen=True, slots=True)
class CertsDir:
    """A complete certificates directory. Chains are PEM, leaf first; keys are unencrypted PKCS #8 PEM, mode 600."""

    path: Path

    @property
    def root_path(self) -> Path:
        """The root certificate, for tools that want a CA file."""
        return self.path / ROOT

    def roots_pem(self) -> str:
        """The certificates that a charger from this production trusts for hub and HTTPS servers."""
        return self.root_path.read_text(encoding="ascii")

    def server(self, host: str) -> tuple[Path, Path]:
        """Chain and key of the good server certificate for a default host. UsageError for any other name."""
        if host not in SERVER_NAMES:
            raise UsageError(f"certificates: no server certificate for {host}; there are {', '.join(SERVER_NAMES)}")
        return self.path / server_chain(host), self.path / SERVER_KEY

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
        return (self.path / f"{BUNDLE}.pub.pem").read_text(encoding="ascii")

    def firmware_signer(self) -> EllipticCurvePrivateKey:
        """The P-256 key that signs firmware manifests."""
        return self._private_key(FIRMWARE)

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

    def _private_key(self, signer: str) -> EllipticCurvePrivateKey:
        key = load_pem_private_key((self.path / f"{signer}.key").read_bytes(), password=None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise UsageError(f"{self.path / signer}.key: not an elliptic-curve key")
        return key

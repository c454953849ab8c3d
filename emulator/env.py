"""What a charger is, and what it may touch."""

from dataclasses import dataclass, field
from random import Random

from emulator.clock import Rtc
from emulator.flash.api import Flash
from emulator.local import FACTORY, Local
from emulator.net.api import Host
from emulator.net.keylog import Keylog
from emulator.net.meter import DataMeter
from emulator.profile import Profile
from emulator.trace import Trace


@dataclass(frozen=True, slots=True)
class Spec:
    """One charger as it left production (manual row M5)."""

    serial: str
    key: bytes = field(repr=False)
    """The 32 random bytes made at production; base64 of them is the hub's device key."""
    profile: Profile
    roots_pem: str = field(repr=False)
    """Certificates that it trusts for hub and API while it has no trust bundle."""
    firmware_key_pem: str = field(repr=False)
    """Public key that firmware manifests must be signed with."""
    local: Local = FACTORY
    """What the installer has set (M18); flash may hold something newer."""
    vendor_root_pem: str = field(repr=False, kw_only=True)
    """The vendor's own root: the bundle server must be under it, the firmware server may be (zaptec.md section 5)."""
    bundle_key_pem: str = field(repr=False, kw_only=True)
    """Public key that trust bundles must be signed with."""


@dataclass(frozen=True, slots=True)
class Env:
    """The world as the charger has it: everything that is not the charger itself comes in here."""

    host: Host
    rtc: Rtc
    flash: Flash
    trace: Trace
    seed: str
    meter: DataMeter = field(default_factory=DataMeter)
    """What goes over the link, if the host is a `net.metered.MeteredHost` with this meter."""
    keylog: Keylog | None = None
    """Where the secrets of its TLS sessions are written, for who wants to read a capture of them."""

    def rng(self, purpose: str) -> Random:
        """A random source of its own for each purpose, so that one more draw here moves nothing there."""
        return Random(f"{self.seed}/{self.trace.who}/{purpose}")  # noqa: S311 - repeatable, never for secrets

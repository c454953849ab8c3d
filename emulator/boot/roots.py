"""The roots in force and what speaks against them (M4, zaptec.md section 5)."""

from enum import StrEnum

from emulator.boot.outcome import Why
from emulator.env import Spec
from emulator.flash import Flash
from emulator.machines.bundle import BundleFetch
from emulator.wire.bundle import Bundle, BundleError, open_reply

BUNDLE_KEY = "trust.bundle"
"""Where flash holds the reply that brought the bundle, as it came; production stores the first."""

TLS_ERRORS = frozenset(why for why in Why if why.value.startswith("tls_"))


class Source(StrEnum):
    """Where the roots in force come from."""

    BUILT_IN = "built_in"
    FLASH = "flash"
    FETCHED = "fetched"


class Trust:
    """What one life of the charger trusts. A stored bundle is verified here, at every boot; the stage tells of it.

    `doubt` says why a bundle is wanted, in the words that the server is told (invented): there is none, or a TLS error.
    In the Go a fetch marks the bundle "not OK" until the server has answered, and so it is here. There that keeps
    MQTT away only once the interface was brought up anew (which section 5 infers); here, with the profile's
    `without_bundle = "wait"`, it does at every login.
    """

    __slots__ = ("_flash", "doubt", "failure", "fetch", "override", "retry_at", "roots_pem", "source", "version")

    def __init__(self, spec: Spec, flash: Flash) -> None:
        timing = spec.profile.trust
        self._flash = flash
        self.roots_pem = spec.roots_pem
        self.version = timing.built_in_version
        self.source = Source.BUILT_IN
        self.doubt: str | None = None
        self.failure: tuple[Why, str] | None = None
        """How the last fetch went wrong; None: it did not."""
        self.retry_at: float | None = None
        """When the bundle is asked for in the background, by the loop's clock; None: it is not."""
        self.override: int | None = None
        """The version to ask for next, newer or not."""
        held = self._load(spec.bundle_key_pem)
        self.fetch = BundleFetch(timing, spec.bundle_key_pem, held)

    def suspect(self, why: Why) -> None:
        """A connection failed: if it was TLS that failed, fetch a bundle before the next login."""
        if why in TLS_ERRORS:
            self.doubt = why.value

    def take(self, reply: bytes, bundle: Bundle) -> None:
        """Store a bundle that was fetched, and trust it from the next connection on."""
        self._flash.put(BUNDLE_KEY, reply)
        self._use(bundle, Source.FETCHED)

    def settle(self) -> None:
        """The server has answered: there is no doubt left."""
        self.doubt = self.failure = self.override = None

    def _load(self, key_pem: str) -> int | None:
        """Use the bundle in flash; its version, or None when there is none that can be used."""
        stored = self._flash.get(BUNDLE_KEY)
        if stored is None:
            self.doubt = "no bundle"
            return None
        try:
            bundle = open_reply(stored, key_pem)
        except BundleError as error:
            self.doubt = f"bundle {error.reason.value}"
            return None
        if not isinstance(bundle, Bundle):
            self.doubt = "no bundle"
            return None
        self._use(bundle, Source.FLASH)
        return bundle.version

    def _use(self, bundle: Bundle, source: Source) -> None:
        self.roots_pem, self.version, self.source = bundle.roots_pem, bundle.version, source

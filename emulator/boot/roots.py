"""The roots and the firmware keys in force, and what speaks against the roots (M4, zaptec.md section 5)."""

from enum import StrEnum

from emulator.boot.outcome import Why
from emulator.env import Spec
from emulator.flash.api import Flash, kept
from emulator.machines.bundle import BundleFetch
from emulator.wire.bundle import Bundle, BundleError, Newest, open_reply
from emulator.wire.firmware_keys import FirmwareKeys

BUNDLE_KEY = "trust.bundle"
"""Where flash holds the reply that brought the bundle, as it came; production stores the first."""
FIRMWARE_KEYS_KEY = "trust.firmware_keys"
"""Where flash holds the reply that brought the list of firmware keys with the highest number, as it came."""

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

    `firmware_keys` is the list with the highest number that any bundle ever brought, or the key built in: who brings
    an old bundle back brings back old roots, but no key that was revoked (invented).
    """

    __slots__ = (
        "_flash",
        "doubt",
        "failure",
        "fetch",
        "firmware_keys",
        "override",
        "retry_at",
        "roots_pem",
        "source",
        "version",
    )

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
        self.firmware_keys = FirmwareKeys((spec.firmware_key_pem,))
        self._load_firmware_keys(spec.bundle_key_pem)
        held = self._load(spec.bundle_key_pem)
        self.fetch = BundleFetch(timing, spec.bundle_key_pem, held)

    def suspect(self, why: Why) -> None:
        """A connection failed: if it was TLS that failed, fetch a bundle before the next login."""
        if why in TLS_ERRORS:
            self.doubt = why.value

    def take(self, reply: bytes, bundle: Bundle) -> None:
        """Trust a bundle that was fetched, from the next connection on, and store it if flash has room for it."""
        self._take_firmware_keys(reply, bundle)
        kept(self._flash, BUNDLE_KEY, reply)
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
        self._take_firmware_keys(stored, bundle)
        self._use(bundle, Source.FLASH)
        return bundle.version

    def _load_firmware_keys(self, key_pem: str) -> None:
        """Use the list in flash; one that is damaged is as good as none."""
        stored = self._flash.get(FIRMWARE_KEYS_KEY)
        try:
            bundle = Newest(0) if stored is None else open_reply(stored, key_pem)
        except BundleError:
            return
        if isinstance(bundle, Bundle) and bundle.firmware_keys is not None:
            self.firmware_keys = bundle.firmware_keys

    def _take_firmware_keys(self, reply: bytes, bundle: Bundle) -> None:
        """Use and store the list in a bundle, if it is newer than the one in force."""
        if bundle.firmware_keys is not None and bundle.firmware_keys.number > self.firmware_keys.number:
            kept(self._flash, FIRMWARE_KEYS_KEY, reply)
            self.firmware_keys = bundle.firmware_keys

    def _use(self, bundle: Bundle, source: Source) -> None:
        self.roots_pem, self.version, self.source = bundle.roots_pem, bundle.version, source

"""Why an update is refused: one closed list for format, transport, download and installation."""

from enum import StrEnum

from emulator.errors import WireError


class UpdateReason(StrEnum):
    """Why an update was not installed. Closed list: every attack and every mishap has a reason of its own."""

    UNSIGNED = "unsigned"
    """There is no signature."""
    BAD_SIGNATURE = "bad_signature"
    """The manifest names a key that may sign, and the signature is not made by it."""
    UNKNOWN_KEY = "unknown_key"
    """The manifest names a key that this charger was never told of."""
    CERTIFICATE_SIGNER = "certificate_signer"
    """The signature is in CMS: a certificate vouches for its signer. Certificates never vouch for firmware."""
    REVOKED_KEY = "revoked_key"
    """The manifest names a key that the trust bundle has revoked."""
    MALFORMED = "malformed"
    """Bytes that the format does not allow."""
    WRONG_HARDWARE = "wrong_hardware"
    """Made for other hardware."""
    WRONG_SERIAL = "wrong_serial"
    """Made for chargers whose serial begins otherwise."""
    OLDER = "older"
    """Its version is lower than the one that runs."""
    ROLLBACK = "rollback"
    """Its security counter is lower than one that this charger has relied on, whatever its version says."""
    NOT_FROM_HERE = "not_from_here"
    """The firmware that runs is too old to be followed by it."""
    EXPIRED = "expired"
    """Its time is over by the charger's clock: somebody keeps newer firmware away."""
    TOO_LARGE = "too_large"
    """It does not fit into a slot."""
    ENDLESS = "endless"
    """More bytes come than were asked for, or than the manifest says there are."""
    SHORT = "short"
    """Fewer bytes come than were asked for, or than the manifest says there are."""
    WRONG_HASH = "wrong_hash"
    """The bytes are not the ones that were signed."""
    MIXED = "mixed"
    """Its components are not all there, or not all of the same release."""
    CHANGED = "changed"
    """The server has another image now than when the download began."""
    FOREIGN_REDIRECT = "foreign_redirect"
    """The server sends the charger to a host that firmware does not come from."""
    NOT_HTTPS = "not_https"
    """It lies, or the server sends the charger, where there is no TLS."""
    TLS = "tls"
    """The server cannot prove who it is."""
    TOO_SLOW = "too_slow"
    """Bytes come, but so slowly that somebody may want to keep the charger busy."""
    REFUSED = "refused"
    """The server will not answer, now or later."""
    TIMED_OUT = "timed_out"
    """The timer over the whole update ran out."""
    UNCONFIRMED = "unconfirmed"
    """The image that runs is still on trial."""
    DAMAGED = "damaged"
    """What lies in its slot is not what was installed there: bits of it have rotted."""
    FLASH = "flash"
    """The charger's own flash is full, or worn out."""


class FirmwareError(WireError):
    """An update that must not be installed, and why; `detail` is for people."""

    def __init__(self, reason: UpdateReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


def malformed(detail: str) -> FirmwareError:
    """The error for bytes or values that the format does not allow."""
    return FirmwareError(UpdateReason.MALFORMED, detail)

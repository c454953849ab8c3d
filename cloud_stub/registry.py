"""The identity registry: which devices exist and which keys they hold. "Production" makes both (manual row M5)."""

import hashlib
import hmac
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from emulator.errors import UsageError

KEY_BYTES = 32
DEVICES_MAX = 200_000
SERIAL_MAX = 999_999
_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-.+%_#*?!(),=@$':;")
_ID_LENGTH_MAX = 128  # iothub-mqtt.md section 2.3

Keys = tuple[bytes, bytes]
KeySource = Callable[[str], Keys]
"""Gives the primary and the secondary key of a device id."""


class DeviceStatus(StrEnum):
    """Whether a device may connect."""

    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Device:
    """One identity with its two keys, both valid at any time so that they can be rotated."""

    device_id: str
    primary_key: bytes = field(repr=False)
    secondary_key: bytes = field(repr=False)
    status: DeviceStatus = DeviceStatus.ENABLED

    @property
    def keys(self) -> Keys:
        """Primary, secondary."""
        return self.primary_key, self.secondary_key


class UnknownDevice(UsageError):
    """The registry has no such device."""


def derived_keys(production_secret: bytes) -> KeySource:
    """Keys that follow from the device id: HMAC-SHA256 of the id under `production_secret`.

    Every process that knows the secret makes the same keys, so a fleet need not exchange thousands of them.
    """
    if len(production_secret) < KEY_BYTES:
        raise UsageError(f"production secret: must be at least {KEY_BYTES} bytes")

    def key(which: str, device_id: str) -> bytes:
        return hmac.digest(production_secret, f"{which}:{device_id}".encode(), hashlib.sha256)

    return lambda device_id: (key("primary", device_id), key("secondary", device_id))


def serials(prefix: str, count: int) -> list[str]:
    """`count` serials of three letters and six digits (zaptec.md section 1): ``ZPR000001`` ..."""
    if not (len(prefix) == 3 and prefix.isascii() and prefix.isalpha()):
        raise UsageError(f"prefix {prefix!r}: must be three letters")
    if not 1 <= count <= SERIAL_MAX:
        raise UsageError(f"count {count}: must be 1 to {SERIAL_MAX}, the number of serials with one prefix")
    return [f"{prefix}{number:06}" for number in range(1, count + 1)]


class Registry:
    """Devices by id, at most `DEVICES_MAX`."""

    def __init__(self, keys: KeySource) -> None:
        self._keys = keys
        self._devices: dict[str, Device] = {}

    def produce(self, device_id: str) -> Device:
        """Make the keys of a new device and register it. UsageError: bad id, taken, or registry full."""
        if not 0 < len(device_id) <= _ID_LENGTH_MAX or not _ID_CHARACTERS.issuperset(device_id):
            raise UsageError(f"device id {device_id!r}: 1 to {_ID_LENGTH_MAX} letters, digits or -.+%_#*?!(),=@$':;")
        if device_id in self._devices:
            raise UsageError(f"device {device_id}: exists already")
        if len(self._devices) >= DEVICES_MAX:
            raise UsageError(f"device {device_id}: more than {DEVICES_MAX} devices")
        primary, secondary = self._keys(device_id)
        device = self._devices[device_id] = Device(device_id, primary, secondary)
        return device

    def get(self, device_id: str) -> Device | None:
        """The device, if it exists. Ids are case-sensitive."""
        return self._devices.get(device_id)

    def __iter__(self) -> Iterator[Device]:
        return iter(self._devices.values())

"""A device of a real IoT Hub, for a charger that has no other servers of the vendor.

It must not ask the vendor's own: their names are replaced by such as nobody can have (RFC 6761 section 6.4). So the
trust stage ends degraded, `bundle_built_in`, and goes on with the roots of the account; an order to update the firmware
fails because no server is found.
"""

import re
from base64 import b64decode
from binascii import Error
from dataclasses import dataclass, field
from pathlib import Path

from emulator.env import Spec
from emulator.errors import UsageError
from emulator.net.tls import client_context
from emulator.private_file import read_private
from emulator.profile import Profile

DEVICE_ID = re.compile(r"^[A-Za-z0-9\-:.+%_*?!(),=@$']{1,128}$")
"""Device identities of IoT Hub; ``#`` is left out, for no topic may carry it."""

KEY_BYTES = range(16, 65)
"""Symmetric keys of IoT Hub."""

CA_BYTES_MAX = 1 << 20

NOBODY = {
    "network.api_host": "api.invalid",
    "network.devices_host": "devices.invalid",
    "network.old_api_host": "old-api.invalid",
}


@dataclass(frozen=True, slots=True)
class HubAccount:
    """How a device logs in at a hub, and whom it trusts there."""

    host: str
    device_id: str
    key: bytes = field(repr=False)
    roots_pem: str = field(repr=False)

    def profile(self, profile: Profile) -> Profile:
        """The profile of a charger that knows this hub and nobody else. UsageError: the host is no name."""
        changes = {"network.hub_host": self.host, "hub.sas_resource_host": self.host}
        return profile.with_changes({**changes, **NOBODY}, where=f"--hub {self.host}")

    def spec(self, profile: Profile) -> Spec:
        """The charger, with a `profile` as that method gives it. It has no keys to verify firmware or bundles by."""
        roots = self.roots_pem
        return Spec(self.device_id, self.key, profile, roots, "", vendor_root_pem=roots, bundle_key_pem="")


def account_from(host: str | None, device_id: str | None, key_file: Path | None, ca: Path | None) -> HubAccount | None:
    """Read ``--hub HOST --device-id ID --key-file FILE --ca FILE``; None: none of them was given.

    The key file has mode 600 and holds the device's key in base64, the CA file PEM certificates. UsageError names what
    is missing or wrong.
    """
    given = {"--hub": host, "--device-id": device_id, "--key-file": key_file, "--ca": ca}
    if all(value is None for value in given.values()):
        return None
    if host is None or device_id is None or key_file is None or ca is None:
        missing = ", ".join(name for name, value in given.items() if value is None)
        raise UsageError(f"a device of a hub needs --hub, --device-id, --key-file and --ca; missing: {missing}")
    if not DEVICE_ID.match(device_id):
        raise UsageError(f"--device-id {device_id}: not an identity of a device")
    return HubAccount(host, device_id, _key(key_file), _roots(ca))


def _key(file: Path) -> bytes:
    where = f"--key-file {file}"
    try:
        key = b64decode(read_private(file, where=where).strip(), validate=True)
    except Error:
        raise UsageError(f"{where}: not base64") from None
    if len(key) not in KEY_BYTES:
        raise UsageError(f"{where}: a key of {len(key)} bytes; it has {KEY_BYTES[0]} to {KEY_BYTES[-1]}")
    return key


def _roots(file: Path) -> str:
    where = f"--ca {file}"
    try:
        with file.open(encoding="ascii") as opened:
            text = opened.read(CA_BYTES_MAX)
        client_context(text)
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from None
    except (UnicodeDecodeError, UsageError):
        raise UsageError(f"{where}: no PEM certificates") from None
    return text

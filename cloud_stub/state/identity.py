"""What a device is in the registry: its fields, how it proves itself, and their JSON (iothub-mqtt.md section 2.3)."""

import binascii
import re
import string
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.time import NEVER

KEY_BYTES_MIN, KEY_BYTES_MAX = 16, 64
REASON_CHARACTERS_MAX = 128
_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-.+%_#*?!(),=@$':;")
_ID_LENGTH_MAX = 128
_THUMBPRINT = re.compile(r"(?:[0-9A-F]{40}|[0-9A-F]{64})?")

ID_RULE = f"1 to {_ID_LENGTH_MAX} letters, digits or -.+%_#*?!(),=@$':;"

Keys = tuple[bytes, bytes]


class DeviceStatus(StrEnum):
    """Whether a device may connect."""

    ENABLED = "enabled"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class SasAuth:
    """Two keys, both valid at any time so that they can be rotated. In a `DeviceSpec` empty: the hub makes one."""

    primary_key: bytes = field(repr=False, default=b"")
    secondary_key: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class SelfSigned:
    """Thumbprints of the certificates that are accepted: SHA-1 or SHA-256 in upper-case hexadecimal, empty for none."""

    primary_thumbprint: str
    secondary_thumbprint: str = ""

    def admits(self, *thumbprints: str) -> bool:
        """Whether a certificate with these thumbprints is one of the two."""
        wanted = {self.primary_thumbprint, self.secondary_thumbprint} - {""}
        return any(thumbprint.upper() in wanted for thumbprint in thumbprints)


@dataclass(frozen=True, slots=True)
class CaSigned:
    """Any certificate from a known authority whose subject's common name is the device id."""


Auth = SasAuth | SelfSigned | CaSigned
AUTH_TYPES: Mapping[type[Auth], str] = {SasAuth: "sas", SelfSigned: "selfSigned", CaSigned: "certificateAuthority"}


@dataclass(frozen=True, slots=True)
class Device:
    """One identity. `etag` changes with every update; `generation_id` when the id is deleted and made again."""

    device_id: str
    generation_id: str
    etag: str
    auth: Auth
    status: DeviceStatus = DeviceStatus.ENABLED
    status_reason: str | None = None
    status_updated: str = NEVER
    iot_edge: bool = False
    produced: bool = False
    """Made by production, with derived keys and the settings of a new charger."""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Primary, secondary; none for a device with a certificate."""
        return (self.auth.primary_key, self.auth.secondary_key) if isinstance(self.auth, SasAuth) else ()

    @property
    def primary_key(self) -> bytes:
        """The first key; empty for a device with a certificate."""
        return next(iter(self.keys), b"")


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """What a service wants a device to be."""

    auth: Auth = SasAuth()
    status: DeviceStatus = DeviceStatus.ENABLED
    status_reason: str | None = None
    iot_edge: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a device's connection. Advisory: after a crash of the hub it may lag behind the truth."""

    connected: bool = False
    connection_updated: str = NEVER
    last_activity: str = NEVER


def valid_id(device_id: str) -> bool:
    """Whether a device can have this id. It may contain what is special in topics and URLs, except ``/``."""
    return 0 < len(device_id) <= _ID_LENGTH_MAX and _ID_CHARACTERS.issuperset(device_id)


def device_json(device: Device, seen: Seen = Seen(), c2d_count: int = 0) -> dict[str, Any]:
    """A device as the registry routes show it, keys included."""
    return {
        "deviceId": device.device_id,
        "generationId": device.generation_id,
        "etag": device.etag,
        "connectionState": "Connected" if seen.connected else "Disconnected",
        "status": device.status.value,
        "statusReason": device.status_reason,
        "connectionStateUpdatedTime": seen.connection_updated,
        "statusUpdatedTime": device.status_updated,
        "lastActivityTime": seen.last_activity,
        "cloudToDeviceMessageCount": c2d_count,
        "authentication": auth_json(device.auth),
        "capabilities": {"iotEdge": device.iot_edge},
    }


def auth_json(auth: Auth) -> dict[str, Any]:
    """The field ``authentication``; what the type has no use for is null."""
    primary, secondary = thumbprints(auth)
    keys = [auth.primary_key, auth.secondary_key] if isinstance(auth, SasAuth) else [b"", b""]
    primary_key, secondary_key = (b64encode(key).decode() or None for key in keys)
    return {
        "symmetricKey": {"primaryKey": primary_key, "secondaryKey": secondary_key},
        "x509Thumbprint": {"primaryThumbprint": primary, "secondaryThumbprint": secondary},
        "type": AUTH_TYPES[type(auth)],
    }


def thumbprints(auth: Auth) -> tuple[str | None, str | None]:
    """Primary and secondary thumbprint; None where there is none."""
    if not isinstance(auth, SelfSigned):
        return None, None
    return auth.primary_thumbprint or None, auth.secondary_thumbprint or None


def spec_of(data: Mapping[str, Any]) -> DeviceSpec:
    """What a device's JSON asks for; fields that the hub sets are ignored. HubError 400004."""
    if data.get("moduleId"):
        raise _bad("moduleId: this hub has no modules")
    reason = data.get("statusReason")
    if reason is not None and not (isinstance(reason, str) and len(reason) <= REASON_CHARACTERS_MAX):
        raise _bad(f"statusReason: must be a text of at most {REASON_CHARACTERS_MAX} characters")
    status = data.get("status") or DeviceStatus.ENABLED
    if status not in tuple(DeviceStatus):
        raise _bad("status: must be enabled or disabled")
    edge = _object(data, "capabilities").get("iotEdge") or False
    if not isinstance(edge, bool):
        raise _bad("capabilities.iotEdge: must be true or false")
    return DeviceSpec(_auth(_object(data, "authentication")), DeviceStatus(status), reason, edge)


def _auth(data: Mapping[str, Any]) -> Auth:
    prints = _object(data, "x509Thumbprint")
    primary, secondary = (_thumbprint(prints.get(f"{which}Thumbprint")) for which in ("primary", "secondary"))
    kind = data.get("type") or ("selfSigned" if primary or secondary else "sas")
    match kind:
        case "sas":
            keys = _object(data, "symmetricKey")
            return SasAuth(_key(keys.get("primaryKey")), _key(keys.get("secondaryKey")))
        case "selfSigned" if primary or secondary:
            return SelfSigned(primary, secondary)
        case "selfSigned":
            raise _bad("authentication.x509Thumbprint: a thumbprint is needed")
        case "certificateAuthority":
            return CaSigned()
        case _:
            raise _bad(f"authentication.type: must be one of {', '.join(AUTH_TYPES.values())}")


def _key(text: object) -> bytes:
    if text is None or text == "":
        return b""
    try:
        key = b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        key = b""
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        raise _bad(f"authentication.symmetricKey: must be base64 of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes")
    return key


def _thumbprint(text: object) -> str:
    found = "" if text is None else text
    if not isinstance(found, str) or not _THUMBPRINT.fullmatch(found.upper()):
        raise _bad("authentication.x509Thumbprint: must be 40 or 64 hexadecimal digits")
    return found.upper()


def _object(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise _bad(f"{name}: must be an object")
    return found


def _bad(text: str) -> HubError:
    return HubError(ErrorCode.BAD_ARGUMENT, text)

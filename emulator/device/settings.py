"""Settings that the cloud sets through twin desired properties (zaptec.md sections 8.1 and 17.2), kept in flash."""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from emulator.flash.api import Flash, kept
from emulator.profile import Profile

FLASH_PREFIX = "setting/"
NOBODY = "00000000-0000-0000-0000-000000000000"
"""Setting 800 of a charger that belongs to no installation."""
TEXT_MAX = 128  # for texts that the sources give no limit for (invented)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. `accepts` judges the text of a value; a value that it refuses is ignored, the old one stays."""

    id: int
    name: str
    accepts: Callable[[str], bool]
    default: Callable[[Profile], str]
    doc: str
    null: str | None = None
    """What JSON null means; None: it is refused."""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _amps(text: str) -> bool:
    value = _number(text)
    return value is not None and 0 <= value <= 32


def _one_of(*allowed: str) -> Callable[[str], bool]:
    return lambda text: text in allowed


def _shorter_than(limit: int) -> Callable[[str], bool]:
    return lambda text: len(text) < limit


def _websocket(text: str) -> bool:
    return text == "" or text.startswith(("ws://", "wss://"))


def _ocpp_key(text: str) -> bool:
    return text == "" or 16 <= len(text) <= 40


def _guid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _fixed(text: str) -> Callable[[Profile], str]:
    return lambda profile: text


_BIT = _one_of("0", "1")

_ROWS = (
    Setting(120, "AuthenticationRequired", _BIT, _fixed("0"), "A tag must be shown before a charge."),
    Setting(
        150,
        "CommunicationMode",
        _shorter_than(TEXT_MAX),
        _fixed("Wifi"),
        "Kept, and without effect: the installer chooses the link (M18).",
    ),
    Setting(151, "PermanentCableLock", _BIT, _fixed("0"), "The cable stays locked without a car."),
    Setting(153, "HmiBrightness", _shorter_than(TEXT_MAX), _fixed("0.5"), "LED brightness from 0 to 1."),
    Setting(510, "CurrentInMaximum", _amps, lambda p: f"{p.electrical.max_current_a:g}", "The charger's own limit, A."),
    Setting(511, "CurrentInMinimum", _amps, lambda p: f"{p.electrical.min_current_a:g}", "Least current offered, A."),
    Setting(520, "MaxPhases", _one_of("1", "3"), _fixed("3"), "How many lines may be used."),
    Setting(522, "DefaultOfflinePhase", _one_of(*"123456789"), _fixed("4"), "Phase id used offline."),
    Setting(
        523, "DefaultOfflineCurrent", _amps, lambda p: f"{p.electrical.offline_current_a:g}", "Current used offline, A."
    ),
    Setting(711, "IsEnabled", _BIT, _fixed("1"), "The charger may be used at all."),
    Setting(712, "Standalone", _BIT, _fixed("0"), "Works without the cloud."),
    Setting(
        715,
        "NetworkType",
        _one_of(*"1234"),
        lambda p: str(p.electrical.network_type),
        "Grid: IT or TN, one or three phases.",
    ),
    Setting(800, "InstallationId", _guid, lambda p: p.hub.installation_id, "Whom it belongs to; in every topic."),
    Setting(
        801, "RoutingId", _shorter_than(TEXT_MAX), lambda p: p.hub.routing_id, "Route in the cloud; in every topic."
    ),
    Setting(802, "ChargePointName", _shorter_than(37), _fixed(""), "Name for people."),
    Setting(805, "DiagnosticsMode", _shorter_than(TEXT_MAX), _fixed("0"), "What is logged in more detail."),
    Setting(
        860, "SessionController", _one_of("0", "1", "2"), _fixed("0"), "0 cloud, 1 standalone, 2 OCPP native.", "0"
    ),
    Setting(861, "OcppNativeUrl", _websocket, _fixed(""), "Where OCPP native connects to.", ""),
    Setting(862, "OcppNativeCbId", _shorter_than(33), _fixed(""), "Charge box id for OCPP native."),
    Setting(863, "OcppNativeKey", _ocpp_key, _fixed(""), "Password for OCPP native; never reported."),
)

SETTINGS: Mapping[int, Setting] = {row.id: row for row in _ROWS}
"""Setting id -> row."""


def parse_desired(payload: bytes, *, whole: bool) -> Mapping[str, Any]:
    """The `Settings` map of a twin document (`whole`) or patch; empty when there is none: bad ones are ignored."""
    text = payload.strip()
    if not (text.startswith(b"{") and text.endswith(b"}")):
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if whole:
        document = document.get("desired")
    settings = document.get("Settings") if isinstance(document, dict) else None
    return settings if isinstance(settings, dict) else {}


class Settings:
    """The values in force: what flash holds, else the profile's. RAM holds only what differs from the profile."""

    __slots__ = ("_flash", "_own", "_profile")

    def __init__(self, flash: Flash, profile: Profile) -> None:
        self._flash = flash
        self._profile = profile
        self.recall()

    def recall(self) -> None:
        """Take what flash holds."""
        self._own: dict[int, str] = {}
        for key in self._flash.keys(FLASH_PREFIX):
            self._load(key)

    def __getitem__(self, setting: int) -> str:
        return self._own[setting] if setting in self._own else SETTINGS[setting].default(self._profile)

    def amps(self, setting: int) -> float:
        """A current."""
        return float(self[setting])

    @property
    def activated(self) -> bool:
        """It belongs to an installation and is enabled: only then it may charge (manual row M18)."""
        return self[800] != NOBODY and self[711] == "1"

    def apply(self, desired: Mapping[str, Any]) -> frozenset[int]:
        """Take over what is known and accepted, and keep it in flash; returns the ids whose value changed.

        What flash has no room for holds until the reboot; then the cloud sends it again.
        """
        changed = set()
        for key, value in desired.items():
            row = _row(key)
            text = _as_text(value) if value is not None or row is None else row.null
            if row is None or text is None or not row.accepts(text) or self[row.id] == text:
                continue
            self._own[row.id] = text
            kept(self._flash, f"{FLASH_PREFIX}{row.id}", text.encode())
            changed.add(row.id)
        return frozenset(changed)

    def _load(self, key: str) -> None:
        row = _row(key.removeprefix(FLASH_PREFIX))
        text = (self._flash.get(key) or b"").decode(errors="replace")
        if row is not None and row.accepts(text):
            self._own[row.id] = text


def _row(key: str) -> Setting | None:
    return SETTINGS.get(int(key)) if key.isascii() and key.isdigit() and len(key) < 6 else None


def _as_text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = f"{value:g}" if isinstance(value, float) else str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return None
    return text

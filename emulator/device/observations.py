"""Everything the charger reports: one row per observation id (zaptec.md sections 7, 12 and 17.1)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from emulator.boot.image_updates import APPLIED, FAILED
from emulator.device.local_text import LABELS
from emulator.local import Mode
from emulator.wire.messages import number

if TYPE_CHECKING:
    from emulator.device.charger import Charger


class Cadence(StrEnum):
    """When a value is reported apart from the sets below."""

    IN_SETS = "in_sets"
    """Only with a set, or as companion of another row."""
    ON_CHANGE = "on_change"
    """As soon as its text differs from what was sent last."""
    ON_POWER = "on_power"
    """When the power has moved by a step and settled."""
    ON_ENERGY = "on_energy"
    """When the session's energy has grown by a step."""
    ON_TENTH_KWH = "on_tenth_kwh"
    """Whenever another 0.1 kWh has passed."""
    ON_NEWS = "on_news"
    """When there is something to tell: after a restart, after a day."""
    APART = "apart"
    """Its value is made where it is sent."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One row. `read` gives the value as text, None when there is none now."""

    id: int
    name: str
    unit: str
    doc: str
    read: Callable[["Charger"], str | None]
    cadence: Cadence = Cadence.IN_SETS
    companions: Mapping[str, tuple[int, ...]] | tuple[int, ...] = ()
    """Ids that are sent along, always or depending on the value."""

    def sent_with(self, value: str) -> tuple[int, ...]:
        """The ids that go along when `value` is sent."""
        return self.companions if isinstance(self.companions, tuple) else self.companions.get(value, ())


CAPABILITIES = json.dumps(
    {
        "SchemaVersion": "2.0",
        "DeviceType": "Pro",
        "ProductVariant": "Pro2",
        "ConnectorType": "ITT_Socket",
        "HardwareVariant": "Costcut",
        "InternalFuse": "Resettable_C_40A",
        "RCDType": "TypeB",
        "MeterCalibrated": True,
        "MIDCertified": False,
        "CommunicationModes": ["Ethernet", "LTE", "PLC", "WiFi"],
        "CommunicationSharingModes": ["PLC_WiFi", "WiFi_PLC"],
    },
    separators=(",", ":"),
)
"""Values of a Pro of 2025 (zaptec.md section 1); the order of the keys is invented."""

LTE_DBM = (-140.0, -44.0)  # 3GPP TS 36.133 section 9.1.4

VOLTAGES = (501, 502, 503)
CURRENTS = (507, 508, 509)


def _is(text: str) -> Callable[["Charger"], str | None]:
    return lambda charger: text


def _setting(setting: int) -> Callable[["Charger"], str | None]:
    return lambda charger: charger.settings[setting]


def _apart(charger: "Charger") -> str | None:
    return None


def _bit(value: bool) -> str:
    return "1" if value else "0"


def _voltage(line: int) -> Callable[["Charger"], str | None]:
    return lambda charger: number(charger.charge.reading().voltages_v[line - 1])


def _current(line: int) -> Callable[["Charger"], str | None]:
    return lambda charger: number(charger.charge.reading().currents_a[line - 1])


def _session_id(charger: "Charger") -> str | None:
    session = charger.charge.sessions.current
    return session.session_id if session is not None else ""


def _data_usage(charger: "Charger") -> str | None:
    days = charger.data_days
    return days[-2].as_json() if len(days) > 1 else None


def _cable(charger: "Charger") -> str | None:
    return f"{charger.charge.outlet.car.cable_a:g}" if charger.charge.outlet.car is not None else "0"


def _link(charger: "Charger") -> str | None:
    return LABELS[charger.link]


def _signal(charger: "Charger") -> str | None:
    """As percentage that of the range in which LTE reports its reference signal power; that it is so is invented."""
    carrier = charger.env.host.carrier
    if carrier is None or carrier.signal_dbm is None:
        return None
    if charger.link is not Mode.LTE:
        return f"{carrier.signal_dbm:.0f}"
    return f"{100 * (carrier.signal_dbm - LTE_DBM[0]) / (LTE_DBM[1] - LTE_DBM[0]):.0f}"


def _bundle(charger: "Charger") -> str | None:
    return None if charger.bundle_version is None else str(charger.bundle_version)


_CHANGE, _POWER = Cadence.ON_CHANGE, Cadence.ON_POWER

_ROWS = (
    Observation(100, "Capabilities", "JSON", "What this model can do.", _is(CAPABILITIES), companions=(911,)),
    Observation(120, "AuthenticationRequired", "0/1", "A tag must be shown first.", _setting(120)),
    Observation(147, "PulseInterval", "s", "Sent before a new interval is used.", _apart, Cadence.APART),
    Observation(
        150, "CommunicationMode", "label", "Link in use; that it is told at once is invented.", _link, Cadence.ON_CHANGE
    ),
    Observation(151, "PermanentCableLock", "0/1", "The cable stays locked.", _setting(151), _CHANGE),
    Observation(153, "HmiBrightness", "0-1", "LED brightness.", _setting(153)),
    Observation(201, "TemperatureInternal5", "°C", "Constant (invented).", _is("28.000")),
    Observation(205, "TemperaturePowerBoard", "°C", "Constant (invented).", _is("31.000")),
    Observation(270, "Humidity", "%RH", "Constant (invented).", _is("35.000")),
    Observation(501, "VoltagePhase1", "V", "Line L1.", _voltage(1), Cadence.ON_TENTH_KWH),
    Observation(502, "VoltagePhase2", "V", "Line L2.", _voltage(2), Cadence.ON_TENTH_KWH),
    Observation(503, "VoltagePhase3", "V", "Line L3.", _voltage(3), Cadence.ON_TENTH_KWH),
    Observation(507, "CurrentPhase1", "A", "Line L1.", _current(1), _POWER),
    Observation(508, "CurrentPhase2", "A", "Line L2.", _current(2), _POWER),
    Observation(509, "CurrentPhase3", "A", "Line L3.", _current(3), _POWER),
    Observation(510, "ChargerMaxCurrent", "A", "The charger's own limit.", _setting(510)),
    Observation(511, "ChargerMinCurrent", "A", "Least current offered.", _setting(511)),
    Observation(
        513, "TotalChargePower", "W", "Sum of the lines.", lambda c: number(c.charge.reading().power_w), _POWER
    ),
    Observation(
        519,
        "SetPhases",
        "phase id",
        "Phases in force.",
        lambda c: str(c.charge.machine.phases),
        _CHANGE,
        companions=(708,),
    ),
    Observation(520, "MaxPhases", "count", "How many lines may be used.", _setting(520), _CHANGE, companions=(715,)),
    Observation(522, "ChargerOfflinePhase", "phase id", "Phases used offline.", _setting(522), _CHANGE),
    Observation(523, "ChargerOfflineCurrent", "A", "Current used offline.", _setting(523), _CHANGE),
    Observation(547, "StandaloneCurrent", "A", "Current in standalone mode.", _is("6")),
    Observation(548, "PhaseRotation", "number", "L1, L2, L3 in order (number invented).", _is("4")),
    Observation(
        553,
        "TotalChargePowerSession",
        "kWh",
        "Energy of the charge session.",
        lambda c: number(c.charge.session_kwh()),
        Cadence.ON_ENERGY,
    ),
    Observation(
        702, "ChargeMode", "12, 9, 6", "State of the pilot.", lambda c: str(int(c.charge.machine.charge_mode)), _CHANGE
    ),
    Observation(
        708,
        "ChargeCurrentSet",
        "A",
        "What the cloud allows; acknowledges 501.",
        lambda c: number(c.charge.machine.granted_a),
        _CHANGE,
        companions=(519,),
    ),
    Observation(
        710,
        "ChargerOperationMode",
        "1, 2, 3, 5",
        "State of the charge.",
        lambda c: str(int(c.charge.machine.operation_mode)),
        _CHANGE,
        companions={"1": VOLTAGES, "5": (553,)},
    ),
    Observation(711, "IsEnabled", "0/1", "The charger may be used.", _setting(711)),
    Observation(712, "IsStandAlone", "0/1", "Works without the cloud.", _setting(712), _CHANGE),
    Observation(714, "CableType", "A", "Rating of the cable, 0 without one.", _cable, _CHANGE),
    Observation(715, "NetworkType", "1-4", "Type of the grid.", _setting(715), _CHANGE, companions=(520,)),
    Observation(718, "FinalStopActive", "0/1", "Stopped by 506.", lambda c: _bit(c.charge.machine.final_stop), _CHANGE),
    Observation(721, "SessionIdentifier", "GUID", "Empty without a car.", _session_id, _CHANGE),
    Observation(
        722,
        "ChargerCurrentUserUuid",
        "tag",
        "Tag of the card that was shown; sent as it is shown, and with command 505.",
        lambda c: c.charge.cards.tag,
    ),
    Observation(723, "CompletedSession", "JSON", "A finished charge session.", _apart, Cadence.APART),
    Observation(749, "NrOfChargeCards", "count", "Cards in the local list.", _is("0")),
    Observation(800, "InstallationId", "GUID", "Whom it belongs to.", _setting(800)),
    Observation(801, "RoutingId", "text", "Route in the cloud.", _setting(801)),
    Observation(802, "ChargePointName", "text", "Name for people.", _setting(802)),
    Observation(803, "Notifications", "bitmap", "None are raised.", _is("0"), _CHANGE),
    Observation(
        804, "Warnings", "bitmap", "Bit 11 when disabled.", lambda c: "2048" if c.settings[711] == "0" else "0", _CHANGE
    ),
    Observation(805, "DiagnosticsMode", "number", "What is logged in more detail.", _setting(805)),
    Observation(
        807,
        "InternalDiagnosticsLog",
        "text",
        "Why it restarted by itself, once (text invented).",
        lambda c: c.diagnostics_log.text,
        Cadence.ON_NEWS,
    ),
    Observation(
        808, "DiagnosticsString", "text", "Why it started (text invented).", lambda c: f"start: {c.started_by}"
    ),
    Observation(809, "CommunicationSignalStrength", "dBm or %", "Of Wi-Fi in dBm, of LTE-M in percent.", _signal),
    Observation(811, "McuResetSource", "number", "1 power-on, 3 restart.", lambda c: c.reset_source),
    Observation(815, "EspResetSource", "number", "1 power-on, 3 restart.", lambda c: c.reset_source),
    Observation(
        822,
        "DataUsage",
        "JSON",
        "Bytes of the last whole day (a Go id; form invented).",
        _data_usage,
        Cadence.ON_NEWS,
    ),
    Observation(823, "CertificateVersion", "number", "Version of the trust bundle.", _bundle, _CHANGE),
    Observation(830, "SecurityLog", "JSON", "Result of a firmware update.", _apart, Cadence.APART),
    Observation(
        851,
        "CommunicationModeConfigurationInconsistency",
        "0/1",
        "The link in use is a fallback (the id is known, the meaning invented).",
        lambda c: _bit(c.link is not c.local.mode),
        _CHANGE,
    ),
    Observation(866, "OcppNativeConnected", "0/1", "Never.", _is("0")),
    Observation(
        908, "MainboardAppVersion", "version", "What the mainboard runs.", lambda c: c.updates.mainboard.version
    ),
    Observation(909, "MainboardBootloaderVersion", "version", "Constant (invented).", _is("1.2.0.0")),
    Observation(911, "ComputerAppVersion", "version", "The firmware that runs.", lambda c: c.firmware),
    Observation(916, "HardwareIdMcu", "number", "Constant (invented).", _is("1")),
    Observation(917, "HardwareIdPower", "number", "Constant (invented).", _is("1")),
    Observation(918, "HardwareIdComputer", "number", "Constant (invented).", _is("1")),
    Observation(
        930,
        "AppliedImageUpdates",
        "JSON",
        "Images that have proved themselves (form invented).",
        lambda c: c.updates.images.as_json(APPLIED),
        _CHANGE,
    ),
    Observation(
        931,
        "FailedImageUpdates",
        "JSON",
        "Images that were refused or given up (form invented).",
        lambda c: c.updates.images.as_json(FAILED),
        _CHANGE,
    ),
    Observation(952, "MacWiFi", "MAC", "Link address of the interface.", lambda c: c.env.host.link_address),
    Observation(981, "MidPublicKey", "base64", "None: this charger has no MID key.", _apart),
)

OBSERVATIONS: Mapping[int, Observation] = {row.id: row for row in _ROWS}
"""Observation id -> row."""

STARTUP = (100, 708, 519, 721, 712, 981, 911, 908, 916, 909, 811, 815, 804, 702, 710, 548, 917, 918, 808)
FULL = (201, 205, 270, *VOLTAGES, *CURRENTS, 513, 553, 809)
"""Full telemetry; which temperatures belong to it is invented."""
LOCAL = (150, 712, 547, 523, 151, 153)
POWER = (*VOLTAGES, *CURRENTS, 513, 553)
ECHO = (120, 749, 510, 511, 520, 522, 523, 711, 800, 801, 802, 805, 712)
"""Sent after the twin changed a setting, and with command 503."""
REQUEST = (721, 710)
"""Sent when the hub is back and a car still waits for its grant (zaptec.md section 10, "coming back")."""
CARD_SHOWN = ((722,), (714, 702, 710))
"""After a card was read, a message each (zaptec.md section 9)."""
GREETING = (STARTUP, FULL, LOCAL, POWER, (866, 823), (952,), (930, 931))
"""What the first connection after power-on sends, a message each. That 823 goes with 866 is invented, and that images
are listed there, if there are any: a power cut may have kept the change from being reported."""


def by_cadence(cadence: Cadence) -> tuple[int, ...]:
    """The ids of the rows with this cadence, in the order of the table."""
    return tuple(row.id for row in _ROWS if row.cadence is cadence)

"""The text of command 300: the installer's settings for the cloud to read and write (zaptec.md section 8.3).

Which newlines are escaped and which are raw, and how each value is spelled, is invented.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emulator.errors import UsageError
from emulator.local import Mode

if TYPE_CHECKING:
    from emulator.device.charger import Charger

LABELS: Mapping[Mode, str] = {Mode.ETHERNET: "Ethernet", Mode.WIFI: "Wifi", Mode.LTE: "LTE", Mode.PLC: "PLC"}
"""How observation 150 calls the links (zaptec.md section 3; Ethernet is from the capability list)."""

NETWORK_TYPES = {"1": "IT_1", "2": "IT_3", "3": "TN_1", "4": "TN_3"}
CONTROLLERS = {"0": "system", "1": "standalone"}
MASK = "********"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the text. `write` gives what a new value sets: a key of `Local`, or the id of a setting, and to what.

    Without it the line can only be read.
    """

    section: str
    key: str
    read: Callable[["Charger"], str]
    write: Callable[[str], tuple[str | int, str]] | None = None


def _as_it_is(target: str | int) -> Callable[[str], tuple[str | int, str]]:
    return lambda text: (target, text)


def _setting(id_: int) -> Callable[["Charger"], str]:
    return lambda charger: charger.settings[id_]


def _named(id_: int, names: Mapping[str, str]) -> Callable[["Charger"], str]:
    return lambda charger: names.get(charger.settings[id_], "")


def _numbered(id_: int, names: Mapping[str, str]) -> Callable[[str], tuple[str | int, str]]:
    numbers = {name: number for number, name in names.items()}
    return lambda text: (id_, numbers.get(text, text))


def _mode(label: str) -> tuple[str | int, str]:
    modes = {known.lower(): mode.value for mode, known in LABELS.items()}
    return "mode", modes.get(label.lower(), label)


_DEVICE, _WIFI = "Device_Parameters", "Wifi_Parameters"
_ROWS = (
    Line(_DEVICE, "serial", lambda charger: charger.spec.serial),
    Line(_DEVICE, "mid", lambda charger: charger.spec.serial),
    Line(_DEVICE, "communication_mode", lambda charger: LABELS[charger.local.mode], _mode),
    Line(_DEVICE, "standalone_setting", _named(712, CONTROLLERS), _numbered(712, CONTROLLERS)),
    Line(_DEVICE, "max_standalone_current", lambda charger: charger.value(547) or ""),
    Line(_DEVICE, "network_type", _named(715, NETWORK_TYPES), _numbered(715, NETWORK_TYPES)),
    Line(_DEVICE, "standalone_phase", _setting(522), _as_it_is(522)),
    Line(_DEVICE, "hmi_brightness", _setting(153), _as_it_is(153)),
    Line(_WIFI, "name", lambda charger: charger.local.ssid, _as_it_is("ssid")),
    Line(_WIFI, "password", lambda charger: MASK, _as_it_is("password")),
    Line("BLE_Parameters", "connect-pin", lambda charger: MASK),
    Line("Cable", "permanent_lock", _setting(151), _as_it_is(151)),
)

LINES: Mapping[tuple[str, str], Line] = {(row.section, row.key): row for row in _ROWS}
"""(section, key) -> line, in the order of the text."""


def local_text(charger: "Charger") -> bytes:
    """Everything, as one quoted text. Escaped newlines between sections, raw ones within: it is no valid JSON."""
    sections: dict[str, list[str]] = {}
    for line in _ROWS:
        value = json.dumps(line.read(charger), ensure_ascii=False)[1:-1]
        sections.setdefault(line.section, []).append(f"{line.key}={value}")
    told = ("\n".join((f"[{section}]", *lines)) for section, lines in sections.items())
    text = "\\n".join(told)
    return f'"{text}"'.encode()


def write_line(charger: "Charger", section: str, key: str, value: str, *, after_s: float) -> bool:
    """Set one value; a link that it is about is dialled anew in `after_s` seconds. False: no such line, or refused."""
    line = LINES.get((section, key))
    if line is None or line.write is None:
        return False
    target, text = line.write(value)
    if isinstance(target, int):
        charger.configure({str(target): text})
        return charger.settings[target] == text
    try:
        charger.configure_local({target: text}, where=f"{section}.{key}", after_s=after_s)
    except UsageError:
        return False
    return True

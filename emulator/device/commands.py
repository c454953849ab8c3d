"""Direct methods that the charger obeys: one row per command id (zaptec.md section 8.2)."""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emulator.machines.charge_events import (
    FinalStop,
    IllegalValue,
    Resumed,
    SessionIdSet,
    SessionReset,
    StartGranted,
    StopRequested,
)

if TYPE_CHECKING:
    from emulator.device.charger import Charger

OK = 200
REFUSED = 400
UNKNOWN = 0
"""Status of a command that the charger does not have: the hub passes it on as it is."""
TOO_SHORT = -1
NOT_AN_ARRAY = -2

SESSION_PAYLOAD_MIN_BYTES = 40
"""``["`` + 36 characters of a GUID + ``"]``."""
CURRENT_MAX_A = 32.0

Arguments = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One row. `check` gives the arguments in the payload, or the status that refuses it; `run` gives the status."""

    id: int
    name: str
    doc: str
    check: Callable[[bytes], Arguments | int]
    run: Callable[["Charger", Arguments], int]


def _whatever(payload: bytes) -> Arguments | int:
    return ()


def _null(payload: bytes) -> Arguments | int:
    return () if payload.strip() in (b"", b"null") else REFUSED


def _json(payload: bytes) -> object:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return None


def _amps_and_phases(payload: bytes) -> Arguments | int:
    array = _json(payload)
    if not isinstance(array, list) or len(array) != 2 or not all(isinstance(item, str) for item in array):
        return REFUSED
    return tuple(array)


def _session_id(payload: bytes) -> Arguments | int:
    text = payload.strip()
    if text in (b'""', b'[""]'):
        return ("",)
    array = _json(text)
    if array == [None]:
        return REFUSED
    if len(text) < SESSION_PAYLOAD_MIN_BYTES:
        return TOO_SHORT
    if not text.startswith(b"["):
        return NOT_AN_ARRAY
    if not isinstance(array, list) or len(array) != 1 or not isinstance(array[0], str):
        return REFUSED
    return (array[0],)


def _granted(done: bool) -> int:
    return OK if done else REFUSED


def _ping_reply(charger: "Charger", arguments: Arguments) -> int:
    return OK  # this firmware sends no ping request that could wait for it


def _restart(charger: "Charger", arguments: Arguments) -> int:
    return _granted(charger.reboot("command 102", after_s=charger.spec.profile.firmware.restart_delay_s))


def _upgrade(charger: "Charger", arguments: Arguments) -> int:
    charger.update_when_free()
    return OK


def _upgrade_now(charger: "Charger", arguments: Arguments) -> int:
    return _granted(charger.update_now())


def _start(charger: "Charger", arguments: Arguments) -> int:
    try:
        grant = StartGranted(float(arguments[0]), int(arguments[1]))
    except (ValueError, IllegalValue):
        return REFUSED
    allowed = grant.amps <= CURRENT_MAX_A and charger.settings.activated
    return _granted(allowed and charger.charge.feed(grant))


def _stop(charger: "Charger", arguments: Arguments) -> int:
    return _granted(charger.charge.feed(StopRequested()))


def _report(charger: "Charger", arguments: Arguments) -> int:
    charger.report_all()
    return OK


def _set_session(charger: "Charger", arguments: Arguments) -> int:
    (session_id,) = arguments
    if session_id == "":
        return _granted(charger.charge.feed(SessionReset()) and charger.charge.restart_session())
    try:
        uuid.UUID(session_id)
    except ValueError:
        return REFUSED
    return _granted(charger.charge.feed(SessionIdSet()) and charger.charge.rename_session(session_id))


def _stop_final(charger: "Charger", arguments: Arguments) -> int:
    return _granted(charger.charge.feed(FinalStop()))


def _resume(charger: "Charger", arguments: Arguments) -> int:
    return _granted(charger.charge.feed(Resumed()))


_ROWS = (
    Command(1, "InChargePingReply", "Acknowledged; ends the wait for a ping reply.", _whatever, _ping_reply),
    Command(102, "RestartCharger", "Reboot, late enough for the reply to get out.", _whatever, _restart),
    Command(200, "UpgradeFirmware", "Update now, or when the car has left.", _whatever, _upgrade),
    Command(201, "UpgradeFirmwareForced", "Update now.", _whatever, _upgrade_now),
    Command(501, "StartCharging", '["amps","phase id"]: allow this current.', _amps_and_phases, _start),
    Command(502, "StopCharging", "null: pause.", _null, _stop),
    Command(503, "ReportChargingState", "Send startup set and settings again.", _whatever, _report),
    Command(504, "SetSessionId", '["guid"] names the charge session, [""] clears it.', _session_id, _set_session),
    Command(506, "StopChargingFinal", "Stop until 507 or until the car leaves.", _whatever, _stop_final),
    Command(507, "ResumeCharging", "Take a stop back; the car asks again.", _whatever, _resume),
)

COMMANDS: Mapping[int, Command] = {row.id: row for row in _ROWS}
"""Command id -> row."""


def obey(charger: "Charger", name: str, payload: bytes) -> int:
    """Run the command of this method name; returns the status for the reply."""
    row = COMMANDS.get(int(name)) if name.isascii() and name.isdigit() and len(name) < 6 else None
    status = UNKNOWN if row is None else _run(row, charger, payload)
    charger.env.trace.emit("device.command", id=row.id if row is not None else name[:16], status=status)
    return status


def _run(row: Command, charger: "Charger", payload: bytes) -> int:
    arguments = row.check(payload)
    return arguments if isinstance(arguments, int) else row.run(charger, arguments)

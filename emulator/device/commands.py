"""Direct methods that the charger obeys: one row per command id (zaptec.md section 8.2)."""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emulator.device.local_text import local_text, write_line
from emulator.local import Mode
from emulator.machines.charge_events import (
    FinalStop,
    IllegalValue,
    Resumed,
    SessionIdSet,
    SessionReset,
    StartGranted,
    StopRequested,
)
from emulator.slots import Return

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
USER_PAYLOAD_BYTES = range(5, 37)
"""``["`` + a tag of 1 to 32 characters + ``"]``."""
CURRENT_MAX_A = 32.0

_UPDATE_CERTIFICATE = re.compile(r"Update certificate(?: (?P<version>\d{1,9}))?", re.ASCII)
SET_LINK: Mapping[str, Mode] = {"Set LTE": Mode.LTE, "Set Wifi": Mode.WIFI}
RECONNECT = "Reconnect"

Arguments = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is replied. A `text` goes first, in a reply of its own: the hub gets two (zaptec.md section 8.2)."""

    status: int
    text: bytes | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """One row. `check` gives the arguments in the payload, or the status that refuses it.

    `run` gives the status, or a text that is replied with `OK`.
    """

    id: int
    name: str
    doc: str
    check: Callable[[bytes], Arguments | int]
    run: Callable[["Charger", Arguments], int | bytes]


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


def _debug(payload: bytes) -> Arguments | int:
    """One of the texts, in an array. That a version may follow "Update certificate", to override, is invented."""
    array = _json(payload)
    text = array[0] if isinstance(array, list) and len(array) == 1 else array
    known = isinstance(text, str) and (text == RECONNECT or text in SET_LINK or _UPDATE_CERTIFICATE.fullmatch(text))
    return (text,) if isinstance(text, str) and known else REFUSED


def _previous_or_factory(payload: bytes) -> Arguments | int:
    """Nothing means the previous image; the text "factory", in an array or not, the one of production."""
    if payload.strip() in (b"", b"null", b"[]"):
        return (Return.PREVIOUS.value,)
    array = _json(payload)
    text = array[0] if isinstance(array, list) and len(array) == 1 else array
    return (Return.FACTORY.value,) if text == Return.FACTORY.value else REFUSED


def _nothing_or_line(payload: bytes) -> Arguments | int:
    """Nothing to read all, or section, key and value to write one."""
    if payload.strip() in (b"", b"null", b"[]"):
        return ()
    array = _json(payload)
    if not isinstance(array, list) or len(array) != 3 or not all(isinstance(item, str) for item in array):
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


def _user(payload: bytes) -> Arguments | int:
    """A tag, or nobody. That a payload that is neither gets status 0, of the three that are known, is invented."""
    text = payload.strip()
    if text == b'[""]':
        return ("",)
    array = _json(text) if len(text) in USER_PAYLOAD_BYTES else None
    if not isinstance(array, list) or len(array) != 1 or not isinstance(array[0], str) or not array[0]:
        return UNKNOWN
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


def _go_back(charger: "Charger", arguments: Arguments) -> int:
    (to,) = arguments
    return _granted(charger.go_back(Return(to)))


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


def _set_user(charger: "Charger", arguments: Arguments) -> int:
    (tag,) = arguments
    cards = charger.charge.cards
    if cards.standalone:
        return REFUSED
    if tag == "":
        return _granted(charger.charge.feed(SessionReset()) and charger.charge.restart_session())
    known = cards.set_user(tag)
    if known:
        charger.report_user()
    return _granted(known)


def _show_granted(charger: "Charger", arguments: Arguments) -> int:
    return _granted(charger.charge.cards.granted() or charger.charge.cards.standalone)


def _show_denied(charger: "Charger", arguments: Arguments) -> int:
    return _granted(charger.charge.cards.denied() and not charger.charge.cards.standalone)


def _stop_final(charger: "Charger", arguments: Arguments) -> int:
    return _granted(charger.charge.feed(FinalStop()))


def _resume(charger: "Charger", arguments: Arguments) -> int:
    return _granted(charger.charge.feed(Resumed()))


def _local_settings(charger: "Charger", arguments: Arguments) -> int | bytes:
    if not arguments:
        return local_text(charger)
    section, key, value = arguments
    after_s = charger.spec.profile.firmware.restart_delay_s
    return _granted(write_line(charger, section, key, value, after_s=after_s))


def _obey_text(charger: "Charger", arguments: Arguments) -> int:
    (text,) = arguments
    after_s = charger.spec.profile.firmware.restart_delay_s
    if text == RECONNECT:
        charger.redial(after_s=after_s)
        return OK
    if text in SET_LINK:
        charger.configure_local({"mode": SET_LINK[text]}, where=text, after_s=after_s)
        return OK
    found = _UPDATE_CERTIFICATE.fullmatch(text)
    version = found and found["version"]
    return _granted(charger.update_bundle(int(version) if version else None))


_ROWS = (
    Command(1, "InChargePingReply", "Acknowledged; ends the wait for a ping reply.", _whatever, _ping_reply),
    Command(102, "RestartCharger", "Reboot, late enough for the reply to get out.", _whatever, _restart),
    Command(200, "UpgradeFirmware", "Update now, or when the car has left.", _whatever, _upgrade),
    Command(201, "UpgradeFirmwareForced", "Update now.", _whatever, _upgrade_now),
    Command(
        202,
        "RollbackFirmware",
        'null: boot the previous image; "factory": that of production. It has to prove itself like a new one.',
        _previous_or_factory,
        _go_back,
    ),
    Command(
        300,
        "LocalSettings",
        'null: all of the installer\'s settings as text; ["section","key","value"] writes one.',
        _nothing_or_line,
        _local_settings,
    ),
    Command(501, "StartCharging", '["amps","phase id"]: allow this current.', _amps_and_phases, _start),
    Command(502, "StopCharging", "null: pause.", _null, _stop),
    Command(503, "ReportChargingState", "Send startup set and settings again.", _whatever, _report),
    Command(504, "SetSessionId", '["guid"] names the charge session, [""] clears it.', _session_id, _set_session),
    Command(
        505, "SetUserUuid", '["tag"] authorises the charge session, [""] clears it with its user.', _user, _set_user
    ),
    Command(506, "StopChargingFinal", "Stop until 507 or until the car leaves.", _whatever, _stop_final),
    Command(507, "ResumeCharging", "Take a stop back; the car asks again.", _whatever, _resume),
    Command(601, "ShowGranted", "The tag that was shown may charge.", _whatever, _show_granted),
    Command(602, "ShowDenied", "The tag that was shown may not.", _whatever, _show_denied),
    Command(
        800,
        "Debug",
        "Of its texts: Update certificate, Set LTE, Set Wifi, Reconnect.",
        _debug,
        _obey_text,
    ),
)

COMMANDS: Mapping[int, Command] = {row.id: row for row in _ROWS}
"""Command id -> row."""


def obey(charger: "Charger", name: str, payload: bytes) -> Answer:
    """Run the command of this method name; returns what to reply."""
    row = COMMANDS.get(int(name)) if name.isascii() and name.isdigit() and len(name) < 6 else None
    answer = Answer(UNKNOWN) if row is None else _run(row, charger, payload)
    charger.env.trace.emit("device.command", id=row.id if row is not None else name[:16], status=answer.status)
    return answer


def _run(row: Command, charger: "Charger", payload: bytes) -> Answer:
    arguments = row.check(payload)
    result = arguments if isinstance(arguments, int) else row.run(charger, arguments)
    return Answer(OK, result) if isinstance(result, bytes) else Answer(result)

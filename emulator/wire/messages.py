"""Device-to-cloud messages as JSON: observations, pulse, events, collections (zaptec.md section 7).

Key order is that of the firmware, values are always text, numbers in them are plain decimals with three places for
fractions, and times are UTC with microseconds: ``2025-03-01T00:00:00.000000Z``.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import Any

from emulator.errors import WireError

SAME_TIME = 64
"""The observations of one message bear one time: remembering the last few spares most of the conversions."""


class MessageError(WireError):
    """Not a device-to-cloud message, or a value that none can carry."""


class MessageType(IntEnum):
    """Field `Type` of every message."""

    OBSERVATION = 1
    PULSE = 2
    EVENT = 5
    COLLECTION = 6


class EventType(IntEnum):
    """Field `EventType` of an event."""

    ERROR = 10
    WARNING = 20
    INFORMATION = 30


@dataclass(frozen=True, slots=True)
class Observation:
    """One value of one observation id, as text, at a time in UTC."""

    id: int
    value: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Pulse:
    """The heartbeat; it has no content."""


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """A line of the device's log, for people."""

    kind: EventType
    message: str


@dataclass(frozen=True, slots=True)
class Collection:
    """Observations that belong together."""

    observations: tuple[Observation, ...]


Message = Observation | Pulse | DeviceEvent | Collection


@dataclass(frozen=True, slots=True)
class CompletedSession:
    """A finished charge session: the value of observation 723 (zaptec.md section 11)."""

    session_id: str
    energy_kwh: float
    started_at: datetime
    ended_at: datetime
    reliable_clock: bool
    stopped_by_rfid: bool
    authentication_code: str
    signed_session: str
    """OCMF text."""


_PULSE = b'{"Type":2}'
_OBSERVATION = int(MessageType.OBSERVATION)

_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def number(value: float) -> str:
    """A number as the value of an observation: integers plain, others with three decimals. MessageError: not finite."""
    if isinstance(value, int):
        return str(int(value))
    if not math.isfinite(value):
        raise MessageError(f"{value} is no value of an observation")
    return f"{value:.3f}"


def observation(item: Observation) -> bytes:
    """The payload of one observation (Type 1). MessageError: text that is no UTF-8, or a time that is not UTC."""
    return _dump(_observation_json(item))


def pulse() -> bytes:
    """The payload of the heartbeat (Type 2)."""
    return _PULSE


def event(kind: int, message: str) -> bytes:
    """The payload of a log line (Type 5). MessageError: `kind` is not an `EventType`, or text that is no UTF-8."""
    return _dump({"EventType": _event_type(kind), "Message": message, "Type": int(MessageType.EVENT)})


def collection(items: Iterable[Observation]) -> bytes:
    """The payload of several observations (Type 6). MessageError as of `observation`."""
    return _dump({"Observations": [_observation_json(item) for item in items], "Type": int(MessageType.COLLECTION)})


def encode(message: Message) -> bytes:
    """The payload of any message."""
    match message:
        case Observation():
            return observation(message)
        case Pulse():
            return pulse()
        case DeviceEvent():
            return event(message.kind, message.message)
        case Collection():
            return collection(message.observations)


def type_of(payload: bytes) -> MessageType:
    """The type of a payload that this module made, without parsing: `Type` comes last. MessageError: it does not."""
    digits = payload.rpartition(b'"Type":')[2]
    try:
        return MessageType(int(digits.removesuffix(b"}")))
    except ValueError:
        raise MessageError("no Type at the end") from None


def parse(payload: bytes) -> Message:
    """The message in a payload. MessageError, and nothing else, when there is none."""
    record = _load(payload)
    match _integer(record, "Type"):
        case MessageType.OBSERVATION:
            return _parse_observation(record)
        case MessageType.PULSE:
            return Pulse()
        case MessageType.EVENT:
            return DeviceEvent(_event_type(_integer(record, "EventType")), _text(record, "Message"))
        case MessageType.COLLECTION:
            items = record.get("Observations")
            if not isinstance(items, list):
                raise MessageError("Observations is not a list")
            return Collection(tuple(_parse_observation(_object(item)) for item in items))
        case other:
            raise MessageError(f"Type {other} is not known")


def completed_session(session: CompletedSession) -> str:
    """The value of observation 723."""
    record = {
        "SessionId": session.session_id,
        "Energy": round(session.energy_kwh, 3),
        "StartDateTime": _stamp(session.started_at),
        "EndDateTime": _stamp(session.ended_at),
        "ReliableClock": session.reliable_clock,
        "StoppedByRFID": session.stopped_by_rfid,
        "AuthenticationCode": session.authentication_code,
        "SignedSession": session.signed_session,
    }
    return _dump(record).decode()


def parse_completed_session(value: str) -> CompletedSession:
    """The charge session in a value of observation 723. Keys that are not known are ignored. MessageError."""
    record = _load(value)
    return CompletedSession(
        session_id=_text(record, "SessionId"),
        energy_kwh=_float(record, "Energy"),
        started_at=_time(record, "StartDateTime"),
        ended_at=_time(record, "EndDateTime"),
        reliable_clock=_flag(record, "ReliableClock"),
        stopped_by_rfid=_flag(record, "StoppedByRFID"),
        authentication_code=_text(record, "AuthenticationCode"),
        signed_session=_text(record, "SignedSession"),
    )


def _observation_json(item: Observation) -> dict[str, Any]:
    return {
        "ObservedAt": _stamp(item.at),
        "Value": item.value,
        "ObservationId": item.id,
        "Type": _OBSERVATION,
    }


def _parse_observation(record: Mapping[str, Any]) -> Observation:
    if _integer(record, "Type") != _OBSERVATION:
        raise MessageError("a collection holds something that is not an observation")
    return Observation(_integer(record, "ObservationId"), _text(record, "Value"), _time(record, "ObservedAt"))


def _dump(record: dict[str, Any]) -> bytes:
    try:
        return _to_json(record).encode()
    except UnicodeEncodeError:
        raise MessageError("text that is no UTF-8") from None


def _load(payload: bytes | str) -> dict[str, Any]:
    try:
        return _object(json.loads(payload))
    except (ValueError, RecursionError):
        raise MessageError("not JSON") from None


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MessageError("not a JSON object")
    return value


def _integer(record: Mapping[str, Any], key: str) -> int:
    value = record.get(key)
    if type(value) is not int:  # bool is none, and JSON has no other kinds of int; a cloud reads a million of these
        raise MessageError(f"{key} is not an integer")
    return value


def _float(record: Mapping[str, Any], key: str) -> float:
    value = record.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise MessageError(f"{key} is not a number")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise MessageError(f"{key} is not a finite number")
    return result


def _flag(record: Mapping[str, Any], key: str) -> bool:
    value = record.get(key)
    if not isinstance(value, bool):
        raise MessageError(f"{key} is not true or false")
    return value


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise MessageError(f"{key} is not text")
    try:
        if not value.isascii():
            value.encode()
    except UnicodeEncodeError:
        raise MessageError(f"{key} is no UTF-8") from None
    return value


def _time(record: Mapping[str, Any], key: str) -> datetime:
    try:
        return _utc(_text(record, key))
    except ValueError:
        raise MessageError(f"{key} is not a time in UTC") from None


@lru_cache(maxsize=SAME_TIME)
def _utc(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if not text.endswith("Z") or at.utcoffset() != timedelta(0):
        raise ValueError(text)
    return at.replace(tzinfo=UTC)


def _event_type(kind: int) -> EventType:
    try:
        return EventType(kind)
    except ValueError:
        raise MessageError(f"EventType {kind} is not known") from None


def _stamp(at: datetime) -> str:
    if at.tzinfo is not UTC and at.utcoffset() != timedelta(0):
        raise MessageError("a time that is not in UTC")
    return _stamp_utc(at)


@lru_cache(maxsize=SAME_TIME)
def _stamp_utc(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

"""Reads one JSON object strictly: a field has the type that it should have, or a `FieldError` names it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from emulator.errors import WireError

Fields = Mapping[str, Any]


class FieldError(WireError):
    """Not JSON, not an object, or a field that is missing or of another type. Values are never quoted."""


def json_object(data: bytes) -> Fields:
    """The object in these bytes."""
    try:
        fields = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise FieldError("is not JSON") from None
    return an_object(fields)


def an_object(value: Any) -> Fields:
    """The same, if it is an object."""
    if not isinstance(value, dict):
        raise FieldError("is not a JSON object")
    return value


def canonical(fields: Fields) -> bytes:
    """The one way to write an object: sorted keys, no spaces, ASCII."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def text(fields: Fields, key: str) -> str:
    """A text."""
    value = _field(fields, key)
    if not isinstance(value, str):
        raise FieldError(f"{key} is not a text")
    return value


def count(fields: Fields, key: str) -> int:
    """A whole number of any size; true and false are none."""
    value = _field(fields, key)
    if type(value) is not int:
        raise FieldError(f"{key} is not a whole number")
    return value


def texts(fields: Fields, key: str) -> tuple[str, ...]:
    """A list of texts."""
    values = a_list(fields, key)
    if not all(isinstance(value, str) for value in values):
        raise FieldError(f"{key} is not a list of texts")
    return tuple(values)


def a_list(fields: Fields, key: str) -> Sequence[Any]:
    """A list of anything."""
    value = _field(fields, key)
    if not isinstance(value, list):
        raise FieldError(f"{key} is not a list")
    return value


def from_hex(value: str, key: str) -> bytes:
    """The bytes that a text stands for."""
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise FieldError(f"{key} is not hexadecimal") from None


def _field(fields: Fields, key: str) -> Any:
    if key not in fields:
        raise FieldError(f"{key} is missing")
    return fields[key]

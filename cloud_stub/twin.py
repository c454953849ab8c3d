"""How a device twin changes, pure (iothub-mqtt.md section 1.13): merge patches, versions, limits."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cloud_stub.store import Twin
from emulator.errors import WireError

BYTES_MAX = 32_768
DEPTH_MAX = 10
KEY_BYTES_MAX = 1_024
TEXT_BYTES_MAX = 4_096
INTEGER_MAX = 4_503_599_627_370_495


class TwinError(WireError):
    """A patch that breaks a rule of section 1.13."""


def twin_body(twin: Twin) -> bytes:
    """The reply to a twin GET: both sections with their versions, no metadata and no tags."""
    desired = {**twin.desired, "$version": twin.desired_version}
    reported = {**twin.reported, "$version": twin.reported_version}
    return _json({"desired": desired, "reported": reported})


def report(twin: Twin, payload: bytes) -> Twin:
    """The twin after a reported PATCH. TwinError."""
    reported = _merged(twin.reported, _patch(payload))
    return replace(twin, reported=reported, reported_version=twin.reported_version + 1)


def desire(twin: Twin, payload: bytes) -> tuple[Twin, bytes]:
    """The twin after a change of its desired properties, and the body to push to the device. TwinError."""
    patch = _patch(payload)
    version = twin.desired_version + 1
    changed = replace(twin, desired=_merged(twin.desired, patch), desired_version=version)
    return changed, _json({**patch, "$version": version})


def _patch(payload: bytes) -> dict[str, Any]:
    try:
        patch = json.loads(payload)
    except (ValueError, RecursionError):
        raise TwinError("patch is not JSON") from None
    if not isinstance(patch, dict):
        raise TwinError("patch is not a JSON object")
    _check(patch, depth=1)
    return patch


def _merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = _merge(target, patch)
    if len(_json(merged)) > BYTES_MAX:  # the hub counts texts and numbers only; the JSON text is a little stricter
        raise TwinError(f"section would be over {BYTES_MAX} bytes")
    return merged


def _merge(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396: null deletes, objects merge, everything else replaces."""
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            old = merged.get(key)
            merged[key] = _merge(old if isinstance(old, dict) else {}, value)
        else:
            merged[key] = value
    return merged


def _check(value: object, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise TwinError(f"nested deeper than {DEPTH_MAX}")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_key(key)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, str) and len(value.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX:
        raise TwinError(f"a text is over {TEXT_BYTES_MAX} bytes")
    elif isinstance(value, float) and not math.isfinite(value):
        raise TwinError("a number is not finite")
    elif isinstance(value, int) and not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
        raise TwinError("an integer is out of range")


def _check_key(key: str) -> None:
    if not key or len(key.encode("utf-8", "surrogatepass")) > KEY_BYTES_MAX:
        raise TwinError(f"a key is empty or over {KEY_BYTES_MAX} bytes")
    if any(character in ".$ " or not character.isprintable() for character in key):
        raise TwinError("a key has a point, dollar sign, space or control character")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

"""How a device twin changes, pure (iothub-mqtt.md sections 1.13 and 2.4): merge patches, versions, metadata, limits."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.etags import twin_etag

SECTION_BYTES_MAX = 32_768
TAGS_BYTES_MAX = 8_192
DEPTH_MAX = 10
"""Objects and arrays inside one another, the section itself not counted."""
KEY_BYTES_MAX = 1_024
TEXT_BYTES_MAX = 4_096
INTEGER_MAX = 4_503_599_627_370_495

_BAD_KEY = re.compile("[.$ \x00-\x1f\x7f-\x9f]")  # control characters: the segments C0 and C1 of Unicode
_OWN_KEYS = frozenset({"$metadata", "$version"})

Json = Mapping[str, Any]


class TwinError(HubError):
    """A patch that breaks a rule of section 1.13."""

    def __init__(self, text: str) -> None:
        super().__init__(ErrorCode.BAD_ARGUMENT, text)


@dataclass(frozen=True, slots=True)
class Section:
    """Desired or reported properties. `metadata` has the nesting of `data`, with ``$lastUpdated`` at each level."""

    data: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    version: int = 1


@dataclass(frozen=True, slots=True)
class Twin:
    """A device twin. `version` counts every change, `etag_number` those of tags and desired properties."""

    desired: Section = Section()
    reported: Section = Section()
    tags: Json = field(default_factory=dict)
    version: int = 2
    etag_number: int = 1
    model_id: str = ""

    @property
    def etag(self) -> str:
        """The entity tag without quotes."""
        return twin_etag(self.etag_number)


def new_twin(desired: Json, at: str) -> Twin:
    """The twin of a device that was made at `at`, a time as `hub_time` writes it."""
    stamp = {"$lastUpdated": at, **({"$lastUpdatedVersion": 1} if desired else {})}
    _, metadata = _merged({}, {}, desired, stamp)
    return Twin(Section(desired, metadata), Section({}, {"$lastUpdated": at}))


def device_view(twin: Twin) -> bytes:
    """The reply to a twin GET: both sections with their versions, no metadata and no tags."""
    desired = {**twin.desired.data, "$version": twin.desired.version}
    reported = {**twin.reported.data, "$version": twin.reported.version}
    return _json({"desired": desired, "reported": reported})


def service_view(section: Section) -> dict[str, Any]:
    """A section as service clients see it, with ``$metadata`` and ``$version``."""
    return {**section.data, "$metadata": section.metadata, "$version": section.version}


def parse_patch(payload: bytes) -> dict[str, Any]:
    """The JSON object in a PATCH. TwinError."""
    try:
        patch = json.loads(payload)
    except (ValueError, RecursionError):
        raise TwinError("patch is not JSON") from None
    if not isinstance(patch, dict):
        raise TwinError("patch is not a JSON object")
    return patch


def report(twin: Twin, patch: Json, at: str) -> Twin:
    """The twin after a reported PATCH. TwinError. A patch that changes nothing counts too (assumed)."""
    version = twin.reported.version + 1
    section = _changed(twin.reported, patch, {"$lastUpdated": at}, version, replacing=False)
    return replace(twin, reported=section, version=twin.version + 1)


@dataclass(frozen=True, slots=True)
class TwinChange:
    """What a service changes: None leaves a part as it is. `replacing` sets whole parts instead of merging (PUT)."""

    desired: Json | None = None
    tags: Json | None = None
    replacing: bool = False


def change(twin: Twin, wanted: TwinChange, at: str) -> tuple[Twin, bytes | None]:
    """The twin after a change by a service, and the body to push to the device if desired properties are part of it.

    The body is the patch with the new ``$version``. For a replacement it is the new section with null for each
    top-level key that is gone (assumed). ``$metadata`` and ``$version`` in desired properties, which clients send back
    as they got them, are ignored (assumed). TwinError.
    """
    changed, pushed = twin, None
    if wanted.tags is not None:
        changed = replace(changed, tags=_tagged(twin.tags, wanted.tags, wanted.replacing))
    if wanted.desired is not None:
        patch = {key: value for key, value in wanted.desired.items() if key not in _OWN_KEYS}
        version = twin.desired.version + 1
        stamp = {"$lastUpdated": at, "$lastUpdatedVersion": version}
        section = _changed(twin.desired, patch, stamp, version, wanted.replacing)
        changed = replace(changed, desired=section)
        gone = dict.fromkeys(twin.desired.data.keys() - section.data.keys()) if wanted.replacing else {}
        pushed = _json({**gone, **patch, "$version": version})
    return replace(changed, version=twin.version + 1, etag_number=twin.etag_number + 1), pushed


def size_of(value: object) -> int:
    """What a value counts towards the size of its section: bytes of keys and texts, 8 a number, 4 a boolean."""
    match value:
        case str():
            return _bytes_of(value)
        case bool():
            return 4
        case int() | float():
            return 8
        case Mapping():
            return sum(_bytes_of(key) + size_of(item) for key, item in value.items())
        case list():
            return sum(map(size_of, value))
        case _:
            return 0


def _changed(section: Section, patch: Json, stamp: Json, version: int, replacing: bool) -> Section:
    _check(patch, depth=0)
    before = Section() if replacing else section
    data, metadata = _merged(before.data, before.metadata, patch, stamp)
    _check_size(data, SECTION_BYTES_MAX)
    return Section(data, metadata, version)


def _tagged(tags: Json, patch: Json, replacing: bool) -> Json:
    _check(patch, depth=0)
    merged, _ = _merged({} if replacing else tags, {}, patch, {})
    _check_size(merged, TAGS_BYTES_MAX)
    return merged


def _merged(data: Json, metadata: Json, patch: Json, stamp: Json) -> tuple[dict[str, Any], dict[str, Any]]:
    """RFC 7396: null deletes, objects merge, everything else replaces. Metadata of all that was touched is stamped."""
    merged, marks = dict(data), {**metadata, **stamp}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
            marks.pop(key, None)
        elif isinstance(value, Mapping):
            old = merged.get(key)
            inner, inner_marks = (old, marks.get(key, {})) if isinstance(old, Mapping) else ({}, {})
            merged[key], marks[key] = _merged(inner, inner_marks, value, stamp)
        else:
            merged[key], marks[key] = value, dict(stamp)
    return merged, marks


def _check_size(data: Json, bytes_max: int) -> None:
    if size_of(data) > bytes_max:
        raise TwinError(f"section would be over {bytes_max} bytes")


def _check(value: object, depth: int) -> None:
    """Whether a value may be in a twin; `depth` is how many objects and arrays are around it, less the section."""
    match value:
        case Mapping():
            _check_depth(depth)
            for key, item in value.items():
                _check_key(key)
                _check(item, depth + 1)
        case list():
            _check_depth(depth)
            for item in value:
                _check(item, depth + 1)
        case str() if _bytes_of(value) > TEXT_BYTES_MAX:
            raise TwinError(f"a text is over {TEXT_BYTES_MAX} bytes")
        case float() if not math.isfinite(value):
            raise TwinError("a number is not finite")
        case int() if not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
            raise TwinError("an integer is out of range")


def _check_depth(depth: int) -> None:
    if depth > DEPTH_MAX:
        raise TwinError(f"nested deeper than {DEPTH_MAX}")


def _check_key(key: str) -> None:
    if not key or _bytes_of(key) > KEY_BYTES_MAX:
        raise TwinError(f"a key is empty or over {KEY_BYTES_MAX} bytes")
    if _BAD_KEY.search(key):
        raise TwinError("a key has a point, dollar sign, space or control character")


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

"""The manifest on the wire: it comes back as it went, and whatever else is malformed and nothing worse."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.json_fields import canonical
from emulator.wire.manifest import (
    BLOCKS_MAX,
    HARDWARE_MAX,
    MANIFEST_MAX_BYTES,
    SERIAL_PREFIXES_MAX,
    Component,
    ComponentImage,
    Manifest,
    decode_manifest,
    encode_manifest,
    parse_version,
)
from emulator.wire.update_reason import FirmwareError, UpdateReason
from tests.firmware_images import KEY_ID, MANIFEST, PACKAGE, reason_of

digests = st.binary(min_size=32, max_size=32)
versions = st.lists(st.integers(0, 999_999), min_size=1, max_size=8).map(lambda parts: ".".join(map(str, parts)))
times = st.datetimes(timezones=st.just(UTC)).map(lambda time: time.replace(microsecond=0))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    block_bytes, counts = draw(st.integers(1, 2**20)), draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    chosen = sorted(draw(st.sets(st.sampled_from(list(Component)), min_size=len(counts), max_size=len(counts))))
    tail, offset, parts = draw(st.integers(1, block_bytes)), 0, list[ComponentImage]()
    for component, count in zip(sorted(chosen, key=list(Component).index), counts, strict=True):
        last = len(parts) + 1 == len(counts)
        size_bytes = (count - 1) * block_bytes + (tail if last else block_bytes)
        parts.append(ComponentImage(component, draw(versions), offset, size_bytes, draw(digests)))
        offset += size_bytes
    names, prefixes = (
        st.from_regex(r"[a-z0-9][a-z.-]{0,20}", fullmatch=True),
        st.from_regex(r"[A-Z]{1,8}", fullmatch=True),
    )
    return Manifest(
        version=draw(versions),
        security_counter=draw(st.integers(0, 2**32 - 1)),
        min_version=draw(versions),
        hardware=tuple(draw(st.lists(names, min_size=1, max_size=3, unique=True))),
        serial_prefixes=tuple(draw(st.lists(prefixes, max_size=3, unique=True))),
        not_after=draw(times),
        key_id=draw(st.binary(min_size=8, max_size=8)).hex(),
        size_bytes=offset,
        block_bytes=block_bytes,
        sha256=draw(digests),
        blocks=tuple(draw(st.lists(digests, min_size=sum(counts), max_size=sum(counts)))),
        components=tuple(parts),
    )


@given(manifests())
def test_a_manifest_comes_back_as_it_went(manifest: Manifest) -> None:
    assert decode_manifest(encode_manifest(manifest)) == manifest


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_garbage_is_malformed_and_nothing_else(data: bytes) -> None:
    assert reason_of(decode_manifest, data) is UpdateReason.MALFORMED


def only_the_manifest_or_malformed(data: bytes) -> None:
    """Bytes are either exactly a manifest, or malformed."""
    try:
        assert encode_manifest(decode_manifest(data)) == data
    except FirmwareError as error:
        assert error.reason is UpdateReason.MALFORMED


@given(st.integers(0, len(PACKAGE.manifest) - 1), st.integers(0, 255))
def test_any_other_byte_anywhere_never_gets_further_than_malformed(position: int, value: int) -> None:
    only_the_manifest_or_malformed(PACKAGE.manifest[:position] + bytes([value]) + PACKAGE.manifest[position + 1 :])


@given(st.integers(0, len(PACKAGE.manifest)))
def test_a_part_of_a_manifest_is_none(end: int) -> None:
    if end < len(PACKAGE.manifest):
        assert reason_of(decode_manifest, PACKAGE.manifest[:end]) is UpdateReason.MALFORMED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS: dict[str, Any] = json.loads(PACKAGE.manifest)
WITHIN: list[Sequence[Any]] = [
    *((key,) for key in FIELDS),
    *(("components", 1, key) for key in FIELDS["components"][1]),
    ("components", 0),
    ("hardware", 0),
    ("blocks", 2),
]


@given(st.sampled_from(WITHIN), json_values)
def test_a_field_of_another_kind_is_malformed(path: Sequence[Any], value: Any) -> None:
    fields = json.loads(PACKAGE.manifest)
    holder = fields
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    only_the_manifest_or_malformed(canonical(fields))


@pytest.mark.parametrize("path", WITHIN, ids=lambda path: ".".join(map(str, path)))
def test_a_field_that_is_missing_is_malformed(path: Sequence[Any]) -> None:
    fields = json.loads(PACKAGE.manifest)
    holder = fields
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    assert reason_of(decode_manifest, canonical(fields)) is UpdateReason.MALFORMED


def test_only_the_canonical_form_is_accepted() -> None:
    data = PACKAGE.manifest
    spaced = json.dumps(FIELDS, sort_keys=True).encode()
    extended = canonical(FIELDS | {"zz": 1})
    twice = data[:-1] + b',"version":"5.4.0.0"}'
    upper = data.replace(MANIFEST.sha256.hex().encode(), MANIFEST.sha256.hex().upper().encode())
    others = (spaced, extended, twice, upper, data + b"\n", b"[" * 100_000, data.ljust(MANIFEST_MAX_BYTES + 1))
    for other in others:
        assert reason_of(decode_manifest, other) is UpdateReason.MALFORMED


def test_another_format_is_not_guessed_at() -> None:
    with pytest.raises(FirmwareError, match="malformed: manifest: format 2, known is 1"):
        decode_manifest(canonical(FIELDS | {"format": 2}))


FIRST, *OTHERS = MANIFEST.components


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "5.4-beta"},
        {"version": ""},
        {"min_version": "x"},
        {"security_counter": -1},
        {"security_counter": 2**32},
        {"size_bytes": 0},
        {"block_bytes": 0},
        {"block_bytes": 2048},
        {"hardware": ()},
        {"hardware": ("",)},
        {"hardware": ("a", "a")},
        {"hardware": ("zaptec pro",)},
        {"hardware": tuple(f"h{number}" for number in range(HARDWARE_MAX + 1))},
        {"serial_prefixes": ("",)},
        {"serial_prefixes": ("zpr",)},
        {"serial_prefixes": tuple(f"Z{number}" for number in range(SERIAL_PREFIXES_MAX + 1))},
        {"key_id": KEY_ID.upper()},
        {"key_id": KEY_ID[:-1]},
        {"sha256": b"short"},
        {"blocks": MANIFEST.blocks[:-1]},
        {"blocks": (*MANIFEST.blocks[:-1], b"short")},
        {"not_after": datetime(2030, 1, 1)},  # noqa: DTZ001 - that is what is wrong with it
        {"not_after": datetime(2030, 1, 1, 0, 0, 0, 1, tzinfo=UTC)},
        {"components": ()},
        {"components": (*OTHERS, FIRST)},
        {"components": (FIRST, FIRST, *OTHERS[1:])},
        {"components": (FIRST, *OTHERS[:-1])},
        {"components": (replace(FIRST, offset=1), *OTHERS)},
        {"components": (replace(FIRST, size_bytes=FIRST.size_bytes - 1), *OTHERS)},
        {"components": (replace(FIRST, size_bytes=FIRST.size_bytes + 1), *OTHERS)},
        {"components": (replace(FIRST, version="new"), *OTHERS)},
        {"components": (replace(FIRST, sha256=b""), *OTHERS)},
    ],
)
def test_contradictions_are_never_encoded(changes: dict[str, Any]) -> None:
    assert reason_of(encode_manifest, replace(MANIFEST, **changes)) is UpdateReason.MALFORMED


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    oslo = datetime(2030, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    data = encode_manifest(replace(MANIFEST, not_after=oslo))
    assert b'"not_after":"2030-01-01T00:00:00Z"' in data
    assert decode_manifest(data).not_after == oslo


def test_the_largest_manifest_fits_its_limit() -> None:
    largest = replace(
        MANIFEST,
        hardware=tuple(f"{number:064}" for number in range(HARDWARE_MAX)),
        serial_prefixes=tuple(f"{number:032}" for number in range(SERIAL_PREFIXES_MAX)),
        blocks=(bytes(32),) * BLOCKS_MAX,
        block_bytes=2**20,
        size_bytes=BLOCKS_MAX * 2**20,
        components=(replace(FIRST, size_bytes=BLOCKS_MAX * 2**20),),
    )
    assert 240_000 < len(encode_manifest(largest)) < MANIFEST_MAX_BYTES
    more = replace(
        largest,
        blocks=(bytes(32),) * (BLOCKS_MAX + 1),
        size_bytes=(BLOCKS_MAX + 1) * 2**20,
        components=(replace(FIRST, size_bytes=(BLOCKS_MAX + 1) * 2**20),),
    )
    assert reason_of(encode_manifest, more) is UpdateReason.MALFORMED


def test_it_says_which_component_a_byte_belongs_to_and_how_long_each_block_is() -> None:
    assert [MANIFEST.block_size(index) for index in range(6)] == [4096] * 5 + [208]
    owners = [MANIFEST.component_at(index * 4096).component.value for index in range(6)]
    assert owners == ["computer", "computer", "computer", "mainboard", "fpga", "plc"]
    assert MANIFEST.component_at(3 * 4096 - 1).component is Component.COMPUTER
    assert MANIFEST.versions() == dict.fromkeys(["computer", "mainboard", "fpga", "plc"], "5.4.0.0")


def test_versions_compare_by_number_not_by_text() -> None:
    assert parse_version("5.10") > parse_version("5.9.9")
    assert parse_version("5.3.0") == parse_version("5.3")
    for bad in ("5..3", "v5", "5.3.0.3\n", "\u0665", "1" * 7, ".".join("1" * 9)):
        assert reason_of(parse_version, bad) is UpdateReason.MALFORMED

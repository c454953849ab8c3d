"""Packing: four components one after the other, and what the manifest says of them."""

import hashlib
import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.firmware.package import IMAGE_BYTES, Part, Release, build_image, pack, stand_ins
from emulator.wire.manifest import BLOCKS_MAX, Component, decode_manifest, encode_manifest
from emulator.wire.payload import HEADER_BYTES, check_image, decode_header
from emulator.wire.update_reason import FirmwareError, UpdateReason
from tests.firmware_images import BLOCK, KEY_ID, RELEASE, SIZE, blocks_of, reason_of


def parts_of(*payloads: bytes) -> list[Part]:
    pairs = zip(Component, payloads, strict=False)
    return [Part(name, f"{number}.0", io.BytesIO(data), len(data)) for number, (name, data) in enumerate(pairs, 1)]


def test_components_begin_at_blocks_and_only_the_last_is_not_filled_up() -> None:
    payloads = (b"c" * 5000, b"m", b"f" * (BLOCK - HEADER_BYTES), b"p" * 300)
    image = io.BytesIO()
    manifest = pack(RELEASE, parts_of(*payloads), image.write, block_bytes=BLOCK)
    data = image.getvalue()
    assert [(part.offset, part.size_bytes) for part in manifest.components] == [
        (0, 2 * BLOCK),
        (2 * BLOCK, BLOCK),
        (3 * BLOCK, BLOCK),
        (4 * BLOCK, HEADER_BYTES + 300),
    ]
    for part, payload in zip(manifest.components, payloads, strict=True):
        own = data[part.offset : part.offset + part.size_bytes]
        header = decode_header(own)
        assert header is not None and (header.component, header.version) == (part.component, part.version)
        assert own[HEADER_BYTES:].rstrip(b"\0") == payload and header.payload_bytes == len(payload)
        assert hashlib.sha256(own).digest() == part.sha256
    assert hashlib.sha256(data).digest() == manifest.sha256
    check_image(decode_manifest(encode_manifest(manifest)), blocks_of(data))


def test_what_a_release_says_is_what_its_manifest_says() -> None:
    release = Release("7", KEY_ID, 9, "6.1", ("a", "b"), ("ZPR1",), datetime(2031, 1, 1, tzinfo=UTC))
    manifest = decode_manifest(build_image(release, SIZE, block_bytes=BLOCK).manifest)
    said = (manifest.version, manifest.key_id, manifest.security_counter, manifest.min_version)
    assert said == ("7", KEY_ID, 9, "6.1")
    assert (manifest.hardware, manifest.serial_prefixes) == (("a", "b"), ("ZPR1",))
    assert manifest.not_after == datetime(2031, 1, 1, tzinfo=UTC)


def test_the_same_version_is_always_the_same_image() -> None:
    first = build_image(RELEASE, SIZE, block_bytes=BLOCK)
    build_image.cache_clear()
    assert build_image(RELEASE, SIZE, block_bytes=BLOCK) == first
    assert build_image(replace(RELEASE, version="5.4.0.1"), SIZE, block_bytes=BLOCK).image != first.image


@given(st.integers(0, 40 * BLOCK))
def test_a_stand_in_has_any_size_that_four_components_fit_into(size_bytes: int) -> None:
    try:
        made = build_image.__wrapped__(RELEASE, size_bytes, block_bytes=BLOCK)
    except FirmwareError as error:
        assert error.reason is UpdateReason.MALFORMED and size_bytes <= 4 * BLOCK + HEADER_BYTES
        return
    manifest = decode_manifest(made.manifest)
    assert len(made.image) == manifest.size_bytes == size_bytes
    assert [part.component for part in manifest.components] == list(Component)
    check_image(manifest, blocks_of(made.image))


@pytest.mark.parametrize("size_bytes", [-1, 0, 1, 3 * BLOCK, BLOCKS_MAX * BLOCK + 1, 2**40])
def test_too_few_bytes_and_too_many_are_refused_before_they_are_made(size_bytes: int) -> None:
    assert reason_of(stand_ins, "5.4", size_bytes, BLOCK) is UpdateReason.MALFORMED


def test_the_default_size_is_whole_blocks() -> None:
    manifest = decode_manifest(build_image(RELEASE).manifest)
    assert (manifest.size_bytes, manifest.block_size(127)) == (IMAGE_BYTES, 65_536)


def test_a_payload_that_changes_its_length_meanwhile_is_noticed() -> None:
    short = [Part(Component.COMPUTER, "1", io.BytesIO(b"12"), 3)]
    assert reason_of(pack, RELEASE, short, io.BytesIO().write) is UpdateReason.MALFORMED


def test_blocks_without_room_for_a_header_and_too_many_blocks_are_refused() -> None:
    def packed(payload: bytes, block_bytes: int) -> None:
        pack(RELEASE, parts_of(payload), io.BytesIO().write, block_bytes=block_bytes)

    assert reason_of(packed, b"", HEADER_BYTES) is UpdateReason.MALFORMED
    assert reason_of(packed, bytes(BLOCKS_MAX * 200), 200) is UpdateReason.MALFORMED

"""The bytes of an image: headers of components, and what is said of a block that is not the one that was signed."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.manifest import Component, decode_manifest
from emulator.wire.payload import HEADER_BYTES, ComponentHeader, check_block, check_image, decode_header, encode_header
from emulator.wire.update_reason import FirmwareError, UpdateReason
from tests.firmware_images import BLOCK, IMAGE, MANIFEST, blocks_of, package, reason_of

BLOCKS = blocks_of(IMAGE)
MAINBOARD, FPGA = 3, 4
"""The blocks in which these components begin."""

versions = st.lists(st.integers(0, 999_999), min_size=1, max_size=8).map(lambda parts: ".".join(map(str, parts)))


@given(st.sampled_from(list(Component)), versions, st.integers(0, 2**32 - 1))
def test_a_header_comes_back_as_it_went(component: Component, version: str, payload_bytes: int) -> None:
    header = ComponentHeader(component, version, payload_bytes)
    encoded = encode_header(header)
    assert len(encoded) == HEADER_BYTES
    assert decode_header(encoded + b"what follows") == header


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"ZPC1 " + data))
def test_what_is_no_header_is_none(data: bytes) -> None:
    header = decode_header(data)
    assert header is None or encode_header(header) == data[:HEADER_BYTES]


@pytest.mark.parametrize("version", ["", "5.4 beta", "5\n", "1" * 56])
def test_a_header_is_never_written_that_could_not_be_read(version: str) -> None:
    assert reason_of(encode_header, ComponentHeader(Component.FPGA, version, 0)) is UpdateReason.MALFORMED


def test_each_component_says_what_it_is() -> None:
    headers = [decode_header(IMAGE[part.offset :]) for part in MANIFEST.components]
    assert [header and header.component for header in headers] == list(Component)
    assert {header and header.version for header in headers} == {"5.4.0.0"}


def test_every_block_is_checked_by_length_and_hash() -> None:
    for index, block in enumerate(BLOCKS):
        check_block(MANIFEST, index, block)
        flipped = block[:-1] + bytes([block[-1] ^ 1])
        assert reason_of(check_block, MANIFEST, index, flipped) is UpdateReason.WRONG_HASH
        assert reason_of(check_block, MANIFEST, index, block[:-1]) is UpdateReason.SHORT
        assert reason_of(check_block, MANIFEST, index, block + b"\0") is UpdateReason.ENDLESS
    assert reason_of(check_block, MANIFEST, 0, BLOCKS[1]) is UpdateReason.WRONG_HASH
    assert reason_of(check_block, MANIFEST, 1, BLOCKS[0]) is UpdateReason.WRONG_HASH


def test_a_component_of_another_release_or_another_component_is_called_mixed() -> None:
    """Each release is genuine; what somebody else puts together of both is not."""
    old = blocks_of(package(version="5.3.9.0").image)
    with pytest.raises(FirmwareError, match=r"mixed: block 3 \(mainboard\) is of mainboard 5.3.9.0, not 5.4.0.0"):
        check_block(MANIFEST, MAINBOARD, old[MAINBOARD])
    assert reason_of(check_block, MANIFEST, MAINBOARD, BLOCKS[FPGA]) is UpdateReason.MIXED
    assert reason_of(check_image, MANIFEST, [*BLOCKS[:FPGA], *old[FPGA:]]) is UpdateReason.MIXED


@given(st.integers(0, len(IMAGE) - 1), st.integers(1, 255))
def test_any_other_byte_anywhere_in_the_image_is_refused(position: int, change: int) -> None:
    altered = IMAGE[:position] + bytes([IMAGE[position] ^ change]) + IMAGE[position + 1 :]
    assert reason_of(check_image, MANIFEST, blocks_of(altered)) in {UpdateReason.WRONG_HASH, UpdateReason.MIXED}


def test_a_whole_image_is_good_and_more_or_less_of_it_is_not() -> None:
    check_image(MANIFEST, BLOCKS)
    check_image(MANIFEST, iter(BLOCKS))
    assert reason_of(check_image, MANIFEST, BLOCKS[:-1]) is UpdateReason.SHORT
    assert reason_of(check_image, MANIFEST, []) is UpdateReason.SHORT
    assert reason_of(check_image, MANIFEST, [*BLOCKS, b"more"]) is UpdateReason.ENDLESS
    assert reason_of(check_image, MANIFEST, blocks_of(IMAGE + b"more")) is UpdateReason.ENDLESS


def test_a_manifest_whose_parts_contradict_each_other_is_not_believed() -> None:
    """The signer's own mistake: hashes of blocks, components and the whole that are not of the same image."""
    first, *others = MANIFEST.components
    component = replace(MANIFEST, components=(replace(first, sha256=bytes(32)), *others))
    assert reason_of(check_image, component, BLOCKS) is UpdateReason.MIXED
    version = replace(MANIFEST, components=(replace(first, version="5.5"), *others))
    assert reason_of(check_image, version, BLOCKS) is UpdateReason.MIXED
    whole = replace(MANIFEST, sha256=bytes(32))
    assert reason_of(check_image, whole, BLOCKS) is UpdateReason.WRONG_HASH


def test_a_component_without_a_header_is_refused_even_if_it_is_signed() -> None:
    bare = bytes(BLOCK)
    blocks = (hashlib.sha256(bare).digest(), *MANIFEST.blocks[1:])
    assert reason_of(check_image, replace(MANIFEST, blocks=blocks), [bare, *BLOCKS[1:]]) is UpdateReason.MIXED


def test_the_manifest_of_a_package_describes_its_image() -> None:
    for version in ("5.4.0.0", "9", "0.0.1"):
        made = package(version=version)
        check_image(decode_manifest(made.manifest), blocks_of(made.image))

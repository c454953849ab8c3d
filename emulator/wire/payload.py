"""The bytes of a firmware image: the header of each component, and whether a block is the one that was signed.

A component is a header of 128 bytes, its payload, and zeros up to the end of the block; behind the last one there are
none. The header is a line of ASCII, filled up with zeros: ``ZPC1``, component, version, length of the payload. It is
for people and tools, and to tell what a wrong block is: only the manifest says what is right (invented, as all of it).
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from emulator.wire.manifest import Component, ComponentImage, Manifest, parse_version
from emulator.wire.update_reason import FirmwareError, UpdateReason, malformed

HEADER_BYTES = 128

_HEADER = re.compile(rb"ZPC1 ([a-z]{1,16}) ([0-9.]{1,55}) (\d{1,10})\n\0*")


@dataclass(frozen=True, slots=True)
class ComponentHeader:
    """What a component says of itself."""

    component: Component
    version: str
    payload_bytes: int


def encode_header(header: ComponentHeader) -> bytes:
    """The `HEADER_BYTES` bytes that a component begins with. FirmwareError(MALFORMED) for values that do not fit."""
    parse_version(header.version)
    line = f"ZPC1 {header.component.value} {header.version} {header.payload_bytes}\n".encode()
    encoded = line.ljust(HEADER_BYTES, b"\0")
    if decode_header(encoded) != header:
        raise malformed(f"{header.component.value} {header.version[:40]!r} fits no header")
    return encoded


def decode_header(data: bytes) -> ComponentHeader | None:
    """The header at the start of these bytes; None: there is none."""
    match = _HEADER.fullmatch(data[:HEADER_BYTES])
    if match is None or len(data) < HEADER_BYTES:
        return None
    name, version, payload_bytes = (group.decode("ascii") for group in match.groups())
    return ComponentHeader(Component(name), version, int(payload_bytes)) if name in set(Component) else None


def check_block(manifest: Manifest, index: int, data: bytes) -> None:
    """Check one block of the image: FirmwareError SHORT, ENDLESS, MIXED or WRONG_HASH.

    MIXED: what should be the first block of a component is that of another component or of another version of it.
    """
    size, part = manifest.block_size(index), manifest.component_at(index * manifest.block_bytes)
    where = f"block {index} ({part.component.value})"
    if len(data) != size:
        reason = UpdateReason.SHORT if len(data) < size else UpdateReason.ENDLESS
        raise FirmwareError(reason, f"{where} has {len(data)} bytes, not {size}")
    if hmac.compare_digest(hashlib.sha256(data).digest(), manifest.blocks[index]):
        return
    found = decode_header(data) if part.offset == index * manifest.block_bytes else None
    if found is not None and (found.component, found.version) != (part.component, part.version):
        detail = f"{where} is of {found.component.value} {found.version}, not {part.version}"
        raise FirmwareError(UpdateReason.MIXED, detail)
    raise FirmwareError(UpdateReason.WRONG_HASH, where)


def check_image(manifest: Manifest, blocks: Iterable[bytes]) -> None:
    """Check a whole image that comes block by block: each block, each component with its header, and all together.

    FirmwareError: as `check_block`; MIXED as well for a component that is not what the manifest calls it.
    """
    whole, digests = hashlib.sha256(), {part: hashlib.sha256() for part in manifest.components}
    for index, block in enumerate(_no_more_than(manifest, blocks)):
        check_block(manifest, index, block)
        part = manifest.component_at(index * manifest.block_bytes)
        if part.offset == index * manifest.block_bytes:
            _check_header(part, block)
        whole.update(block)
        digests[part].update(block)
    for part, digest in digests.items():
        if not hmac.compare_digest(digest.digest(), part.sha256):
            raise FirmwareError(UpdateReason.MIXED, f"{part.component.value} is not what the manifest describes")
    if not hmac.compare_digest(whole.digest(), manifest.sha256):
        raise FirmwareError(UpdateReason.WRONG_HASH, "the image as a whole")


def _no_more_than(manifest: Manifest, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """As many blocks as the manifest has. FirmwareError ENDLESS or SHORT."""
    left = len(manifest.blocks)
    for block in blocks:
        if not left:
            raise FirmwareError(UpdateReason.ENDLESS, f"more than {manifest.size_bytes} bytes")
        yield block
        left -= 1
    if left:
        raise FirmwareError(UpdateReason.SHORT, f"{left} of {len(manifest.blocks)} blocks are missing")


def _check_header(part: ComponentImage, block: bytes) -> None:
    header = decode_header(block)
    if header is None or (header.component, header.version) != (part.component, part.version):
        raise FirmwareError(
            UpdateReason.MIXED, f"{part.component.value} {part.version} has the header of something else"
        )

"""Builds firmware images: components put one after the other, and the manifest that describes them."""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from random import Random
from typing import BinaryIO

from emulator.wire.manifest import BLOCK_BYTES, BLOCKS_MAX, Component, ComponentImage, Manifest, encode_manifest
from emulator.wire.payload import HEADER_BYTES, ComponentHeader, encode_header
from emulator.wire.update_reason import malformed

IMAGE_BYTES = 8 * 1024 * 1024
HARDWARE = "zaptec-pro"
FOR_EVER = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
"""As long as the certificates hold: stand-ins must not expire in simulated time."""
SMALL_SHARE = 8
"""Each component but the computer's has this part of a stand-in image."""


@dataclass(frozen=True, slots=True)
class Release:
    """What a manifest says that the bytes of the image do not: see `Manifest`."""

    version: str
    key_id: str
    security_counter: int = 1
    min_version: str = "0"
    hardware: tuple[str, ...] = (HARDWARE,)
    serial_prefixes: tuple[str, ...] = ()
    not_after: datetime = FOR_EVER


@dataclass(frozen=True, slots=True)
class Part:
    """One component to be packed; `payload` is read from where it is to its end, which is `payload_bytes` on."""

    component: Component
    version: str
    payload: BinaryIO = field(repr=False)
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Package:
    """An image with its manifest bytes; the signature is made by whoever hands it out."""

    version: str
    image: bytes = field(repr=False)
    manifest: bytes = field(repr=False)


def pack(
    release: Release, parts: Sequence[Part], write: Callable[[bytes], object], *, block_bytes: int = BLOCK_BYTES
) -> Manifest:
    """Write the image of these parts, block by block, and return its manifest; no more than a block is held.

    Nothing is said of parts that are missing or in a wrong order until the manifest is encoded.
    FirmwareError(MALFORMED): a block has no room for a header, there are too many, or a payload is not as long as it
    was said to be.
    """
    if block_bytes <= HEADER_BYTES:
        raise malformed(f"blocks of {block_bytes} bytes have no room for a header")
    whole, hashes, components, size = hashlib.sha256(), list[bytes](), list[ComponentImage](), 0
    for part in parts:
        offset, digest = size, hashlib.sha256()
        for block in _blocks(part, block_bytes, padded=part is not parts[-1]):
            write(block)
            hashes.append(hashlib.sha256(block).digest())
            whole.update(block)
            digest.update(block)
            size += len(block)
            if len(hashes) > BLOCKS_MAX:
                raise malformed(f"more than {BLOCKS_MAX} blocks of {block_bytes} bytes")
        components.append(ComponentImage(part.component, part.version, offset, size - offset, digest.digest()))
    return Manifest(
        version=release.version,
        security_counter=release.security_counter,
        min_version=release.min_version,
        hardware=release.hardware,
        serial_prefixes=release.serial_prefixes,
        not_after=release.not_after,
        key_id=release.key_id,
        size_bytes=size,
        block_bytes=block_bytes,
        sha256=whole.digest(),
        blocks=tuple(hashes),
        components=tuple(components),
    )


def stand_ins(version: str, size_bytes: int, block_bytes: int = BLOCK_BYTES) -> list[Part]:
    """Parts that make an image of so many bytes and stand in for firmware: the same version is always the same bytes.

    FirmwareError(MALFORMED): four components do not fit into so few.
    """
    return [_stand_in(each, version, size) for each, size in _shares(size_bytes, block_bytes).items()]


@lru_cache(maxsize=4)
def build_image(release: Release, size_bytes: int = IMAGE_BYTES, *, block_bytes: int = BLOCK_BYTES) -> Package:
    """A package of four stand-ins. FirmwareError(MALFORMED): bad values."""
    image = io.BytesIO()
    parts = stand_ins(release.version, size_bytes, block_bytes)
    manifest = pack(release, parts, image.write, block_bytes=block_bytes)
    return Package(release.version, image.getvalue(), encode_manifest(manifest))


def _blocks(part: Part, block_bytes: int, *, padded: bool) -> Iterator[bytes]:
    """Header and payload in blocks; the last is filled up with zeros if another component follows."""
    header = encode_header(ComponentHeader(part.component, part.version, part.payload_bytes))
    block, read = header, -HEADER_BYTES
    block += part.payload.read(block_bytes - HEADER_BYTES)
    while block:
        read += len(block)
        yield block.ljust(block_bytes, b"\0") if padded else block
        block = part.payload.read(block_bytes)
    if read != part.payload_bytes:
        raise malformed(f"{part.component.value} has {read} bytes, not {part.payload_bytes}")


def _shares(size_bytes: int, block_bytes: int) -> Mapping[Component, int]:
    """How many bytes of the image each component has. All but the last fill whole blocks."""
    if size_bytes > BLOCKS_MAX * block_bytes:
        raise malformed(f"{size_bytes} bytes are more than {BLOCKS_MAX} blocks")
    blocks = -(-size_bytes // block_bytes)
    small = max(1, blocks // SMALL_SHARE)
    tail = size_bytes - (blocks - 1) * block_bytes
    last = small if small > 1 or tail > HEADER_BYTES else 2  # a header must fit
    first = blocks - 2 * small - last
    if first < 1:
        raise malformed(f"{size_bytes} bytes have no room for {len(Component)} components")
    whole = {Component.COMPUTER: first, Component.MAINBOARD: small, Component.FPGA: small}
    shares = {component: count * block_bytes for component, count in whole.items()}
    return shares | {Component.PLC: (last - 1) * block_bytes + tail}


def _stand_in(component: Component, version: str, size_bytes: int) -> Part:
    payload_bytes = size_bytes - HEADER_BYTES
    label = f"zaptec-pro-emulator {component.value} {version}\n".encode()
    filler = Random(f"firmware/{component.value}/{version}")  # noqa: S311 - only filler
    payload = (label + filler.randbytes(max(payload_bytes - len(label), 0)))[:payload_bytes]
    return Part(component, version, io.BytesIO(payload), payload_bytes)

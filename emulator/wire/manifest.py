"""The manifest of a firmware image: what the image is, whom it is for, and the hash of every part of it.

The container is invented: the Pro's image format is not public (zaptec.md section 14). An update is three files:

    image            header and payload of each component, one after the other (`emulator.wire.payload`)
    image.manifest   this, as canonical JSON
    image.sig        ECDSA P-256 with SHA-256 over the bytes of the manifest (`emulator.wire.firmware_keys`)

The signature covers the manifest and the manifest covers every block, so nothing needs to be stored before it is known
to be good. All components come in one image under one signature, so nobody can put together what was not made together.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum

from emulator.wire.json_fields import (
    FieldError,
    Fields,
    a_list,
    an_object,
    canonical,
    count,
    from_hex,
    json_object,
    text,
    texts,
)
from emulator.wire.update_reason import malformed

FORMAT = 1
"""Number of this format. Another one is malformed: what has changed in it, nobody here can know."""
BLOCK_BYTES = 65_536
"""What is downloaded, checked and stored at once (zaptec.md section 14)."""
MANIFEST_MAX_BYTES = 262_144
MANIFEST_SUFFIX, SIGNATURE_SUFFIX = ".manifest", ".sig"
HASH_BYTES = 32
COUNT_MAX = 2**32 - 1
"""Of every number in it."""
KEY_ID_CHARACTERS = 16
KEY_ID = re.compile(rf"[0-9a-f]{{{KEY_ID_CHARACTERS}}}", re.ASCII)
HARDWARE_MAX, SERIAL_PREFIXES_MAX, BLOCKS_MAX = 16, 64, 3584
"""With all three the manifest still has less than `MANIFEST_MAX_BYTES`."""

_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,7}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_PREFIX = re.compile(r"[A-Z0-9]{1,32}", re.ASCII)
_UTC = "%Y-%m-%dT%H:%M:%SZ"


class Component(StrEnum):
    """What an image brings firmware for, in the order in which it lies there."""

    COMPUTER = "computer"
    MAINBOARD = "mainboard"
    FPGA = "fpga"
    PLC = "plc"


@dataclass(frozen=True, slots=True)
class ComponentImage:
    """One component's part of the image: `size_bytes` bytes from `offset`, header included."""

    component: Component
    version: str
    offset: int
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an image is.

    `security_counter` never goes down on a charger. `min_version` is the lowest that this firmware may follow.
    `serial_prefixes` names the chargers that it is for, all if there are none. `not_after` is aware, in whole seconds.
    `key_id` says which key is to have signed it. `blocks` holds the SHA-256 of each `block_bytes` of the image; the
    last may be shorter. `components` cover the image without gaps, each from the start of a block, in the order of
    `Component`, none twice; that one may be missing is for the charger to refuse.
    """

    version: str
    security_counter: int
    min_version: str
    hardware: tuple[str, ...]
    serial_prefixes: tuple[str, ...]
    not_after: datetime
    key_id: str
    size_bytes: int
    block_bytes: int
    sha256: bytes
    blocks: tuple[bytes, ...]
    components: tuple[ComponentImage, ...]

    def block_size(self, index: int) -> int:
        """Length in bytes of a block."""
        return min(self.block_bytes, self.size_bytes - index * self.block_bytes)

    def component_at(self, offset: int) -> ComponentImage:
        """Which component a byte of the image belongs to."""
        return next(part for part in self.components[::-1] if part.offset <= offset)

    def versions(self) -> dict[str, str]:
        """The version of each component that it brings."""
        return {part.component.value: part.version for part in self.components}


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON: sorted keys, no spaces, hashes in lower-case hex. FirmwareError(MALFORMED) for bad values."""
    _check(manifest)
    return _encoded(manifest)


def decode_manifest(data: bytes) -> Manifest:
    """The manifest in these bytes, which must be exactly what `encode_manifest` makes. FirmwareError(MALFORMED).

    Nothing is said of its maker.
    """
    if len(data) > MANIFEST_MAX_BYTES:
        raise malformed(f"manifest of more than {MANIFEST_MAX_BYTES} bytes")
    try:
        manifest = _manifest_in(json_object(data))
    except FieldError as error:
        raise malformed(f"manifest: {error}") from None
    _check(manifest)
    if _encoded(manifest) != data:
        raise malformed("manifest is not canonical")
    return manifest


def parse_version(version: str) -> tuple[int, ...]:
    """A dotted version in comparable form; trailing zeros do not count. FirmwareError(MALFORMED)."""
    if not _VERSION.fullmatch(version):
        raise malformed(f"version {version[:40]!r}")
    numbers = [int(number) for number in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _manifest_in(fields: Fields) -> Manifest:
    if (number := count(fields, "format")) != FORMAT:
        raise FieldError(f"format {number}, known is {FORMAT}")
    return Manifest(
        version=text(fields, "version"),
        security_counter=count(fields, "security_counter"),
        min_version=text(fields, "min_version"),
        hardware=texts(fields, "hardware"),
        serial_prefixes=texts(fields, "serial_prefixes"),
        not_after=_utc(text(fields, "not_after")),
        key_id=text(fields, "key_id"),
        size_bytes=count(fields, "size_bytes"),
        block_bytes=count(fields, "block_bytes"),
        sha256=from_hex(text(fields, "sha256"), "sha256"),
        blocks=tuple(from_hex(block, "blocks") for block in texts(fields, "blocks")),
        components=tuple(_component_in(an_object(part)) for part in a_list(fields, "components")),
    )


def _component_in(fields: Fields) -> ComponentImage:
    name = text(fields, "component")
    if name not in set(Component):
        raise FieldError("component is none that is known")
    return ComponentImage(
        component=Component(name),
        version=text(fields, "version"),
        offset=count(fields, "offset"),
        size_bytes=count(fields, "size_bytes"),
        sha256=from_hex(text(fields, "sha256"), "sha256"),
    )


def _utc(value: str) -> datetime:
    try:
        return datetime.strptime(value, _UTC).replace(tzinfo=UTC)
    except ValueError:
        raise FieldError("not_after is not a time in UTC") from None


def _encoded(manifest: Manifest) -> bytes:
    fields = asdict(manifest) | {
        "format": FORMAT,
        "not_after": f"{manifest.not_after.astimezone(UTC).isoformat().removesuffix('+00:00')}Z",
        "sha256": manifest.sha256.hex(),
        "blocks": [block.hex() for block in manifest.blocks],
        "components": [asdict(part) | {"sha256": part.sha256.hex()} for part in manifest.components],
    }
    return canonical(fields)


def _check(manifest: Manifest) -> None:
    """FirmwareError(MALFORMED) for the first thing that is wrong."""
    for wrong in (*_wrong_numbers(manifest), *_wrong_names(manifest), *_wrong_components(manifest)):
        raise malformed(f"manifest: {wrong}")
    for version in (manifest.version, manifest.min_version, *manifest.versions().values()):
        parse_version(version)


def _wrong_numbers(manifest: Manifest) -> Iterator[str]:
    counts = (manifest.security_counter, manifest.size_bytes, manifest.block_bytes)
    if not all(0 <= number <= COUNT_MAX for number in counts) or not manifest.size_bytes or not manifest.block_bytes:
        yield "a number is out of range"
        return
    if len(manifest.blocks) > BLOCKS_MAX:
        yield f"more than {BLOCKS_MAX} blocks"
    if len(manifest.blocks) != -(-manifest.size_bytes // manifest.block_bytes):
        yield f"{len(manifest.blocks)} blocks do not make {manifest.size_bytes} bytes"
    hashes = (manifest.sha256, *manifest.blocks, *(part.sha256 for part in manifest.components))
    if any(len(digest) != HASH_BYTES for digest in hashes):
        yield f"a hash is not {HASH_BYTES} bytes long"
    if manifest.not_after.tzinfo is None or manifest.not_after.microsecond:
        yield "not_after is not in whole seconds of UTC"


def _wrong_names(manifest: Manifest) -> Iterator[str]:
    lists = (
        ("hardware", manifest.hardware, _NAME, 1, HARDWARE_MAX),
        ("serial_prefixes", manifest.serial_prefixes, _PREFIX, 0, SERIAL_PREFIXES_MAX),
        ("key_id", (manifest.key_id,), KEY_ID, 1, 1),
    )
    for key, names, shape, least, most in lists:
        if not least <= len(names) <= most or len(set(names)) != len(names) or not all(map(shape.fullmatch, names)):
            yield f"{key} is not {least} to {most} different names"


def _wrong_components(manifest: Manifest) -> Iterator[str]:
    order = [list(Component).index(part.component) for part in manifest.components]
    if not order or order != sorted(set(order)):
        yield "components are missing, repeated or out of order"
    end = 0
    for part in manifest.components:
        if part.offset != end or part.size_bytes < 1 or (manifest.block_bytes and end % manifest.block_bytes):
            yield f"component {part.component.value} does not begin where the one before ends, at a block"
            return
        end += part.size_bytes
    if end != manifest.size_bytes:
        yield f"components of {end} bytes do not make {manifest.size_bytes} bytes"

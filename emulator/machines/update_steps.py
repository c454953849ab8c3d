"""What an update does next, and what came of it: the vocabulary between `machines.updater` and who does the work."""

from dataclasses import dataclass
from datetime import datetime

from emulator.wire.firmware import Location
from emulator.wire.manifest import Manifest
from emulator.wire.update_reason import UpdateReason


@dataclass(frozen=True, slots=True)
class FetchLocation:
    """Ask this host where the firmware is. Answer with `Located`."""

    host: str


@dataclass(frozen=True, slots=True)
class FetchManifest:
    """Fetch manifest and signature that lie beside the image. Answer with `Described`."""

    location: Location


@dataclass(frozen=True, slots=True)
class Inspect:
    """Look which blocks of the image the slot holds already, and empty it unless all it holds is good.

    Answer with `Kept`.
    """

    location: Location
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class FetchBlock:
    """Fetch the bytes `first` to `last`, both included, of the image. Answer with `Arrived`.

    `etag` is that of the image of which blocks are there; empty: of none, or it has no strong one.
    """

    location: Location
    manifest: Manifest
    index: int
    etag: str = ""

    @property
    def first(self) -> int:
        """Offset of the first byte."""
        return self.index * self.manifest.block_bytes

    @property
    def last(self) -> int:
        """Offset of the last byte. A block behind the end counts as one byte."""
        return self.first + max(self.manifest.block_size(self.index), 1) - 1


@dataclass(frozen=True, slots=True)
class WriteBlock:
    """Store a block at offset `block.first` in the inactive slot. Answer with `Stored`."""

    block: FetchBlock
    data: bytes


@dataclass(frozen=True, slots=True)
class Verify:
    """Hash the whole image as it lies in the slot. Answer with `Hashed`."""

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until `until`, then answer with `Waited`."""

    until: float


@dataclass(frozen=True, slots=True)
class Install:
    """The image is good: boot it next. The machine is done."""

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Reject:
    """Keep the firmware that runs. The machine is done."""

    reason: UpdateReason
    detail: str


Fetch = FetchLocation | FetchManifest | FetchBlock
Step = Fetch | Inspect | WriteBlock | Verify | Wait | Install | Reject


@dataclass(frozen=True, slots=True)
class Located:
    """The location reply."""

    location: Location


@dataclass(frozen=True, slots=True)
class Described:
    """Manifest bytes and signature as they came, and when, by the charger's own clock; an empty signature means that
    there is none."""

    manifest: bytes
    signature: bytes
    utc: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """So many blocks from the first on lie in the slot, and are the ones that the manifest describes."""

    blocks: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """One block. What the server says of the whole image: its bytes in a header of its own, its bytes in
    Content-Range, and its strong entity tag; None and empty: nothing."""

    data: bytes
    total_bytes: int | None
    range_total_bytes: int | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """The block is in flash."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """SHA-256 of the image in flash."""

    sha256: bytes


@dataclass(frozen=True, slots=True)
class Waited:
    """The waiting is over."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A fetch came to nothing, and the next try may do: no answer, an error status, a reply that makes no sense.

    `reason` says what it would be if it went on.
    """

    detail: str
    reason: UpdateReason | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It is useless to ask again: the server will not answer this, its answer is not to be followed, or flash fails."""

    reason: UpdateReason
    detail: str


Event = Located | Described | Kept | Arrived | Stored | Hashed | Waited | Failed | Refused

ANSWERS: dict[type[Step], type[Event]] = {
    FetchLocation: Located,
    FetchManifest: Described,
    Inspect: Kept,
    FetchBlock: Arrived,
    WriteBlock: Stored,
    Verify: Hashed,
    Wait: Waited,
}
"""What each step is answered with. A fetch may be answered with `Failed`, all but `Wait` with `Refused` as well."""

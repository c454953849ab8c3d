"""How an update goes: what to fetch, store and check next, and when to give up (manual row M6, zaptec.md section 14).

The machine answers every event with the next step. The signature is checked before a single byte of the image is
asked for, each block before it is stored, and the whole as it lies in flash before it is installed. Whatever fails on
the way is tried again after `retry_s`; whatever is wrong with the update itself ends it. The one limit on trying
is the timer over the whole update.
"""

from dataclasses import dataclass

from emulator.profile import Firmware
from emulator.wire.firmware import (
    FirmwareError,
    Location,
    Manifest,
    Running,
    UpdateReason,
    check_block,
    check_fits,
    verify,
)


@dataclass(frozen=True, slots=True)
class FetchLocation:
    """Ask the API host where the firmware is. Answer with `Located`."""


@dataclass(frozen=True, slots=True)
class FetchManifest:
    """Fetch manifest and signature that lie beside the image. Answer with `Described`."""

    location: Location


@dataclass(frozen=True, slots=True)
class FetchBlock:
    """Fetch the bytes `first` to `last`, both included, of the image. Answer with `Arrived`."""

    location: Location
    manifest: Manifest
    index: int

    @property
    def first(self) -> int:
        """Offset of the first byte."""
        return self.index * self.manifest.block_bytes

    @property
    def last(self) -> int:
        """Offset of the last byte."""
        return self.first + self.manifest.block_size(self.index) - 1


@dataclass(frozen=True, slots=True)
class WriteBlock:
    """Store a good block at offset `block.first` in the inactive slot. Answer with `Stored`."""

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


Step = FetchLocation | FetchManifest | FetchBlock | WriteBlock | Verify | Wait | Install | Reject


@dataclass(frozen=True, slots=True)
class Located:
    """The location reply."""

    location: Location


@dataclass(frozen=True, slots=True)
class Described:
    """Manifest bytes and signature as they came; an empty signature means that there is none."""

    manifest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Arrived:
    """One block. `total_bytes` is what the server says the whole image has."""

    data: bytes
    total_bytes: int


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
    """A fetch came to nothing: no answer, an error status, a reply that makes no sense."""

    detail: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The server will not answer this question now or later: it is useless to ask again."""

    reason: UpdateReason
    detail: str


Event = Located | Described | Arrived | Stored | Hashed | Waited | Failed | Refused

ANSWERS: dict[type[Step], type[Event]] = {
    FetchLocation: Located,
    FetchManifest: Described,
    FetchBlock: Arrived,
    WriteBlock: Stored,
    Verify: Hashed,
    Wait: Waited,
}
"""What each step is answered with. A fetch may be answered with `Failed` or `Refused` as well."""


class Updater:
    """One update, from the first question to Install or Reject. `now` is monotonic seconds."""

    __slots__ = ("_deadline", "_public_key_pem", "_retry", "_running", "_step", "_timing")

    def __init__(self, timing: Firmware, running: Running, public_key_pem: str) -> None:
        self._timing = timing
        self._running = running
        self._public_key_pem = public_key_pem
        self._step: Step = FetchLocation()
        self._retry: Step = self._step
        self._deadline = 0.0

    def start(self, now: float) -> Step:
        """The first step; the timer over the whole update starts."""
        self._deadline = now + self._timing.timeout_s
        return self._step

    def deadline(self) -> float:
        """When the whole update is given up. A step that takes longer is answered with `Failed` at that time."""
        return self._deadline

    def handle(self, event: Event, now: float) -> Step:
        """The next step after the answer to the last one. ValueError: that was not its answer (a mistake of ours)."""
        if now >= self._deadline:
            last = f"; {event.detail}" if isinstance(event, Failed) else ""
            self._step = Reject(UpdateReason.TIMED_OUT, f"not done after {self._timing.timeout_s:g} s{last}")
        else:
            try:
                self._step = self._next(event, now)
            except FirmwareError as error:
                self._step = Reject(error.reason, error.detail)
        return self._step

    def _next(self, event: Event, now: float) -> Step:
        match self._step, event:
            case FetchLocation(), Located(location):
                return FetchManifest(location)
            case FetchManifest(location), Described():
                return FetchBlock(location, self._accepted(event, location), 0)
            case FetchBlock() as block, Arrived():
                return _checked(block, event)
            case WriteBlock(block), Stored():
                return _after(block)
            case Verify(manifest), Hashed(sha256):
                return _judged(manifest, sha256)
            case Wait(), Waited():
                return self._retry
            case (FetchLocation() | FetchManifest() | FetchBlock()) as fetch, Failed():
                self._retry = fetch
                return Wait(min(now + self._timing.retry_s, self._deadline))
            case ((FetchLocation() | FetchManifest() | FetchBlock()), Refused(reason, detail)):
                return Reject(reason, detail)
        raise ValueError(f"{type(event).__name__} does not answer {type(self._step).__name__}")

    def _accepted(self, described: Described, location: Location) -> Manifest:
        """The manifest, if it is genuine, fits this charger and is the one that was announced."""
        manifest = verify(described.manifest, described.signature, self._public_key_pem)
        check_fits(manifest, self._running)
        if manifest.version != location.version:
            detail = f"{location.version} was announced, the manifest is of {manifest.version}"
            raise FirmwareError(UpdateReason.MALFORMED, detail)
        return manifest


def _checked(block: FetchBlock, arrived: Arrived) -> Step:
    """Store the block, if it and the length of the whole are as the manifest says."""
    if arrived.total_bytes != block.manifest.size_bytes:
        detail = f"the server has {arrived.total_bytes} bytes, the manifest says {block.manifest.size_bytes}"
        raise FirmwareError(UpdateReason.SHORT, detail)
    check_block(block.manifest, block.index, arrived.data)
    return WriteBlock(block, arrived.data)


def _after(block: FetchBlock) -> Step:
    """The next block, or the last check."""
    if block.index + 1 < len(block.manifest.blocks):
        return FetchBlock(block.location, block.manifest, block.index + 1)
    return Verify(block.manifest)


def _judged(manifest: Manifest, sha256: bytes) -> Step:
    if sha256 != manifest.sha256:
        raise FirmwareError(UpdateReason.WRONG_HASH, "the image in flash is not what the manifest describes")
    return Install(manifest)

"""How an update goes: what to fetch, store and check next, and when to give up (manual row M6, zaptec.md section 14).

The machine answers every event with the next step. The signature is checked before a single byte of the image is
asked for, each block before it is stored, and the whole as it lies in flash before it is installed. What the slot
holds already is not fetched again, so a power cut costs a block.

Whatever fails on the way is tried again after `retry_s`, at the next host if that may help, until the timer over the
whole update. A server that cannot prove who it is, or is too slow, is put up with for `patience_s`. A host that will
not say where the firmware is, or says what must not be followed, is passed over; if no host does better, its refusal
ends the update. Whatever is wrong with the image ends it at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from emulator.machines.update_steps import (
    Arrived,
    Described,
    Event,
    Failed,
    Fetch,
    FetchBlock,
    FetchLocation,
    FetchManifest,
    Hashed,
    Inspect,
    Install,
    Kept,
    Located,
    Refused,
    Reject,
    Step,
    Stored,
    Verify,
    Wait,
    Waited,
    WriteBlock,
)
from emulator.profile import Firmware
from emulator.wire.firmware import Location
from emulator.wire.firmware_keys import FirmwareKeys, verify
from emulator.wire.manifest import Manifest
from emulator.wire.manifest_fit import Running, check_fits
from emulator.wire.payload import check_block
from emulator.wire.update_reason import FirmwareError, UpdateReason

HOST_FAILURES_MAX = 5
"""After so many failures in a row where the image lies, the next host is asked where it is."""
PASSED_OVER_MAX = 16


@dataclass(frozen=True, slots=True)
class PassedOver:
    """What was not accepted on the way, though it did not end the update."""

    reason: UpdateReason
    detail: str


class Updater:
    """One update, from the first question to Install or Reject. `hosts` are asked in turn.

    `now` is monotonic seconds.
    """

    __slots__ = (
        "_deadline",
        "_etag",
        "_failures",
        "_host",
        "_hosts",
        "_keys",
        "_refusals",
        "_retry",
        "_running",
        "_silent",
        "_step",
        "_timing",
        "_troubles",
        "passed_over",
    )

    def __init__(self, timing: Firmware, hosts: Sequence[str], running: Running, keys: FirmwareKeys) -> None:
        self._timing = timing
        self._hosts = tuple(hosts)
        self._running = running
        self._keys = keys
        self._host = 0
        self._step: Step = FetchLocation(self._hosts[0])
        self._retry: Step = self._step
        self._deadline = 0.0
        self._etag = ""
        self._failures = self._silent = 0
        self._refusals: list[Refused] = []
        self._troubles: dict[UpdateReason, float] = {}
        self.passed_over: list[PassedOver] = []
        """The first `PASSED_OVER_MAX`, each once."""

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
                self._silent, self._failures, self._refusals = 0, 0, []
                return FetchManifest(location)
            case FetchManifest(location), Described():
                return Inspect(location, self._accepted(event, location))
            case Inspect(location, manifest), Kept(blocks):
                self._etag = ""
                return self._block(location, manifest, blocks)
            case FetchBlock() as block, Arrived():
                return self._checked(block, event)
            case WriteBlock(block), Stored():
                return self._block(block.location, block.manifest, block.index + 1)
            case Verify(manifest), Hashed(sha256):
                return judged(manifest, sha256)
            case Wait(), Waited():
                return self._retry
            case (FetchLocation() | FetchManifest() | FetchBlock()) as fetch, Failed():
                return self._failed(fetch, event, now)
            case FetchLocation(), Refused():
                return self._refused(event)
            case ((FetchManifest() | Inspect() | FetchBlock() | WriteBlock() | Verify()), Refused(reason, detail)):
                return Reject(reason, detail)
        raise ValueError(f"{type(event).__name__} does not answer {type(self._step).__name__}")

    def _accepted(self, described: Described, location: Location) -> Manifest:
        """The manifest, if it is genuine, fits this charger and is the one that was announced."""
        manifest = verify(described.manifest, described.signature, self._keys)
        check_fits(manifest, self._running, described.utc)
        if manifest.version != location.version:
            detail = f"{location.version} was announced, the manifest is of {manifest.version}"
            raise FirmwareError(UpdateReason.MALFORMED, detail)
        return manifest

    def _block(self, location: Location, manifest: Manifest, index: int) -> Step:
        """The block of this index, or the last check when there is none."""
        if index < len(manifest.blocks):
            return FetchBlock(location, manifest, index, self._etag)
        return Verify(manifest)

    def _checked(self, block: FetchBlock, arrived: Arrived) -> Step:
        """Store the block, if it and what is said of the whole are as they should be."""
        if block.etag and arrived.etag != block.etag:
            raise FirmwareError(UpdateReason.CHANGED, f"block {block.index} is of another image than those before")
        for total in (arrived.range_total_bytes, arrived.total_bytes):
            check_total(block.manifest, total)
        check_block(block.manifest, block.index, arrived.data)
        self._etag, self._failures = arrived.etag, 0
        self._troubles.clear()
        return WriteBlock(block, arrived.data)

    def _failed(self, fetch: Fetch, failed: Failed, now: float) -> Step:
        """Wait, and try again: here, or at the next host."""
        if failed.reason is not None:
            since = self._troubles.setdefault(failed.reason, now)
            if now - since >= self._timing.patience_s:
                raise FirmwareError(failed.reason, failed.detail)
            self._pass_over(failed.reason, failed.detail)
        self._retry = fetch
        self._failures += 1
        if isinstance(fetch, FetchLocation):
            self._retry = self._elsewhere()
        elif self._failures >= HOST_FAILURES_MAX:
            self._failures, self._retry = 0, self._turn()
        return Wait(min(now + self._timing.retry_s, self._deadline))

    def _refused(self, refused: Refused) -> Step:
        self._refusals.append(refused)
        self._pass_over(refused.reason, refused.detail)
        return self._elsewhere()

    def _elsewhere(self) -> Step:
        """Ask the next host. FirmwareError: every host was asked, none has answered, and the first refusal counts."""
        self._silent += 1
        if self._silent >= len(self._hosts):
            if self._refusals:
                raise FirmwareError(self._refusals[0].reason, self._refusals[0].detail)
            self._silent = 0
        return self._turn()

    def _turn(self) -> FetchLocation:
        self._host = (self._host + 1) % len(self._hosts)
        return FetchLocation(self._hosts[self._host])

    def _pass_over(self, reason: UpdateReason, detail: str) -> None:
        passed = PassedOver(reason, detail)
        if passed not in self.passed_over and len(self.passed_over) < PASSED_OVER_MAX:
            self.passed_over.append(passed)


def check_total(manifest: Manifest, total_bytes: int | None) -> None:
    """Check what the server says of the length of the image, if it does: FirmwareError SHORT or ENDLESS."""
    if total_bytes is not None and total_bytes != manifest.size_bytes:
        detail = f"the server has {total_bytes} bytes, the manifest says {manifest.size_bytes}"
        short = total_bytes < manifest.size_bytes
        raise FirmwareError(UpdateReason.SHORT if short else UpdateReason.ENDLESS, detail)


def judged(manifest: Manifest, sha256: bytes) -> Step:
    """Install what lies in flash, if it is what was signed. FirmwareError(WRONG_HASH)."""
    if sha256 != manifest.sha256:
        raise FirmwareError(UpdateReason.WRONG_HASH, "the image in flash is not what the manifest describes")
    return Install(manifest)

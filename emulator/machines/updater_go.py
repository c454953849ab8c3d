"""How the vendor's open Go firmware updates, as its source reads: four ways to hang until the timer of 60 minutes.

They are inferred from source (zaptec.md section 14), not seen in the field:

- An image that is an exact multiple of a block has no short last block, so it never ends.
- Without the header that tells the total length it never ends either.
- A transport error sets a flag that nothing clears: later blocks are written, and asked for again.
- A location that cannot be parsed leaves the one before in use, of which there is none at first.

What is not inferred is kept: the signature is checked first, and what lies in flash is what was signed or is refused.
"""

from emulator.machines.update_steps import (
    Arrived,
    Event,
    Failed,
    Fetch,
    FetchBlock,
    FetchLocation,
    FetchManifest,
    Inspect,
    Kept,
    Refused,
    Step,
    Stored,
    Verify,
    Wait,
    WriteBlock,
)
from emulator.machines.updater import Updater


class GoUpdater(Updater):
    """An `Updater` that asks one host, begins anew each time, and stumbles as the Go does."""

    __slots__ = ("_disturbed", "_total_bytes")

    _disturbed: bool
    _total_bytes: int | None

    def start(self, now: float) -> Step:
        self._disturbed, self._total_bytes = False, None
        return super().start(now)

    def _next(self, event: Event, now: float) -> Step:
        match self._step, event:
            case Inspect(location, manifest), Kept():
                return FetchBlock(location, manifest, 0)
            case FetchBlock() as block, Arrived():
                return self._arrived(block, event, now)
            case WriteBlock(block, data), Stored():
                return self._stored(block, len(data), now)
            case FetchBlock() as block, Failed():
                self._disturbed = True
                return self._again(block, now)
            case (FetchLocation() | FetchManifest() | FetchBlock()) as fetch, Failed() | Refused():
                return self._again(fetch, now)
        return super()._next(event, now)

    def _arrived(self, block: FetchBlock, arrived: Arrived, now: float) -> Step:
        """Store the block if it has the right length; the hash is left to the end."""
        if len(arrived.data) != block.manifest.block_size(block.index):
            return self._again(block, now)
        self._total_bytes = arrived.total_bytes
        return WriteBlock(block, arrived.data)

    def _stored(self, block: FetchBlock, size_bytes: int, now: float) -> Step:
        if self._disturbed:
            return self._again(block, now)
        if size_bytes < block.manifest.block_bytes and block.first + size_bytes == self._total_bytes:
            return Verify(block.manifest)
        return FetchBlock(block.location, block.manifest, block.index + 1)

    def _again(self, fetch: Fetch, now: float) -> Step:
        self._retry = fetch
        return Wait(min(now + self._timing.retry_s, self._deadline))

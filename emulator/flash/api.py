"""What the charger sees of its storage: small values by key, and blobs (firmware partitions) written piece by piece.

A `put` happens whole or not at all, whenever the power fails; a blob write may be cut anywhere, but `blob_size` never
counts bytes that are not there. The Pro's storage is not public; this model of it is invented.
"""

from enum import StrEnum
from typing import Protocol

from emulator.errors import EmulatorError


class FlashReason(StrEnum):
    """Why flash did not take a write. Closed list."""

    FULL = "full"
    WORN = "worn"


class FlashError(EmulatorError):
    """Flash did not take a write. Everything that was there before is there still, and can be read."""

    def __init__(self, reason: FlashReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class Flash(Protocol):
    """Flash as its users have it.

    A key is any text of at most 255 bytes of UTF-8 that does not begin with NUL; a value ends where the room ends.
    Blobs have the names that the layout gives its partitions (`store.Layout`); another name is a KeyError. Every
    method that writes may raise FlashError, and `faulty.PowerCut` where the power fails; after that, `mount` is first.
    """

    def mount(self) -> None:
        """The power is back: find out what a write that was cut has left. Nothing happens if none was."""

    def get(self, key: str) -> bytes | None:
        """The value last put, or None."""

    def put(self, key: str, value: bytes) -> None:
        """Store a value; after a power cut the key holds the old value or the new one, never a mixture.

        When it returns, the value is safe. There must be room for the old value and the new one.
        """

    def delete(self, key: str) -> None:
        """Forget a key; after a power cut it is there as it was, or gone. Nothing happens if there is none."""

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that start with `prefix`, sorted."""

    def blob_write(self, name: str, offset: int, data: bytes) -> None:
        """Write into a blob. It grows as needed; a gap before `offset` reads as zeros.

        After a power cut a write at the end of the blob has happened or not; one over older bytes may be half done.
        """

    def blob_read(self, name: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; less at the end, nothing if the blob is empty."""

    def blob_size(self, name: str) -> int:
        """Length in bytes; 0 if nothing was written since it was erased."""

    def blob_erase(self, name: str) -> None:
        """Empty a blob. Nothing happens if it is."""


def kept(flash: Flash, key: str, value: bytes) -> bool:
    """Put what the charger can do without. False: flash did not take it, and holds what it did before."""
    try:
        flash.put(key, value)
    except FlashError:
        return False
    return True


def forgotten(flash: Flash, key: str) -> bool:
    """Delete a key. False: flash is so worn that it did not take even that, and the key may be back after a reboot."""
    try:
        flash.delete(key)
    except FlashError:
        return False
    return True

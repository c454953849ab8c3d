"""Two firmware slots, A and B: the charger runs one and updates the other (invented; the Pro's scheme is not public).

A new image gets one boot to prove itself: unless that boot confirms it, the next one goes back to the old image. So a
firmware that crashes, or a power cut before it is online, never leaves a charger without working firmware.
"""

import json
from dataclasses import asdict, dataclass, replace

from emulator.errors import EmulatorError
from emulator.flash import Flash
from emulator.profile import Firmware

KEY = "firmware.slots"
A, B = "a", "b"


class SlotError(EmulatorError):
    """An installation that the slots cannot take now."""


@dataclass(frozen=True, slots=True)
class Image:
    """What is known of the image in a slot. `counter` is its security counter: it never goes down."""

    version: str
    counter: int


@dataclass(frozen=True, slots=True)
class Booted:
    """What a boot started. `rolled_back`: the image in the other slot did not prove itself and was given up."""

    version: str
    slot: str
    rolled_back: bool


@dataclass(frozen=True, slots=True)
class _Record:
    """What flash remembers: the slot to rely on, the image in each, and a new one that still has to prove itself."""

    active: str
    images: dict[str, Image]
    pending: str | None = None
    tried: bool = False


class Slots:
    """The bookkeeping of both slots in flash. An ordinary boot writes nothing, to spare the flash."""

    __slots__ = ("_booted", "_flash", "_record")

    def __init__(self, flash: Flash, firmware: Firmware) -> None:
        self._flash = flash
        factory = _Record(A, {A: Image(firmware.version, firmware.security_counter)})
        self._record = _decode(flash.get(KEY)) or factory
        self._booted = Booted(self._record.images[self._record.active].version, self._record.active, False)

    def boot(self) -> Booted:
        """Power-on: choose the slot to run. A pending image is tried once; if it was not confirmed it is given up."""
        record, rolled_back = self._record, False
        if record.pending is not None and record.tried:
            self._save(replace(record, pending=None, tried=False))
            rolled_back = True
        elif record.pending is not None:
            self._save(replace(record, tried=True))
        slot = self._record.pending or self._record.active
        self._booted = Booted(self._record.images[slot].version, slot, rolled_back)
        return self._booted

    @property
    def running(self) -> Booted:
        """What the last `boot` started; before the first, the slot that is relied on."""
        return self._booted

    @property
    def counter(self) -> int:
        """Security counter of the image that is relied on. Images with a lower one are refused."""
        return self._record.images[self._record.active].counter

    @property
    def pending(self) -> bool:
        """Whether the running image still has to be confirmed. Until then the other slot must not be touched."""
        return self._booted.slot != self._record.active

    @property
    def inactive(self) -> str:
        """The slot that an update goes into."""
        return B if self._booted.slot == A else A

    def blob(self, slot: str) -> str:
        """Name of the flash blob that holds the image of a slot."""
        return f"firmware.{slot}"

    def confirm(self) -> None:
        """The running image works: rely on it from now on."""
        if self.pending:
            self._save(replace(self._record, active=self._booted.slot, pending=None, tried=False))

    def discard(self) -> None:
        """The inactive slot is about to be overwritten: what waits there must not boot. SlotError while `pending`."""
        self._require_confirmed()
        if self._record.pending is not None:
            self._save(replace(self._record, pending=None, tried=False))

    def install(self, version: str, counter: int) -> None:
        """A verified image is complete in the inactive slot: boot it next. SlotError while `pending`."""
        self._require_confirmed()
        images = self._record.images | {self.inactive: Image(version, counter)}
        self._save(replace(self._record, images=images, pending=self.inactive, tried=False))

    def _require_confirmed(self) -> None:
        if self.pending:
            raise SlotError(f"{self._booted.version} in slot {self._booted.slot} is not confirmed yet")

    def _save(self, record: _Record) -> None:
        self._record = record
        self._flash.put(KEY, json.dumps(asdict(record), sort_keys=True).encode())


def _decode(data: bytes | None) -> _Record | None:
    """The record in flash; None when there is none or it is damaged, which means factory state."""
    if data is None:
        return None
    try:
        raw = json.loads(data)
        images = {slot: Image(str(image["version"]), int(image["counter"])) for slot, image in raw["images"].items()}
        record = _Record(raw["active"], images, raw["pending"], bool(raw["tried"]))
        known = record.active in images and record.pending in {None, *images} and images.keys() <= {A, B}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if known else None

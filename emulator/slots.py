"""Which firmware runs: two slots, A and B, and the factory image (invented; the Pro's scheme is not public).

An image is all components together (computer, mainboard, FPGA, PLC), and one record says which image runs, so all of
them switch together or not at all. A new image gets one boot to prove itself: unless that boot confirms it, the next
one goes back to the image before. So a firmware that crashes, or a power cut before it is online, never leaves a
charger without working firmware. The security counter is kept apart from all that: nothing takes it down.

Before that one boot the boot loader hashes what lies in the slot, as MCUboot does: bits may have rotted since it was
installed. What is relied on boots without that; what production has put in is read-only, and counts as good.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from emulator.errors import EmulatorError
from emulator.flash.api import Flash, FlashError
from emulator.profile import Firmware
from emulator.wire.update_reason import UpdateReason

KEY, COUNTER_KEY = "firmware.slots", "firmware.counter"
COUNTER_DIGITS_MAX = 20
HASHED_BYTES = 65_536
"""Read from a slot at once."""
A, B, FACTORY = "a", "b", "factory"


class SlotError(EmulatorError):
    """A change that the slots cannot take now."""


class DamagedError(SlotError):
    """The image that is to boot is not what was installed; `version` is what it was."""

    def __init__(self, version: str, slot: str) -> None:
        super().__init__(f"{version} in slot {slot} is not what was installed")
        self.version = version


class Return(StrEnum):
    """Where command 202 may send the charger back to."""

    PREVIOUS = "previous"
    FACTORY = "factory"


@dataclass(frozen=True, slots=True)
class Image:
    """What is known of the image in a slot: its security counter, the version of each component that it brought, its
    length, and its SHA-256 in hex. The last is empty for what production has put in, of which no byte is in flash."""

    version: str
    counter: int
    components: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """An image that does not boot any more: UNCONFIRMED, DAMAGED, or FLASH if flash cannot remember its trial."""

    version: str
    reason: UpdateReason


@dataclass(frozen=True, slots=True)
class Booted:
    """What a boot started. `given_up`: what this boot, or one before it, has given up and `Slots.told` not heard of."""

    version: str
    slot: str
    given_up: GivenUp | None = None
    components: Mapping[str, str] = field(default_factory=dict)

    @property
    def rolled_back(self) -> bool:
        """Whether another image was to run."""
        return self.given_up is not None


@dataclass(frozen=True, slots=True)
class _Record:
    """What flash remembers: the slot to rely on, the image in A and B, the slot that was relied on before, one that
    still has to prove itself, and one that was given up, until that is told."""

    active: str
    images: Mapping[str, Image]
    previous: str | None = None
    pending: str | None = None
    tried: bool = False
    given_up: GivenUp | None = None


class Slots:
    """The bookkeeping of the slots in flash. An ordinary boot writes nothing, to spare the flash.

    Whatever writes raises FlashError when flash does not take it, and then nothing has changed.
    """

    __slots__ = ("_booted", "_factory", "_flash", "_record")

    def __init__(self, flash: Flash, firmware: Firmware) -> None:
        self._flash = flash
        self._factory = Image(firmware.version, firmware.security_counter)
        self._record = _decode(flash.get(KEY)) or _Record(A, {A: self._factory})
        self._booted = self._run(self._record.active)

    def boot(self) -> Booted:
        """Power-on: choose the slot to run. A pending image is tried once; if it was not confirmed it is given up.

        So it is when it is not what was installed, or flash cannot remember the trial: what boots then is what is
        relied on. No FlashError.
        """
        record = self._record
        if record.pending is None:
            self._booted = self._run(record.active)
        elif (reason := self._objection(record, record.pending)) is None:
            self._booted = self._run(record.pending)
        else:
            given_up = GivenUp(self._image(record.pending).version, reason)
            self._saved(replace(record, pending=None, tried=False, given_up=given_up))
            self._booted = replace(self._run(record.active), given_up=given_up)
        return self._booted

    def told(self) -> None:
        """It is written down elsewhere what was given up: no later boot is to speak of it. No FlashError."""
        if self._record.given_up is not None:
            self._saved(replace(self._record, given_up=None))

    @property
    def running(self) -> Booted:
        """What the last `boot` started; before the first, the slot that is relied on."""
        return self._booted

    @property
    def counter(self) -> int:
        """The highest security counter that was ever relied on. Images with a lower one are refused."""
        kept = self._flash.get(COUNTER_KEY) or b""
        return max(self._image(self._record.active).counter, self._factory.counter, _number(kept))

    @property
    def pending(self) -> bool:
        """Whether the running image still has to be confirmed. Until then the other slot must not be touched."""
        return self._booted.slot != self._record.active

    @property
    def inactive(self) -> str:
        """The slot that an update goes into: A or B, whichever does not run; from the factory image, the older."""
        if self._booted.slot == FACTORY:
            return B if self._record.previous == A else A
        return B if self._booted.slot == A else A

    @property
    def previous(self) -> Image | None:
        """The image that was relied on before this one; None: there was none, or an update has taken its slot."""
        slot = self._record.previous
        return None if slot is None else self._image(slot)

    @property
    def factory(self) -> Image:
        """The image that production has put in; nothing ever replaces it."""
        return self._factory

    def blob(self, slot: str) -> str:
        """Name of the flash blob that holds the image of a slot."""
        return f"firmware.{slot}"

    def confirm(self) -> None:
        """The running image works: rely on it from now on."""
        if not self.pending:
            return
        record, slot = self._record, self._booted.slot
        counter = max(self.counter, self._image(slot).counter)
        if counter > self.counter:
            self._flash.put(COUNTER_KEY, str(counter).encode())
        self._save(replace(record, active=slot, previous=record.active, pending=None, tried=False))

    def discard(self) -> None:
        """The inactive slot is about to be overwritten: what lies there must not boot. SlotError while `pending`."""
        self._require_confirmed()
        record, slot = self._record, self.inactive
        images = {name: image for name, image in record.images.items() if name != slot}
        previous = None if record.previous == slot else record.previous
        without = replace(record, images=images, previous=previous, pending=None, tried=False)
        if without != record:
            self._save(without)

    def install(self, image: Image) -> None:
        """A verified image is complete in the inactive slot: boot it next. SlotError while `pending`."""
        self._require_confirmed()
        images = {**self._record.images, self.inactive: image}
        previous = None if self._record.previous == self.inactive else self._record.previous
        self._save(replace(self._record, images=images, previous=previous, pending=self.inactive, tried=False))

    def go_back(self, to: Return) -> Image:
        """Boot an older image next (command 202), which has to prove itself like a new one. `counter` stays.

        SlotError: there is none, it runs already, or the running one is not confirmed. DamagedError: it is not what
        was installed.
        """
        self._require_confirmed()
        slot = self._record.previous if to is Return.PREVIOUS else FACTORY
        if slot is None:
            raise SlotError("there is no previous image")
        if slot == self._booted.slot:
            raise SlotError("the factory image runs already")
        if not self._intact(slot):
            raise DamagedError(self._image(slot).version, slot)
        self._save(replace(self._record, pending=slot, tried=False))
        return self._image(slot)

    def _image(self, slot: str) -> Image:
        return self._factory if slot == FACTORY else self._record.images[slot]

    def _objection(self, record: _Record, pending: str) -> UpdateReason | None:
        """Why the image on trial is not to boot; None: it is, and flash remembers that it was."""
        if record.tried:
            return UpdateReason.UNCONFIRMED
        if not self._intact(pending):
            return UpdateReason.DAMAGED
        return None if self._saved(replace(record, tried=True)) else UpdateReason.FLASH

    def _intact(self, slot: str) -> bool:
        image, blob, digest = self._image(slot), self.blob(slot), hashlib.sha256()
        if not image.sha256:
            return True  # as production has put it in
        if self._flash.blob_size(blob) != image.size_bytes:
            return False
        for offset in range(0, image.size_bytes, HASHED_BYTES):
            digest.update(self._flash.blob_read(blob, offset, HASHED_BYTES))
        return digest.hexdigest() == image.sha256

    def _run(self, slot: str) -> Booted:
        image = self._image(slot)
        return Booted(image.version, slot, self._record.given_up, image.components)

    def _require_confirmed(self) -> None:
        if self.pending:
            raise SlotError(f"{self._booted.version} in slot {self._booted.slot} is not confirmed yet")

    def _saved(self, record: _Record) -> bool:
        try:
            self._save(record)
        except FlashError:
            return False
        return True

    def _save(self, record: _Record) -> None:
        self._flash.put(KEY, json.dumps(asdict(record), sort_keys=True).encode())
        self._record = record


def _decode(data: bytes | None) -> _Record | None:
    """The record in flash; None when there is none or it is damaged, which means factory state."""
    if data is None:
        return None
    try:
        raw = json.loads(data)
        images = {str(slot): _image(image) for slot, image in raw["images"].items()}
        given_up = _given_up(raw["given_up"])
        record = _Record(raw["active"], images, raw["previous"], raw["pending"], bool(raw["tried"]), given_up)
        bootable = {*images, FACTORY}
        known = record.active in bootable and {record.pending, record.previous} <= {None, *bootable}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if known and images.keys() <= {A, B} else None


def _image(raw: Any) -> Image:
    components = {str(name): str(version) for name, version in raw["components"].items()}
    return Image(str(raw["version"]), int(raw["counter"]), components, int(raw["size_bytes"]), str(raw["sha256"]))


def _given_up(raw: Any) -> GivenUp | None:
    return None if raw is None else GivenUp(str(raw["version"]), UpdateReason(raw["reason"]))


def _number(text: bytes) -> int:
    return int(text) if text.isdigit() and len(text) <= COUNTER_DIGITS_MAX else 0

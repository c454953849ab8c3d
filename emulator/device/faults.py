"""What can be wrong with the charger itself."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from emulator.boot.roots import BUNDLE_KEY
from emulator.errors import UsageError
from emulator.faults import Condition, Undo
from emulator.flash.api import FlashError
from emulator.flash.faulty import Cut, CutDevice, WearingDevice
from emulator.flash.store import FlashStore
from emulator.slots import Slots

if TYPE_CHECKING:
    from emulator.device.charger import Charger

JUMP_MAX_S = 1.5e9  # invented; 47 years
DRIFT_MAX_PPM = 100_000.0  # invented; more than two hours a day
OFF_MAX_S = 86_400.0
CLOCK_YEARS = range(1970, 2100)  # invented; a clock of 32-bit Unix seconds, and of two-digit years, can show them


@dataclass(frozen=True, kw_only=True)
class DeviceFault(Condition):
    """A fault of one charger. `for_s` takes it back by itself."""

    def inject(self, charger: "Charger") -> Undo:
        """`strike`, if it is this charger that is meant. UsageError: it is not, or cannot be struck so."""
        if self.who not in ("*", charger.spec.serial):
            raise UsageError(f"who: {self.who!r}: this charger is {charger.spec.serial}")
        return self.strike(charger)

    def strike(self, charger: "Charger") -> Undo:
        """Do the harm; the result takes it back and may be called twice."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class WrongKey(DeviceFault):
    """Logs in with a key that is not the one of its production, from the next login on (M5)."""

    kind: ClassVar[str] = "device.wrong_key"

    def strike(self, charger: "Charger") -> Undo:
        charger.use_key(hashlib.sha256(b"not the key of " + charger.spec.serial.encode()).digest())
        return lambda: charger.use_key(charger.spec.key)


@dataclass(frozen=True, kw_only=True)
class RtcJump(DeviceFault):
    """The clock moves by `by_s` seconds, unnoticed (M9). Only NTP takes it back.

    UsageError for a jump out of `CLOCK_YEARS`.
    """

    kind: ClassVar[str] = "device.rtc_jump"
    by_s: Annotated[float, Field(ge=-JUMP_MAX_S, le=JUMP_MAX_S)]

    def strike(self, charger: "Charger") -> Undo:
        year = (charger.env.rtc.now() + timedelta(seconds=self.by_s)).year
        if year not in CLOCK_YEARS:
            raise UsageError(f"by_s: the clock would show the year {year}")
        charger.env.rtc.jump(self.by_s)
        return lambda: None


@dataclass(frozen=True, kw_only=True)
class RtcLost(DeviceFault):
    """The clock is lost: it shows the build time of the firmware, untrusted (M9). Only NTP takes it back."""

    kind: ClassVar[str] = "device.rtc_lost"

    def strike(self, charger: "Charger") -> Undo:
        charger.env.rtc.lose()
        return lambda: None


@dataclass(frozen=True, kw_only=True)
class RtcBattery(DeviceFault):
    """The clock's battery is flat: each power cut loses the clock (M9). A reboot does not."""

    kind: ClassVar[str] = "device.rtc_battery"

    def strike(self, charger: "Charger") -> Undo:
        charger.env.rtc.battery_flat = True

        def replace() -> None:
            charger.env.rtc.battery_flat = False

        return replace


@dataclass(frozen=True, kw_only=True)
class RtcDrift(DeviceFault):
    """The clock gains `ppm` microseconds more per second than it did, loses them if negative (M9)."""

    kind: ClassVar[str] = "device.rtc_drift"
    ppm: Annotated[float, Field(ge=-DRIFT_MAX_PPM, le=DRIFT_MAX_PPM)]

    def strike(self, charger: "Charger") -> Undo:
        charger.env.rtc.hasten(self.ppm)
        pending = [charger.env.rtc.hasten]

        def cure() -> None:
            if pending:
                pending.pop()(-self.ppm)

        return cure


@dataclass(frozen=True, kw_only=True)
class PowerCut(DeviceFault):
    """The mains are gone for `for_s` seconds, or until taken back; RAM is lost, flash and the car stay."""

    kind: ClassVar[str] = "device.power_cut"

    def strike(self, charger: "Charger") -> Undo:
        charger.cut_power()
        pending = [charger.restore_power]

        def restore() -> None:
            if pending:
                pending.pop()()

        return restore


@dataclass(frozen=True, kw_only=True)
class BundleLost(DeviceFault):
    """The trust bundle is gone from flash, which the next boot finds out (M4). Only a fetch brings one back."""

    kind: ClassVar[str] = "device.bundle_lost"

    def strike(self, charger: "Charger") -> Undo:
        charger.env.flash.delete(BUNDLE_KEY)
        return lambda: None


@dataclass(frozen=True, kw_only=True)
class BundleDamaged(DeviceFault):
    """A bit of the trust bundle in flash has flipped, which the next boot finds out (M4). Only a fetch repairs it."""

    kind: ClassVar[str] = "device.bundle_damaged"

    def strike(self, charger: "Charger") -> Undo:
        stored = charger.env.flash.get(BUNDLE_KEY)
        if stored is None:
            raise UsageError("there is no trust bundle in flash")
        middle = len(stored) // 2
        damaged = stored[:middle] + bytes([stored[middle] ^ 1]) + stored[middle + 1 :]
        charger.env.flash.put(BUNDLE_KEY, damaged)
        return lambda: None


@dataclass(frozen=True, kw_only=True)
class MainboardStuck(DeviceFault):
    """The mainboard takes no other firmware, so an update that brings one is never confirmed (M6)."""

    kind: ClassVar[str] = "device.mainboard_stuck"

    def strike(self, charger: "Charger") -> Undo:
        charger.updates.mainboard.stuck = True

        def loosen() -> None:
            charger.updates.mainboard.stuck = False

        return loosen


@dataclass(frozen=True, kw_only=True)
class SlotDamaged(DeviceFault):
    """A bit of the firmware image in a slot has flipped, which its trial finds out, or command 202 before that (M6).

    ``inactive`` is the slot that is not relied on: it holds the image that was installed last, or the previous one.
    UsageError: nothing was ever written there; what production has put in cannot be damaged.
    """

    kind: ClassVar[str] = "device.slot_damaged"
    slot: Literal["inactive", "a", "b"] = "inactive"

    def strike(self, charger: "Charger") -> Undo:
        flash, slots = charger.env.flash, Slots(charger.env.flash, charger.spec.profile.firmware)
        slot = slots.inactive if self.slot == "inactive" else self.slot
        blob = slots.blob(slot)
        if not (size_bytes := flash.blob_size(blob)):
            raise UsageError(f"slot: there is no image in slot {slot}")
        middle = size_bytes // 2
        (byte,) = flash.blob_read(blob, middle, 1)
        try:
            flash.blob_write(blob, middle, bytes((byte ^ 1,)))
        except FlashError as error:
            raise UsageError(f"slot: {error}") from None
        return lambda: None


class FlashFault(DeviceFault):
    """A fault of the chip that flash is on."""

    def strike(self, charger: "Charger") -> Undo:
        if not isinstance(charger.env.flash, FlashStore):
            raise UsageError("this charger's flash is not on a chip")
        return self.spoil(charger, charger.env.flash)

    def spoil(self, charger: "Charger", flash: FlashStore) -> Undo:
        """Do the harm; the result takes it back and may be called twice."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class FlashFull(FlashFault):
    """Something else has filled flash: no value can be stored, and no image. What is there stays (invented)."""

    kind: ClassVar[str] = "device.flash_full"

    def spoil(self, charger: "Charger", flash: FlashStore) -> Undo:
        flash.log.reserved += flash.log.room

        def clear() -> None:
            flash.log.reserved = 0

        return clear


@dataclass(frozen=True, kw_only=True)
class FlashWorn(FlashFault):
    """Flash is worn out: every sector refuses to be written. What is there can still be read (invented)."""

    kind: ClassVar[str] = "device.flash_worn"

    def spoil(self, charger: "Charger", flash: FlashStore) -> Undo:
        chip = flash.device
        worn = flash.device = WearingDevice(chip, bad=range(chip.sectors))

        def replace() -> None:
            if flash.device is worn:
                flash.device = chip
                flash.mount()

        return replace


@dataclass(frozen=True, kw_only=True)
class PowerCutAtWrite(FlashFault):
    """The mains fail at the `write`-th write to flash from now on, of which `landed` happens; they are back in `off_s`.

    A write is a program or an erase of a sector. 1 is the next; `landed` is a share of its bytes. `for_s` only takes
    back what has not happened yet.
    """

    kind: ClassVar[str] = "device.power_cut_at_write"
    write: Annotated[int, Field(ge=1)]
    landed: Annotated[float, Field(ge=0, le=1)] = 0.5
    off_s: Annotated[float, Field(gt=0, le=OFF_MAX_S)] = 10.0

    def spoil(self, charger: "Charger", flash: FlashStore) -> Undo:
        chip = flash.device

        def die() -> None:
            charger.cut_power()
            asyncio.get_running_loop().call_later(self.off_s, revive)

        def revive() -> None:
            flash.device = chip
            charger.restore_power()

        dying = flash.device = CutDevice(chip, Cut(self.write, self.landed), die)

        def spare() -> None:
            if flash.device is dying and not dying.dead:
                flash.device = chip

        return spare


FAULTS: Mapping[str, type[DeviceFault]] = {
    fault.kind: fault
    for fault in (
        *(WrongKey, RtcJump, RtcLost, RtcBattery, RtcDrift),
        *(BundleLost, BundleDamaged, PowerCut, MainboardStuck, SlotDamaged),
        *(FlashFull, FlashWorn, PowerCutAtWrite),
    )
}
"""Kind -> fault."""

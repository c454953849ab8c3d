"""The last stage: an image that has reached the hub and has the mainboard in step is good (M6)."""

from emulator.boot.outcome import Degraded, Outcome, Passed, Why
from emulator.boot.state import Boot
from emulator.flash.api import FlashError
from emulator.wire.update_reason import UpdateReason


async def firmware(boot: Boot) -> Outcome:
    """Bring the mainboard in step, then confirm an image on trial: the hub is reached. Else it is given up (M6)."""
    running = boot.slots.running
    boot.notes = {"version": running.version, "slot": running.slot}
    if not boot.mainboard.in_step(running):
        followed = await boot.mainboard.follow(running)
        boot.notes["mainboard"] = boot.mainboard.version
        if not followed:
            return _unconfirmed(boot, "the mainboard does not take what belongs to it")
    if boot.slots.pending:
        try:
            boot.slots.confirm()
        except FlashError as error:
            return _unconfirmed(boot, str(error))
        boot.image_updates.apply(running.version, boot.env.rtc.now())
        boot.notes["confirmed"] = True
    if running.given_up is not None:
        damaged = running.given_up.reason is UpdateReason.DAMAGED
        return Degraded(Why.FIRMWARE_DAMAGED if damaged else Why.FIRMWARE_ROLLED_BACK, running.version)
    return Passed(running.version)


def _unconfirmed(boot: Boot, detail: str) -> Outcome:
    """An image on trial is given up by starting again; one that is relied on goes on as it is."""
    if boot.slots.pending:
        boot.reboot(f"firmware {boot.slots.running.version} not confirmed: {detail}")
    return Degraded(Why.FIRMWARE_UNCONFIRMED, detail)

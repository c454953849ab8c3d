"""The last stage: an image that has reached the hub is good (M6)."""

from emulator.boot.outcome import Degraded, Outcome, Passed, Why
from emulator.boot.state import Boot


async def firmware(boot: Boot) -> Outcome:
    """An image that has reached the hub is good: confirm it. After a rollback, say so (M6)."""
    running = boot.slots.running
    boot.notes = {"version": running.version, "slot": running.slot}
    if boot.slots.pending:
        boot.slots.confirm()
        boot.notes["confirmed"] = True
    if running.rolled_back:
        return Degraded(Why.FIRMWARE_ROLLED_BACK, running.version)
    return Passed(running.version)

"""The mainboard's own firmware: the computer module brings it in step with the image that runs (manual row M6).

Before that is done a new image is not confirmed, so that the two never part for good: whichever image is relied on in
the end, its boot brings the mainboard in step with it (zaptec.md section 14). How long that takes is invented.
"""

import asyncio

from emulator.flash.api import Flash, kept
from emulator.profile import Firmware
from emulator.slots import Booted
from emulator.wire.manifest import Component

KEY = "mainboard.version"
VERSION_MAX_BYTES = 64


class Mainboard:
    """Which firmware the mainboard has. `stuck`: it does not take another one."""

    __slots__ = ("_firmware", "_flash", "stuck")

    def __init__(self, flash: Flash, firmware: Firmware) -> None:
        self._flash = flash
        self._firmware = firmware
        self.stuck = False

    @property
    def version(self) -> str:
        """What runs there."""
        stored = self._flash.get(KEY)
        if stored is None or len(stored) > VERSION_MAX_BYTES or not stored.isascii():
            return self._firmware.mainboard_version
        return stored.decode("ascii")

    def in_step(self, running: Booted) -> bool:
        """Whether it has what belongs to the image that runs."""
        return self.version == self._wanted(running)

    async def follow(self, running: Booted) -> bool:
        """Give it what belongs to the image that runs. False: it did not take it."""
        if self.in_step(running):
            return True
        await asyncio.sleep(self._firmware.mainboard_sync_s)
        return not self.stuck and kept(self._flash, KEY, self._wanted(running).encode())

    def _wanted(self, running: Booted) -> str:
        return running.components.get(Component.MAINBOARD.value, self._firmware.mainboard_version)

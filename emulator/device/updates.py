"""Which firmware the charger is to run: orders to update, the way back, and what becomes of an image on trial."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.boot.image_updates import ImageUpdates
from emulator.boot.mainboard import Mainboard
from emulator.device.outbox import Outbox
from emulator.device.update_order import UpdateOrder, When
from emulator.device.upgrade import tell_not_back, tell_rolled_back
from emulator.env import Env
from emulator.flash.api import FlashError
from emulator.profile import Firmware
from emulator.slots import DamagedError, Image, Return, SlotError, Slots
from emulator.wire.update_reason import UpdateReason

if TYPE_CHECKING:
    from emulator.device.life import Life


class Updates:
    """What the charger keeps about its firmware beside the slots.

    `free` gives the life that could begin an update now; None: off, or an update or a reboot is under way.
    """

    __slots__ = ("_car", "_env", "_free", "_outbox", "images", "mainboard", "order")

    def __init__(
        self,
        env: Env,
        firmware: Firmware,
        outbox: Outbox,
        *,
        free: Callable[[], "Life | None"],
        car: Callable[[], bool],
    ) -> None:
        self._env = env
        self._outbox = outbox
        self._free = free
        self._car = car
        self.order = UpdateOrder(env.flash)
        self.mainboard = Mainboard(env.flash, firmware)
        self.images = ImageUpdates(env.flash)

    def when_free(self) -> None:
        """Update now, or when the car has left. Nothing happens while an update is under way."""
        if not self._car():
            self.now()
        elif self._free() is not None:
            self.order.give(When.CAR_GONE)

    def now(self) -> bool:
        """Update now. False: it is not the time for it."""
        if (life := self._free()) is None:
            return False
        self.order.give(When.NOW)
        life.start_update()
        return True

    def car_gone(self) -> None:
        """The car has left: what has waited for that begins."""
        if self.order.when is When.CAR_GONE:
            self.now()

    def resume(self) -> None:
        """Go on with an order that a reboot has interrupted."""
        waits = self.order.when is When.CAR_GONE and self._car()
        if self.order.when is not None and not waits and (life := self._free()) is not None:
            life.start_update()

    def go_back(self, to: Return) -> Image | None:
        """Have an older image boot next. None: there is none, or it is not the time for it.

        Of one that is damaged the cloud is told.
        """
        if (life := self._free()) is None:
            return None
        try:
            image = life.boot.slots.go_back(to)
        except (SlotError, FlashError) as error:
            self._env.trace.emit("device.not_back", to=to.value, detail=str(error))
            if isinstance(error, DamagedError):
                self.images.fail(error.version, self._env.rtc.now(), UpdateReason.DAMAGED.value)
                tell_not_back(self._outbox, self._env, error)
                life.wake()
            return None
        self.order.drop()
        return image

    def booted(self, slots: Slots) -> None:
        """Drop the order of an update that boots now; tell of an image that was given up.

        If the power fails in the middle of that, the next boot tells of it once more.
        """
        running = slots.running
        if slots.pending:
            self.order.drop()
        if running.given_up is not None:
            self.images.fail(running.given_up.version, self._env.rtc.now(), running.given_up.reason.value)
            tell_rolled_back(self._outbox, self._env, running.version, running.given_up)
            slots.told()

"""The order to update, kept in flash until it is carried out: no reboot and no power cut in the middle loses it."""

import json
from enum import StrEnum

from emulator.flash.api import Flash, forgotten, kept

KEY = "firmware.order"
TRIES_MAX = 8
"""After so many updates that began and never came to an end, the order is dropped: whatever they do, it kills them."""


class When(StrEnum):
    """When an update is to begin."""

    NOW = "now"
    CAR_GONE = "car_gone"


class UpdateOrder:
    """At most one order. `number` goes up with each that is given, so that an old one cannot take a new one along."""

    __slots__ = ("_flash", "_tries", "number", "when")

    def __init__(self, flash: Flash) -> None:
        self._flash = flash
        self._tries = 0
        self.number = 0
        self.when: When | None = None
        """When to carry it out; None: there is no order."""

    def recall(self) -> None:
        """Take what flash holds; an order that is damaged, or was begun too often, counts as none."""
        self.when, self._tries = None, 0
        try:
            raw = json.loads(self._flash.get(KEY) or b"{}")
            when, tries = When(raw["when"]), int(raw["tries"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        if tries < TRIES_MAX:
            self.when, self._tries = when, tries
        else:
            self.drop()

    def give(self, when: When) -> None:
        """Order an update. What flash does not take is forgotten by the next reboot."""
        self.when, self._tries = when, 0
        self.number += 1
        self._keep()

    def begin(self) -> int:
        """An update begins, now; its number for `carried_out`."""
        self.when = When.NOW
        self._tries += 1
        self._keep()
        return self.number

    def settle(self, number: int) -> None:
        """The update of this number is over. Flash keeps the order until everybody is told: see `carried_out`."""
        if number == self.number:
            self.when = None

    def carried_out(self, number: int) -> None:
        """The update of this number is over, and its end told. Nothing happens if another one was ordered."""
        if number == self.number:
            self.drop()

    def drop(self) -> None:
        """There is nothing to do any more."""
        if self.when is not None or self._flash.get(KEY) is not None:
            self.when = None
            forgotten(self._flash, KEY)

    def _keep(self) -> None:
        kept(self._flash, KEY, json.dumps({"when": self.when, "tries": self._tries}).encode())

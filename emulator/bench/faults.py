"""The faults that were injected at the bench: at their owners, and by number here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from emulator.bench.errors import Conflict, Missing
from emulator.device.charger import Charger
from emulator.device.faults import FAULTS as DEVICE_FAULTS
from emulator.errors import UsageError
from emulator.faults import Undo
from emulator.net.surroundings import FAULTS as SITE_FAULTS
from emulator.net.surroundings import Surroundings

FAULTS_MAX = 256


@dataclass(frozen=True, slots=True)
class _Injected:
    fault: Mapping[str, Any]
    undo: Undo
    until: float


class Faults:
    """Faults of one charger, its link and its site. `now` is monotonic seconds.

    A fault is listed until it is healed or its `for_s` is over, used up or not.
    """

    def __init__(self, charger: Charger, surroundings: Surroundings, now: Callable[[], float]) -> None:
        self._charger = charger
        self._surroundings = surroundings
        self._now = now
        self._count = 0
        self._injected: dict[int, _Injected] = {}

    def inject(self, fault: Mapping[str, Any]) -> int:
        """Make a fault active; its number, from 1.

        UsageError names the key at fault. Conflict: there are `FAULTS_MAX`.
        """
        self._forget_expired()
        if len(self._injected) >= FAULTS_MAX:
            raise Conflict(f"faults: more than {FAULTS_MAX} are active; delete some")
        undo = self._owner(fault)(fault, where="body")
        for_s = fault.get("for_s")
        self._count += 1
        self._injected[self._count] = _Injected(fault, undo, inf if for_s is None else self._now() + for_s)
        return self._count

    def listed(self) -> dict[int, Mapping[str, Any]]:
        """What is wrong now, by number."""
        self._forget_expired()
        return {number: each.fault for number, each in self._injected.items()}

    def heal(self, number: int) -> None:
        """Take a fault back. Missing: there is none, or it is over."""
        self._forget_expired()
        injected = self._injected.pop(number, None)
        if injected is None:
            raise Missing(f"fault {number}: no such fault, or it is over")
        injected.undo()

    def heal_all(self) -> list[int]:
        """Take all of them back; their numbers."""
        numbers = list(self.listed())
        for number in numbers:
            self.heal(number)
        return numbers

    def _owner(self, fault: Mapping[str, Any]) -> Callable[..., Undo]:
        kind = fault.get("kind")
        if isinstance(kind, str) and kind in SITE_FAULTS:
            return self._surroundings.inject
        if isinstance(kind, str) and kind in DEVICE_FAULTS:
            return self._charger.inject
        known = ", ".join(sorted((*SITE_FAULTS, *DEVICE_FAULTS)))
        raise UsageError(
            f"body: kind: {kind!r} is none of the charger's, its link's or its site's; those of services are injected"
            f" at the control API of the cloud; known here are {known}"
        )

    def _forget_expired(self) -> None:
        """A fault takes itself back when its time is over; only the entry is left."""
        now = self._now()
        for number in [number for number, each in self._injected.items() if now >= each.until]:
            del self._injected[number]

"""Faults of some chargers of a fleet: whom they strike, and how it is done."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from random import Random
from typing import Any

from emulator.device.charger import Charger
from emulator.device.faults import FAULTS as DEVICE_FAULTS
from emulator.errors import UsageError
from emulator.faults import Fault, fault_from
from emulator.net.api import Host
from emulator.net.link_faults import FAULTS
from emulator.net.place import Place, Setup
from emulator.net.surroundings import Surroundings

LINK_FAULTS: Mapping[str, type[Fault]] = {fault.kind: fault for fault in FAULTS}
WHERE = "--fault"

FaultData = dict[str, Any]
"""A fault as `fault_from` takes it."""


@dataclass(frozen=True, slots=True)
class FleetFault:
    """A fault of the chargers themselves or of their links. It strikes this share of the fleet, or the serial `who`."""

    fault: FaultData = field(hash=False)
    """Its kind and the values of its own; not whom it is about."""
    share: Fraction = Fraction(1)
    who: str | None = None


def fleet_fault(text: str) -> FleetFault:
    """Read ``{"kind": "device.flash_worn", "share": 0.02}``. UsageError names the key at fault."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(f"{WHERE} {text[:80]}: not JSON") from None
    if not isinstance(data, dict):
        raise UsageError(f"{WHERE} {text[:80]}: must be a JSON object")
    if "share" in data and "who" in data:
        raise UsageError(f"{WHERE}: share: and who: give one of them")
    share = _share(data.pop("share", 1))
    fault_from(data, {**DEVICE_FAULTS, **LINK_FAULTS}, where=WHERE)
    who = data.pop("who", "*")
    return FleetFault(data, share, None if who == "*" else who)


def _share(value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise UsageError(f"{WHERE}: share: must be over 0, and 1 at most")
    return Fraction(str(value))


def struck(faults: Sequence[FleetFault], serials: Sequence[str], seed: int) -> dict[str, list[FaultData]]:
    """What is wrong with whom, by serial; each fault draws its own chargers, the same ones for the same seed.

    A share is rounded up. UsageError: a fault is about a charger that is not there.
    """
    wrong: dict[str, list[FaultData]] = {}
    for number, each in enumerate(faults):
        for serial in _whom(each, f"{seed}/{number}/{each.fault['kind']}", serials):
            wrong.setdefault(serial, []).append(each.fault)
    return wrong


def _whom(each: FleetFault, lot: str, serials: Sequence[str]) -> Sequence[str]:
    if each.who is not None:
        if each.who not in serials:
            raise UsageError(f"{WHERE}: who: {each.who[:64]!r} is not in this fleet")
        return (each.who,)
    lots = sorted(serials, key=lambda serial: hashlib.sha256(f"{lot}/{serial}".encode()).digest())
    return lots[: ceil(each.share * len(lots))]


class Breakage:
    """Breaks chargers of one process. Only those whose link breaks have one that can: the others cost nothing more."""

    def __init__(self, faults: Mapping[str, Sequence[FaultData]], seed: str, now: Callable[[], float]) -> None:
        """`faults` by serial; `now` is monotonic seconds."""
        self._faults = faults
        self._seed = seed
        self._now = now
        self._sites: dict[str, Surroundings] = {}
        """Each has its own, or a big fleet would have more faults at one place than that takes."""

    def around(self, host: Host) -> Host:
        """The host of a charger, behind a link if that is to break."""
        serial = host.name
        if not any(fault["kind"] in LINK_FAULTS for fault in self._faults.get(serial, ())):
            return host

        def rng(purpose: str) -> Random:
            return Random(f"{self._seed}/{serial}/{purpose}")  # noqa: S311 - repeatable, never for secrets

        site = self._sites[serial] = Surroundings(Setup(), rng, self._now, names={})
        return site.around(host, serial, Place())

    def strike(self, charger: Charger) -> None:
        """Break a charger that is about to be switched on."""
        serial = charger.spec.serial
        for fault in self._faults.get(serial, ()):
            inject = self._sites[serial].inject if fault["kind"] in LINK_FAULTS else charger.inject
            inject(fault, where=WHERE)

"""A fault, from its description to all services that it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_stub.service import Service
from emulator.errors import UsageError
from emulator.faults import Injected, fault_from
from emulator.net.surroundings import FAMILIES

ELSEWHERE = FAMILIES | {"device"}
"""Families of faults that strike chargers and the way to them."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault at all instances of a service that it is about. Calling it takes the fault back: it is an `Undo`."""

    parts: Sequence[Injected]

    def __call__(self) -> None:
        for part in self.parts:
            part()

    @property
    def active(self) -> bool:
        """Not taken back, not used up everywhere, and its time is not over."""
        return any(part.active for part in self.parts)


def strike(by_name: Mapping[str, Sequence[Service]], data: Mapping[str, Any], *, where: str) -> Strike:
    """Make a fault active at the services that its family names. UsageError starts with `where`."""
    kind = data.get("kind", "")
    family = str(kind).partition(".")[0]
    if family in ELSEWHERE:
        raise UsageError(f"{where}: kind: {kind!r} strikes chargers, and the cloud has none: inject it where they run")
    services = by_name.get(family)
    if not (services and services[0].FAULTS):
        raise UsageError(f"{where}: kind: {kind!r}: no service has faults of this family")
    fault = fault_from(data, {fault.kind: fault for fault in services[0].FAULTS}, where=where)
    struck: list[Injected] = []
    try:
        for service in services:
            struck.append(service.inject(fault))
    except UsageError as error:
        Strike(struck)()
        raise UsageError(f"{where}: {error}") from None
    return Strike(struck)

"""Everything between the chargers of a site and the internet: their links, the router, and what can break there."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from emulator.errors import UsageError
from emulator.faults import Fault, FaultSet, Undo, fault_from
from emulator.local import Mode
from emulator.net import link, site
from emulator.net.api import Host
from emulator.net.bearer import Bearer, Cable
from emulator.net.link import Link
from emulator.net.place import Place, Setup
from emulator.net.shaped import ShapedHost
from emulator.net.site import Firewall

FAULTS: Mapping[str, type[Fault]] = {fault.kind: fault for fault in (*link.FAULTS, *site.FAULTS)}
"""Kind -> fault, of all that strikes between charger and internet."""

FAMILIES = frozenset(kind.partition(".")[0] for kind in FAULTS)


class Surroundings:
    """One site. `rng` gives a random source for a purpose, `names` maps host names that faults may use to addresses."""

    def __init__(
        self, setup: Setup, rng: Callable[[str], Random], now: Callable[[], float], names: Mapping[str, str]
    ) -> None:
        self._setup = setup
        self._rng = rng
        self._now = now
        self._links: dict[str, Link] = {}
        self._faults = FaultSet(rng("links"), now)
        self._firewall = Firewall(rng("firewall"), now, names)

    def around(self, host: Host, serial: str, place: Place) -> Host:
        """The host of one charger as it is at its place: behind its link and the site's router."""
        self._links[serial] = found = Link(
            serial, self._bearers(serial, place), self._faults, self._rng(f"{serial}/link"), self._now
        )
        return ShapedHost(host, firewall=self._firewall, link=found)

    def inject(self, data: Mapping[str, Any], *, where: str) -> Undo:
        """Make a fault active, for chargers yet to come too. UsageError starts with `where`."""
        fault = fault_from(data, FAULTS, where=where)
        try:
            undo = self._firewall.inject(fault) if isinstance(fault, site.Block) else self._faults.inject(fault)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        self._check_links()

        def heal() -> None:
            undo()
            self._check_links()

        return heal

    def _bearers(self, serial: str, place: Place) -> Mapping[Mode, Bearer]:
        return dict.fromkeys(Mode, Cable())

    def _check_links(self) -> None:
        for each in self._links.values():
            each.check()

"""Everything between the chargers of a site and the internet: their links, the router, and what can break there."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from emulator.errors import UsageError
from emulator.faults import Fault, FaultSet, Undo, fault_from
from emulator.local import FACTORY, Local, Mode
from emulator.net import link_faults, lte_cell, plc_site, site, wifi_air
from emulator.net.api import Host
from emulator.net.bearer import Bearer, Cable
from emulator.net.detour import Appliances
from emulator.net.link import Link
from emulator.net.lte import Lte
from emulator.net.place import Place, Setup
from emulator.net.plc import PlcModem, PowerLines
from emulator.net.plc_gateway import ChargerUplink, LentBearer, StandingUplink, Uplink
from emulator.net.plc_site import PlcGateway
from emulator.net.route import Lan
from emulator.net.shaped import ShapedHost
from emulator.net.site import Site
from emulator.net.wifi import Wifi
from emulator.net.wifi_air import Air

FAULTS: Mapping[str, type[Fault]] = {
    fault.kind: fault
    for fault in (*link_faults.FAULTS, *wifi_air.FAULTS, *lte_cell.FAULTS, *plc_site.FAULTS, *site.FAULTS)
}
"""Kind -> fault, of all that strikes between charger and internet."""

FAMILIES = frozenset(kind.partition(".")[0] for kind in FAULTS)


class Surroundings:
    """One site. `rng` gives a random source for a purpose, `names` maps host names that faults may use to addresses.

    `appliances` are the machines of the site that faults may send connections to, `lan` is its network and `cell` that
    of the operator.
    """

    def __init__(
        self,
        setup: Setup,
        rng: Callable[[str], Random],
        now: Callable[[], float],
        names: Mapping[str, tuple[str, ...]],
        appliances: Appliances | None = None,
        *,
        lan: Lan | None = None,
        cell: Lan | None = None,
    ) -> None:
        self._setup = setup
        self._rng = rng
        self._now = now
        self._links: dict[str, Link] = {}
        self._faults = FaultSet(rng("links"), now)
        self._air = Air(setup.wifi, self._faults, rng, now())
        self._power_lines = PowerLines(setup.plc, self._faults, self._uplink)
        self._site = Site(rng("site"), now, names, router=setup.router, appliances=appliances, lan=lan)
        self._operator = Site(rng("operator"), now, names, lan=cell)

    def around(self, host: Host, serial: str, place: Place) -> Host:
        """The host of one charger as it is at its place: behind its link and the site's router."""
        self._links[serial] = found = Link(
            serial, self._bearers(serial, place), self._faults, self._rng(f"{serial}/link"), self._now
        )
        return ShapedHost(host, site=self._site, link=found, operator=self._operator)

    def inject(self, data: Mapping[str, Any], *, where: str) -> Undo:
        """Make a fault active, for chargers yet to come too. UsageError starts with `where`."""
        fault = fault_from(data, FAULTS, where=where)
        try:
            undo = self._site.inject(fault) if isinstance(fault, site.FAULTS) else self._faults.inject(fault)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        self._check_links()

        def heal() -> None:
            undo()
            self._check_links()

        return heal

    def cause(self, serial: str) -> str:
        """Why the link of a charger really did not come up the last time; empty: it did. UsageError: no such charger.

        The site knows it, the charger cannot: it tells a wrong network name, channel 13 and 5 GHz apart.
        """
        if serial not in self._links:
            raise UsageError(f"{serial}: no such charger")
        return self._links[serial].cause

    @property
    def strangers_mb(self) -> float:
        """What strangers on the site's Wi-Fi have used of its data so far (M13)."""
        return self._air.strangers_mb(self._now())

    def _bearers(self, serial: str, place: Place) -> Mapping[Mode, Bearer]:
        def used_bytes() -> int:
            return self._links[serial].carried_bytes[Mode.LTE]

        bearers: dict[Mode, Bearer] = {
            Mode.ETHERNET: Cable(),
            Mode.WIFI: Wifi(serial, place.wifi, self._air),
            Mode.LTE: Lte(serial, place.lte, self._setup.lte, self._faults, used_bytes, self._now()),
            Mode.PLC: PlcModem(serial, place.plc, self._power_lines, self._rng),
        }
        uplink = ChargerUplink()
        if not self._power_lines.staff(serial, uplink):
            return bearers

        def lost() -> None:
            self._check_links(but=serial)

        return {mode: LentBearer(bearer, mode, uplink, lost) for mode, bearer in bearers.items()}

    def _uplink(self, gateway: PlcGateway) -> Uplink:
        """The way to the router of a PLC gateway that is none of the chargers here."""
        bearer = Wifi(gateway.name, gateway.wifi, self._air) if gateway.uplink is Mode.WIFI else Cable()
        return StandingUplink(bearer, gateway.uplink, self._credentials())

    def _credentials(self) -> Local:
        """What an installer sets in a charger of this site."""
        for ap in self._setup.wifi.access_points:
            return FACTORY.with_changes({"ssid": ap.ssid, "password": ap.password})
        return FACTORY

    def _check_links(self, but: str = "") -> None:
        for serial, each in self._links.items():
            if serial != but:
                each.check()

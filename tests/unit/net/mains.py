"""Power lines in a time of their own, with gateways whose Wi-Fi does as it is told."""

from random import Random
from typing import Any

from emulator.errors import NetReason
from emulator.faults import FaultSet, Undo, fault_from
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import WIRED, Carrier
from emulator.net.bearer import Attached, NotAttached
from emulator.net.params import DOWN, LAN, LinkParams
from emulator.net.plc import JOIN_S, PlcModem, PowerLines
from emulator.net.plc_gateway import StandingUplink, Uplink
from emulator.net.plc_site import FAULTS, PlcGateway, PlcPlace, PlcSite

NODE = "ZPR000001"
KEY = "a-key-of-the-site"
OTHER_KEY = "a-key-of-another"
LOCAL = FACTORY.with_changes({"mode": "plc", "plc_key": KEY})
TABLE = {fault.kind: fault for fault in FAULTS}
DAY_S = 86_400.0


class Radio:
    """The Wi-Fi of a gateway: as good as its `line`, there while `refused` is None."""

    def __init__(self, line: LinkParams = LAN) -> None:
        self.line = line
        self.refused: NetReason | None = None
        self.attached = False

    def attach(self, local: Local, now: float) -> Attached | NotAttached:
        self.attached = self.refused is None
        return Attached(2.0, WIRED) if self.refused is None else NotAttached(3.0, self.refused)

    def detach(self, now: float, *, power_cycle: bool = False) -> None:
        self.attached = False

    def carrier(self, now: float) -> Carrier | None:
        return WIRED if self.params(now).up else None

    def params(self, now: float) -> LinkParams:
        return self.line if self.attached and self.refused is None else DOWN

    def next_change(self, now: float) -> float | None:
        return None


class Site:
    """Power lines in a time of their own; `radios` are those of the gateways, by name."""

    def __init__(self, *gateways: PlcGateway, grid: str = "tn") -> None:
        self.now = 0.0
        self.faults = FaultSet(Random(1), lambda: self.now)
        self.radios: dict[str, Radio] = {}
        site = PlcSite().with_changes({"grid": grid, "gateways": gateways}, where="site")
        self.lines = PowerLines(site, self.faults, self._uplink)

    def _uplink(self, gateway: PlcGateway) -> Uplink:
        self.radios[gateway.name] = radio = Radio()
        return StandingUplink(radio, gateway.uplink, FACTORY)

    def modem(self, serial: str = NODE, seed: int = 1, **place: Any) -> PlcModem:
        spot = PlcPlace().with_changes(place, where="place")
        return PlcModem(serial, spot, self.lines, lambda purpose: Random(f"{seed}/{purpose}"))

    def inject(self, kind: str, **values: Any) -> Undo:
        return self.faults.inject(fault_from({"kind": kind, **values}, TABLE))


def gateway(name: str = "gateway-1", **values: Any) -> PlcGateway:
    return PlcGateway().with_changes({"name": name, "key": KEY, **values}, where="gateway")


def refused(modem: PlcModem, site: Site, local: Local = LOCAL) -> NotAttached:
    result = modem.attach(local, site.now)
    assert isinstance(result, NotAttached)
    assert (modem.params(site.now), modem.carrier(site.now), modem.next_change(site.now)) == (DOWN, None, None)
    return result


def joined(modem: PlcModem, site: Site, local: Local = LOCAL) -> str:
    """The gateway that it is on now."""
    result = modem.attach(local, site.now)
    assert isinstance(result, Attached)
    assert result.after_s == JOIN_S
    assert modem.params(site.now).up
    return on(modem, site)


def on(modem: PlcModem, site: Site) -> str:
    carrier = modem.carrier(site.now)
    assert carrier is not None and carrier.mode is Mode.PLC and carrier.signal_dbm is None
    return carrier.detail.partition(",")[0]

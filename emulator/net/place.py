"""A site as data: what all its chargers share (`Setup`), and what one of them finds where it hangs (`Place`)."""

from typing import Annotated, Literal

from pydantic import Field

from emulator.net.lte_cell import LtePlace, LteSite
from emulator.net.plc_site import PlcPlace, PlcSite
from emulator.net.table import Table
from emulator.net.wifi_site import WifiPlace, WifiSite


class Place(Table):
    """What one charger finds where it hangs."""

    wifi: WifiPlace = WifiPlace()
    lte: LtePlace = LtePlace()
    plc: PlcPlace = PlcPlace()


class Router(Table):
    """The site's router, and how long it remembers a connection that says nothing."""

    nat: bool = True
    """It translates addresses (M1); without, nothing is ever forgotten."""
    tcp_idle_s: Annotated[float, Field(gt=0)] = 7440.0  # RFC 5382 section 5: at least 2 hours 4 minutes
    udp_idle_s: Annotated[float, Field(gt=0)] = 300.0  # RFC 4787 section 4.3: 5 minutes or more are recommended
    stray: Literal["drop", "reset", "adopt"] = "drop"
    """What a TCP packet of a forgotten connection meets: silence, a RST to the charger, or a new row of the table."""


class Setup(Table):
    """What the chargers of a site share."""

    wifi: WifiSite = WifiSite()
    lte: LteSite = LteSite()
    plc: PlcSite = PlcSite()
    router: Router = Router()

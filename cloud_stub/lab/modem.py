"""The two wires of a charger in a lab: over LTE-M its packets go to the operator, else to the site."""

from collections.abc import Callable

from cloud_stub.lab.segments import CELL, LAN
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import Host
from emulator.net.around import HostAround


class ModemHost(HostAround):
    """A host whose interface `plug` puts into another network (`LAN` or `CELL`) when its link says so."""

    __slots__ = ("_plug", "_plugged")

    def __init__(self, host: Host, plug: Callable[[str], None]) -> None:
        super().__init__(host)
        self._plug = plug
        self._plugged = LAN

    async def link_up(self, mode: Mode = Mode.ETHERNET, local: Local = FACTORY) -> None:
        """As the host inside, in the network that the mode leads to."""
        wanted = CELL if mode is Mode.LTE else LAN
        if wanted != self._plugged:
            self._plug(wanted)
            self._plugged = wanted
        await self._host.link_up(mode, local)

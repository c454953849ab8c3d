"""The two wires of a charger in a lab: over LTE-M its packets go to the operator, else to the site."""

from collections.abc import Callable

from cloud_stub.lab.segments import CELL, LAN
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import Address, Carrier, Closer, Datagrams, Host, Interface, Stream


class ModemHost:
    """A host whose interface `plug` puts into another network (`LAN` or `CELL`) when its link says so."""

    def __init__(self, host: Host, plug: Callable[[str], None]) -> None:
        self._host = host
        self._plug = plug
        self._plugged = LAN

    @property
    def name(self) -> str:
        return self._host.name

    @property
    def link_address(self) -> str:
        """As the host inside."""
        return self._host.link_address

    @property
    def interface(self) -> Interface | None:
        return self._host.interface

    @property
    def carrier(self) -> Carrier | None:
        return self._host.carrier

    async def link_up(self, mode: Mode = Mode.ETHERNET, local: Local = FACTORY) -> None:
        """As the host inside, in the network that the mode leads to."""
        wanted = CELL if mode is Mode.LTE else LAN
        if wanted != self._plugged:
            self._plug(wanted)
            self._plugged = wanted
        await self._host.link_up(mode, local)

    def link_down(self, *, power_cycle: bool = False) -> None:
        """As the host inside."""
        self._host.link_down(power_cycle=power_cycle)

    def set_interface(self, interface: Interface | None) -> None:
        """As the host inside."""
        self._host.set_interface(interface)

    async def address_in_use(self, address: str) -> bool:
        """As the host inside."""
        return await self._host.address_in_use(address)

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        """As the host inside."""
        return await self._host.udp(port, broadcast=broadcast)

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        """As the host inside."""
        return await self._host.connect(to, timeout_s=timeout_s)

    async def listen(self, port: int, serve: Callable[[Stream], None]) -> Closer:
        """As the host inside."""
        return await self._host.listen(port, serve)

"""A host behind a link and a router, in virtual time, for tests."""

import asyncio
from random import Random

from emulator.faults import FaultSet, Undo
from emulator.local import FACTORY, Mode
from emulator.net.api import Address, Interface
from emulator.net.bearer import Bearer, Cable
from emulator.net.link import Link
from emulator.net.link_faults import LinkFault
from emulator.net.params import LAN, LinkParams
from emulator.net.reader import Reader
from emulator.net.shaped import ShapedHost
from emulator.net.sim import SimNet
from emulator.net.site import Site as SiteNetwork

HUB = Address("10.0.2.1", 8883)
DNS = Address("10.0.0.53", 53)


class Site:
    """A hub and a DNS server, and a charger behind a link and a firewall."""

    def __init__(self, params: LinkParams = LAN, bearer: Bearer | None = None) -> None:
        time = asyncio.get_running_loop().time
        self.net = SimNet(Random(1), latency_s=0.0)
        self.hub, self.dns = self.net.host("hub", HUB.host), self.net.host("dns", DNS.host)
        self.firewall = SiteNetwork(Random(2), time, {"hub.example": (HUB.host,)})
        self.faults = FaultSet(Random(3), time)
        self.link = Link("charger", {Mode.ETHERNET: bearer or Cable(params)}, self.faults, Random(3), time)
        self.link.attach(Mode.ETHERNET, FACTORY)
        self.charger = ShapedHost(self.net.host("charger"), site=self.firewall, link=self.link)
        self.charger.set_interface(Interface("10.0.16.1"))
        self.accepted: list[Reader] = []

    def strike(self, fault: LinkFault) -> Undo:
        """Break the link."""
        undo = self.faults.inject(fault)
        self.link.check()
        return undo

    async def connected(self) -> tuple[Reader, Reader]:
        """A connection to the hub: the charger's end and the hub's."""
        await self.hub.listen(HUB.port, lambda stream: self.accepted.append(Reader(stream)))
        ours = Reader(await self.charger.connect(HUB, timeout_s=30))
        return ours, self.accepted[0]


async def read_exactly(reader: Reader, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += await reader.read(65536, 600)
    return received

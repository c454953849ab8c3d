"""Composition root: the lab as a world for chargers in this process, on true ports and addresses."""

import asyncio
from collections.abc import Mapping
from typing import Any

import uvloop

from cloud_stub.backbone import Backbone, backbone
from cloud_stub.bus.api import Bus
from cloud_stub.lab.modem import ModemHost
from cloud_stub.lab.nft import Translation
from cloud_stub.lab.segments import MACHINE_PORT
from cloud_stub.lab.site import LabSite
from cloud_stub.topology import Topology
from cloud_stub.worlds import OneProcessWorld
from emulator.clock import Utc, system_utc
from emulator.faults import Undo
from emulator.net.api import Host
from emulator.net.detour import Appliances
from emulator.net.place import Router
from emulator.net.surroundings import Surroundings
from emulator.remote import mac_of
from emulator.world import WorldOptions


class LabWorld(OneProcessWorld):
    """Network namespaces, a real router and real interfaces, with all machines of site and cloud in this process.

    Links are shaped beside the charger's sockets as in the other worlds, and so is what `nft_faults.IN_USER_SPACE`
    lists. Everything else that can be wrong with the site's router is its nftables'.
    """

    name = "lab"
    loop_factory = staticmethod(uvloop.new_event_loop)

    def __init__(self, options: WorldOptions) -> None:
        super().__init__(options)
        router = options.setup.router
        self._site = LabSite(
            lambda topology: topology.zone(self._profile.network),
            mac_of,
            router=router,
            translation=Translation.ONE_TO_ONE if router.nat else Translation.NONE,
            rng=self._rng("gateway"),
        )
        self._backbone: Backbone | None = None

    async def close(self) -> None:
        """Stop everything; the kernel takes the network away."""
        await super().close()
        if self._backbone is not None:
            await self._backbone.stop()
        self._backbone = None
        await self._site.close()

    def inject(self, fault: Mapping[str, Any], *, where: str) -> Undo:
        """Strike the router here, everything else as in any world."""
        if self._site.takes(fault):
            return self._site.inject(fault, where=where)
        return super().inject(fault, where=where)

    async def _build(self) -> tuple[Topology, Bus]:
        self._site.build()
        self._backbone = await backbone("auto")
        return self._site.topology, self._backbone.bus

    def _around(self, topology: Topology) -> Surroundings:
        """Links alone: the router is real, and so are the ways to it."""
        setup = self._options.setup.model_copy(update={"router": Router(nat=False)})
        appliances = Appliances(topology.portal, topology.proxy)
        now, zone = asyncio.get_running_loop().time, topology.zone(self._profile.network)
        return Surroundings(setup, self._rng, now, zone, appliances)

    def _utc(self) -> Utc:
        return system_utc

    def _service_host(self, name: str, address: str) -> Host:
        return self._site.service_host(name, address)

    def _captured(self, host: Host) -> Host:
        """As it is: there is a real wire to listen at, below its link."""
        return host

    def _charger_host(self, serial: str) -> Host:
        network = self._site.network
        namespace = network.charger(serial, mac_of(serial))
        if self._options.capture is not None:
            self._options.capture.sniff(MACHINE_PORT, system_utc, namespace=namespace, name=serial)
        return ModemHost(self._site.charger_host(serial, namespace), lambda bridge: network.plug(serial, bridge))


def lab_world(options: WorldOptions) -> LabWorld:
    """Entry point ``lab`` of the group ``emulator.worlds``."""
    return LabWorld(options)

"""One lab, whoever its chargers are: the network, its router, the machines of its services, and outside programs."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from cloud_stub.lab import outside, segments
from cloud_stub.lab.gateway import Breakage, Gateway
from cloud_stub.lab.network import LabNetwork
from cloud_stub.lab.nft import Translation, public_networks
from cloud_stub.lab.nft_faults import TAKEN
from cloud_stub.lab.programs import OutsideProgram, program_path
from cloud_stub.topology import Topology
from emulator.net.linux import LinuxHost
from emulator.net.namespace import Namespace
from emulator.net.place import Router

DNSMASQ_MACHINES = frozenset({"router", "dns-primary"})
"""Machines of ours that dnsmasq takes the place of."""


class LabSite:
    """Everything in namespaces of its own. `names` are the hosts that faults may name."""

    def __init__(
        self,
        names: Callable[[Topology], Mapping[str, tuple[str, ...]]],
        link_address: Callable[[str], str],
        *,
        router: Router,
        translation: Translation,
        rng: Random,
    ) -> None:
        public = segments.PUBLIC_PREFIX if translation is Translation.ONE_TO_ONE else ""
        self.topology = Topology(segments.LAN_PREFIX, outside=public)
        self.network = LabNetwork(self.topology, public_networks(self.topology, translation))
        self.programs: list[OutsideProgram] = []
        self._names = names
        self._link_address = link_address
        self._router = router
        self._translation = translation
        self._rng = rng
        self._gateway: Gateway | None = None
        self._hosts: list[LinuxHost] = []
        self._directory: Path | None = None

    def build(self) -> None:
        """Make the network and load the router's rules. UsageError: not root, or the machine lacks something."""
        program_path("nft", "nftables")
        self.network.build()
        self._gateway = Gateway(
            self.network[segments.ROUTER],
            self.topology,
            self._names(self.topology),
            self._link_address,
            router=self._router,
            translation=self._translation,
            rng=self._rng,
            now=asyncio.get_running_loop().time,
        )
        self._gateway.open()

    def takes(self, fault: Mapping[str, Any]) -> bool:
        """Whether this fault is the router's."""
        return self._gateway is not None and fault.get("kind") in TAKEN

    def inject(self, fault: Mapping[str, Any], *, where: str) -> Breakage:
        """Strike the router. UsageError starts with `where`."""
        assert self._gateway is not None  # noqa: S101 - `takes`
        return self._gateway.inject(fault, where=where)

    def service_host(self, name: str, address: str) -> LinuxHost:
        """The machine of a service, connected where its address belongs."""
        place = self.network.machine(name, address)
        return self._kept(LinuxHost(place.interface, name=name, namespace=place.namespace, address=place.address))

    def charger_host(self, serial: str, namespace: Namespace) -> LinuxHost:
        """The host of a charger of this process."""
        return self._kept(LinuxHost(segments.MACHINE_PORT, name=serial, namespace=namespace))

    async def start_dnsmasq(self) -> None:
        """DHCP and DNS on the router by dnsmasq. UsageError: there is none, or it does not start."""
        binary = program_path("dnsmasq", "dnsmasq-base")
        command = (binary, *outside.dnsmasq(self.topology))
        await self._start(OutsideProgram(self.network[segments.ROUTER], *command, ready=outside.DNSMASQ_READY))

    async def start_chronyd(self, label: str, address: str) -> None:
        """One time server by chronyd. UsageError as `start_dnsmasq`."""
        binary = program_path("chronyd", "chrony")
        machine = self.network.machine(f"ntp-{label}", address)
        command = (binary, *outside.chronyd(self._own_directory() / f"ntp-{label}.pid"))
        await self._start(OutsideProgram(machine.namespace, *command, ready=outside.CHRONYD_READY))

    async def close(self) -> None:
        """End programs and hosts, and let the kernel take the network away. May be called twice."""
        while self.programs:
            await self.programs.pop().stop()
        if self._gateway is not None:
            self._gateway.close()
        while self._hosts:
            self._hosts.pop().close()
        self.network.close()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _start(self, program: OutsideProgram) -> None:
        self.programs.append(program)
        await program.start()

    def _kept(self, host: LinuxHost) -> LinuxHost:
        self._hosts.append(host)
        return host

    def _own_directory(self) -> Path:
        self._directory = self._directory or Path(tempfile.mkdtemp(prefix="zaptec-lab-"))
        return self._directory

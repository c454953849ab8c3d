"""Composition root: whole worlds, with the site, the cloud and the chargers in one process."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any

import uvloop

from certs.make import default_dir, ensure
from cloud_stub.backbone import Backbone, backbone
from cloud_stub.bus import Bus, LocalBus
from cloud_stub.cloud import Cloud, CloudParts
from cloud_stub.topology import Topology
from emulator.clock import Rtc, SimLoop, Utc, system_utc
from emulator.env import Env, Spec
from emulator.errors import UsageError
from emulator.faults import Fault, Undo, fault_from
from emulator.flash import MemoryFlash
from emulator.net import link, site
from emulator.net.api import Closer, Host
from emulator.net.link import Link, LinkFault
from emulator.net.loopback import LoopbackHost, claim_plan
from emulator.net.shaped import ShapedHost
from emulator.net.sim import SimNet
from emulator.net.site import Firewall
from emulator.profile import load_profile
from emulator.remote import mac_of
from emulator.trace import Trace
from emulator.world import LoopFactory, WorldOptions

SIM_EPOCH = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
"""When simulated time begins: inside the validity of every good certificate."""

SIM_PREFIX = "10.20"
KEY_BYTES = 32

SITE_FAULTS = {fault.kind: fault for fault in (*link.FAULTS, *site.FAULTS)}


class _LinkStrike:
    """A link fault on all links that it is about, those of chargers yet to come included."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._undos: list[Undo] = []

    def hit(self, serial: str, charger_link: Link) -> None:
        if isinstance(self._fault, LinkFault) and self._fault.who in ("*", serial):
            self._undos.append(charger_link.inject(self._fault))

    def heal(self) -> None:
        while self._undos:
            self._undos.pop()()


class OneProcessWorld:
    """A site and a cloud around chargers. Subclasses say on which network and by which clock."""

    name: str
    loop_factory: LoopFactory | None = None

    def __init__(self, options: WorldOptions) -> None:
        self._options = options
        self._certs = ensure(options.certs_dir or default_dir())
        self._profile = load_profile()
        self._links: dict[str, Link] = {}
        self._link_strikes: list[_LinkStrike] = []
        self._cloud: Cloud | None = None

    async def start(self) -> None:
        """Build the network and start every service."""
        topology, bus = await self._build()
        now = asyncio.get_running_loop().time
        names = {name: addresses[0] for name, addresses in topology.zone(self._profile.network).items()}
        self._firewall = Firewall(self._rng("firewall"), now, names)
        parts = CloudParts(
            certs=self._certs,
            profile=self._profile,
            topology=topology,
            bus=bus,
            secret=sha256(f"production/{self._options.seed}".encode()).digest(),
            seed=str(self._options.seed),
            utc=self._utc(),
            now=now,
        )
        self._cloud = Cloud(parts)
        await self._cloud.start(self._service_host)

    async def close(self) -> None:
        """Stop everything."""
        if self._cloud is not None:
            await self._cloud.stop()
            self._cloud = None

    @property
    def cloud(self) -> Cloud:
        """The running cloud. UsageError before `start`."""
        if self._cloud is None:
            raise UsageError(f"world {self.name}: not started")
        return self._cloud

    def produce(self, serial: str, changes: Mapping[str, Any] | None = None) -> tuple[Spec, Env]:
        """A new charger on the site's network, behind a link and the site's firewall of its own."""
        profile = self._profile.with_changes(dict(changes or {}), where=serial)
        device = self.cloud.registry.produce(serial)
        spec = Spec(serial, device.primary_key, profile, self._certs.roots_pem(), self._certs.firmware_public_pem())
        now = asyncio.get_running_loop().time
        rtc = Rtc(now, built_at=profile.firmware.built_at)
        trace = Trace(serial, self._options.sinks, now, lambda: rtc.now() if rtc.trusted else None)
        return spec, Env(self._shaped(serial), rtc, MemoryFlash(), trace, str(self._options.seed))

    def inject(self, fault: Mapping[str, Any], *, where: str) -> Undo:
        """Strike the link or firewall here, everything else in the cloud."""
        family = str(fault.get("kind", "")).partition(".")[0]
        if family not in ("link", "site"):
            return self.cloud.inject(fault, where=where)
        return self._strike_site(fault_from(fault, SITE_FAULTS, where=where))

    def history(self, service: str) -> list[dict[str, Any]]:
        """What a service saw."""
        return self.cloud.history(service)

    async def command(self, serial: str, command: int, payload: Any = None) -> tuple[int, Any]:
        """A direct method through the hub."""
        return await self.cloud.command(serial, command, payload)

    def offer_firmware(self, version: str, *, signer: str = "firmware") -> None:
        """What the firmware server hands out from now on."""
        self.cloud.offer_firmware(version, signer=signer)

    async def _build(self) -> tuple[Topology, Bus]:
        """Make the network and the bus."""
        raise NotImplementedError

    def _utc(self) -> Utc:
        """True time, as NTP and the hub have it."""
        raise NotImplementedError

    def _service_host(self, name: str, address: str) -> Host:
        raise NotImplementedError

    def _charger_host(self, serial: str) -> Host:
        raise NotImplementedError

    def _shaped(self, serial: str) -> Host:
        now = asyncio.get_running_loop().time
        self._links[serial] = Link(link.LAN, self._rng(f"{serial}/link"), now)
        for strike in self._link_strikes:
            strike.hit(serial, self._links[serial])
        return ShapedHost(self._charger_host(serial), firewall=self._firewall, link=self._links[serial])

    def _rng(self, purpose: str) -> Random:
        return Random(f"{self._options.seed}/{purpose}")  # noqa: S311 - repeatable, never for secrets

    def _strike_site(self, fault: Fault) -> Undo:
        if isinstance(fault, site.Block):
            return self._firewall.inject(fault)
        strike = _LinkStrike(fault)
        for serial, charger_link in self._links.items():
            strike.hit(serial, charger_link)
        self._link_strikes.append(strike)

        def undo() -> None:
            strike.heal()
            if strike in self._link_strikes:
                self._link_strikes.remove(strike)

        return undo


class SimWorld(OneProcessWorld):
    """Everything in memory and in virtual time: a day in a second, the same seed gives the same trace."""

    name = "sim"
    loop_factory = SimLoop

    async def _build(self) -> tuple[Topology, Bus]:
        self._net = SimNet(Random(f"{self._options.seed}/net"))  # noqa: S311 - repeatable, no secret
        return Topology(SIM_PREFIX), LocalBus()

    def _utc(self) -> Utc:
        now = asyncio.get_running_loop().time
        return lambda: SIM_EPOCH + timedelta(seconds=now())

    def _service_host(self, name: str, address: str) -> Host:
        segment = "site" if name == "router" else "internet"
        return self._net.host(name, address, segment=segment)

    def _charger_host(self, serial: str) -> Host:
        return self._net.host(serial, link_address=mac_of(serial))


class LoopbackWorld(OneProcessWorld):
    """Real sockets on 127.x.y.z in this process, as any user; Mosquitto behind the hub where it is installed."""

    name = "loopback"
    loop_factory = staticmethod(uvloop.new_event_loop)

    def __init__(self, options: WorldOptions) -> None:
        super().__init__(options)
        self._claim: Closer | None = None
        self._backbone: Backbone | None = None

    async def close(self) -> None:
        """Stop everything and free the addresses."""
        await super().close()
        if self._backbone is not None:
            await self._backbone.stop()
        if self._claim is not None:
            self._claim.close()
        self._backbone = self._claim = None

    async def _build(self) -> tuple[Topology, Bus]:
        self._plan, self._claim = claim_plan(Random())  # noqa: S311 - any free network will do
        self._backbone = await backbone("auto")
        return Topology(self._plan.prefix), self._backbone.bus

    def _utc(self) -> Utc:
        return system_utc

    def _service_host(self, name: str, address: str) -> Host:
        return LoopbackHost(self._plan, name, link_address=mac_of(name), address=address)

    def _charger_host(self, serial: str) -> Host:
        return LoopbackHost(self._plan, serial, link_address=mac_of(serial))


def sim_world(options: WorldOptions) -> OneProcessWorld:
    """Entry point ``sim`` of the group ``emulator.worlds``."""
    return SimWorld(options)


def loopback_world(options: WorldOptions) -> OneProcessWorld:
    """Entry point ``loopback`` of the group ``emulator.worlds``."""
    return LoopbackWorld(options)

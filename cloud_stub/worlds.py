"""Composition root: whole worlds, with the site, the cloud and the chargers in one process."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any

import uvloop

from certs.layout import Root
from certs.make import default_dir, ensure
from cloud_stub.backbone import Backbone, backbone
from cloud_stub.bus.api import Bus, LocalBus
from cloud_stub.cloud import Cloud, CloudParts
from cloud_stub.firmware.package import IMAGE_BYTES
from cloud_stub.state.database import State
from cloud_stub.topology import Topology
from emulator.clock import Rtc, SimLoop, Utc, system_utc
from emulator.env import Env, Spec
from emulator.errors import UsageError
from emulator.faults import Undo
from emulator.flash.pool import SectorPool
from emulator.flash.store import Layout
from emulator.local import FACTORY
from emulator.net.api import Closer, Host
from emulator.net.detour import Appliances
from emulator.net.loopback import LoopbackHost, claim_plan
from emulator.net.meter import DataMeter, ports_of
from emulator.net.metered import MeteredHost
from emulator.net.place import Place
from emulator.net.sim import OPERATOR, SimNet
from emulator.net.surroundings import FAMILIES, Surroundings
from emulator.profile import load_profile
from emulator.remote import mac_of, produced_flash
from emulator.trace import Trace
from emulator.world import LoopFactory, WorldOptions

SIM_EPOCH = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
"""When simulated time begins: inside the validity of every good certificate."""

SIM_PREFIX = "10.20"
KEY_BYTES = 32


class OneProcessWorld:
    """A site and a cloud around chargers. Subclasses say on which network and by which clock."""

    name: str
    loop_factory: LoopFactory | None = None

    def __init__(self, options: WorldOptions) -> None:
        self._options = options
        self._certs = ensure(options.certs_dir or default_dir())
        self._built_in_roots = self._certs.root_pem(Root.OLD)
        self._vendor_root = self._certs.root_pem(Root.VENDOR)
        self._bundle_key = self._certs.bundle_public_pem()
        self._profile = load_profile()
        self._cloud: Cloud | None = None
        self._state = State()
        self._pool = SectorPool()

    async def start(self) -> None:
        """Build the network and start every service."""
        topology, bus = await self._build()
        now = asyncio.get_running_loop().time
        self._surroundings = self._around(topology)
        parts = CloudParts(
            certs=self._certs,
            profile=self._profile,
            topology=topology,
            bus=bus,
            state=self._state,
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
        self._state.close()

    @property
    def cloud(self) -> Cloud:
        """The running cloud. UsageError before `start`."""
        if self._cloud is None:
            raise UsageError(f"world {self.name}: not started")
        return self._cloud

    @property
    def surroundings(self) -> Surroundings:
        """The site around the chargers. UsageError before `start`."""
        if self._cloud is None:
            raise UsageError(f"world {self.name}: not started")
        return self._surroundings

    def produce(
        self,
        serial: str,
        changes: Mapping[str, Any] | None = None,
        *,
        local: Mapping[str, Any] | None = None,
        place: Mapping[str, Any] | None = None,
    ) -> tuple[Spec, Env]:
        """A new charger at its place on the site's network."""
        profile = self._profile.with_changes(dict(changes or {}), where=serial)
        settings = FACTORY.with_changes(dict(local or {}), where=f"{serial}: local")
        spot = Place().with_changes(dict(place or {}), where=f"{serial}: place")
        around = self._captured(self._surroundings.around(self._charger_host(serial), serial, spot))
        host = MeteredHost(around, meter := DataMeter(), ports_of(profile.network))
        device = self.cloud.registry.produce(serial)
        spec = Spec(
            serial,
            device.primary_key,
            profile,
            self._built_in_roots,
            self._certs.firmware_public_pem(),
            settings,
            vendor_root_pem=self._vendor_root,
            bundle_key_pem=self._bundle_key,
        )
        now = asyncio.get_running_loop().time
        drift_ppm = profile.clock.drift_ppm(self._rng(f"{serial}/clock"))
        rtc = Rtc(now, built_at=profile.firmware.built_at, drift_ppm=drift_ppm)
        trace = Trace(serial, self._options.sinks, now, lambda: rtc.now() if rtc.trusted else None)
        layout = Layout(slot_bytes=profile.firmware.slot_bytes)
        flash = produced_flash(self.cloud.bundle.newest.reply, layout, pool=self._pool)
        capture = self._options.capture
        keylog = None if capture is None else capture.keylog
        return spec, Env(host, rtc, flash, trace, str(self._options.seed), meter, keylog)

    def inject(self, fault: Mapping[str, Any], *, where: str) -> Undo:
        """Strike the site and the links here, everything else in the cloud."""
        if str(fault.get("kind", "")).partition(".")[0] in FAMILIES:
            return self._surroundings.inject(fault, where=where)
        return self.cloud.inject(fault, where=where)

    def history(self, service: str) -> list[dict[str, Any]]:
        """What a service saw."""
        return self.cloud.history(service)

    async def command(self, serial: str, command: int, payload: Any = None) -> tuple[int, Any]:
        """A direct method through the hub."""
        return await self.cloud.command(serial, command, payload)

    def offer_firmware(self, version: str, *, signer: str = "firmware", size_bytes: int | None = None) -> None:
        """What the firmware server hands out from now on."""
        size = IMAGE_BYTES if size_bytes is None else size_bytes
        self.cloud.firmware.offer(version, signer=signer, size_bytes=size)

    def publish_bundle(self, roots: str, *, firmware_keys: Sequence[str] = (), revoked: Sequence[str] = ()) -> int:
        """Make a trust bundle with these roots, and this list of firmware keys, the newest."""
        return self.cloud.publish_bundle(roots, firmware_keys, revoked)

    async def _build(self) -> tuple[Topology, Bus]:
        """Make the network and the bus."""
        raise NotImplementedError

    def _around(self, topology: Topology) -> Surroundings:
        """The links of chargers, and the router of the site."""
        zone, appliances = topology.zone(self._profile.network), Appliances(topology.portal, topology.proxy)
        now, lan, cell = asyncio.get_running_loop().time, topology.lan, topology.cell
        return Surroundings(self._options.setup, self._rng, now, zone, appliances, lan=lan, cell=cell)

    def _utc(self) -> Utc:
        """True time, as NTP and the hub have it."""
        raise NotImplementedError

    def _service_host(self, name: str, address: str) -> Host:
        raise NotImplementedError

    def _charger_host(self, serial: str) -> Host:
        raise NotImplementedError

    def _captured(self, host: Host) -> Host:
        """The host of a charger behind its link; a capture that is wanted stands in front of it."""
        capture = self._options.capture
        return host if capture is None else capture.around(host, self._utc())

    def _rng(self, purpose: str) -> Random:
        return Random(f"{self._options.seed}/{purpose}")  # noqa: S311 - repeatable, never for secrets


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
        segment = {"router": "site", "operator": OPERATOR}.get(name, "internet")
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

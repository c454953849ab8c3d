"""``python -m cloud_stub lab up``: site, operator and internet in network namespaces, until it is told to stop."""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Literal

from certs.layout import CertsDir
from certs.make import default_dir, ensure
from cloud_stub.backbone import Backbone, BusChoice, backbone
from cloud_stub.cloud import Cloud, CloudParts
from cloud_stub.control_services import Strike
from cloud_stub.hub.settings import DEFAULTS, HubSettings
from cloud_stub.lab import segments
from cloud_stub.lab.nft import Translation
from cloud_stub.lab.running import claimed
from cloud_stub.lab.site import DNSMASQ_MACHINES, LabSite
from cloud_stub.listening import listening
from cloud_stub.production import policy_key, production_secret
from cloud_stub.state.database import FILE_NAME, State
from cloud_stub.stopping import cancel_on_signals
from cloud_stub.straight import StraightPlan
from cloud_stub.up import ANY_HOST, CONTROL_HOST, POLICY, TURN_S, Running, control_api, ready_line
from emulator.clock import system_utc
from emulator.errors import UsageError
from emulator.net.api import Address
from emulator.net.capture import NO_FILES, CaptureFiles, capturing
from emulator.net.place import Router
from emulator.profile import load_profile
from emulator.remote import mac_of

SERIAL_PREFIX = "ZPR"
CHARGERS_MAX = 250
"""Each takes a namespace, a wire and a descriptor; of bridge ports the kernel has 1023."""
BY_ADDRESS = frozenset({"dns", "ntp"})
"""Families of faults whose servers know a charger by its address alone."""


@dataclass(frozen=True, slots=True)
class LabOptions:
    """What ``cloud_stub lab up`` was asked for."""

    name: str | None = None
    """None: one that no other lab has."""
    site: Literal["dnsmasq", "ours"] = "dnsmasq"
    """Who gives addresses and names on the LAN."""
    time: Literal["chrony", "ours"] = "chrony"
    nat: Translation = Translation.ONE_TO_ONE
    chargers: int = 0
    """How many places for chargers are prepared, each a namespace with an interface on the LAN."""
    state: Path | None = None
    """As `cloud_stub.up.UpOptions.state`."""
    bus: BusChoice = "mosquitto"
    broker: Address | None = None
    control_host: str = CONTROL_HOST
    control_port: int = 0
    hub: HubSettings = DEFAULTS
    files: CaptureFiles = NO_FILES
    """Where the traffic of the LAN is recorded, as the router sees it, and the secrets of the cloud's TLS sessions."""


@dataclass(frozen=True)
class _Lab:
    name: str
    options: LabOptions
    site: LabSite
    running: Running
    chargers: Mapping[str, str]

    def ready(self) -> dict[str, Any]:
        """The ready line of a cloud, and where the namespaces are."""
        line = ready_line(self.running)
        del line["loopback"]  # everything is where it says it is
        if self.options.site == "dnsmasq":
            line["dns"] = line["dns"] | {"host": self.site.topology.router}
        others = {name: path for name, path in self.site.network.paths.items() if name not in self.chargers}
        return {
            **line,
            "lab": self.name,
            "interface": segments.MACHINE_PORT,
            "chargers": dict(self.chargers),
            "namespaces": others,
            "programs": [{"name": program.name, "pid": program.pid} for program in self.site.programs],
        }

    def inject(self, fault: Mapping[str, Any]) -> Strike:
        """Strike the router or the cloud. UsageError: a fault that nobody here has, or never finds its victim."""
        if self.site.takes(fault):
            return self.site.inject(fault, where="fault")
        family = str(fault.get("kind", "")).partition(".")[0]
        if family in BY_ADDRESS and fault.get("who", "*") != "*" and not self._knows_addresses():
            raise UsageError("fault: who: servers know chargers by address, for which --site ours and one-to-one --nat")
        return self.running.cloud.inject(fault, where="fault")

    async def end(self) -> str:
        """Why something has ended that the lab cannot do without."""
        broker = self.running.backbone.died
        deaths = [program.died for program in self.site.programs] + ([broker] if broker else [])
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        ended, _ = await asyncio.wait([*deaths, never], return_when=asyncio.FIRST_COMPLETED)
        return ended.pop().result()

    def _knows_addresses(self) -> bool:
        return self.options.site == "ours" and self.options.nat is not Translation.MASQUERADE


async def lab_up(options: LabOptions, say: Callable[[dict[str, Any]], None]) -> None:
    """Run a lab until SIGINT, SIGTERM or SIGHUP; `say` gets the ready line.

    UsageError or BusError when it cannot start, UsageError when a program of it dies, CancelledError when it was told
    to stop before it was ready. Everything is ended and removed in each case.
    """
    ready = asyncio.Event()
    cancel_on_signals()
    try:
        async with _lab(options) as lab:
            await asyncio.sleep(TURN_S)
            say(lab.ready())
            ready.set()
            raise UsageError(await lab.end())
    except asyncio.CancelledError:
        if not ready.is_set():
            raise


@asynccontextmanager
async def _lab(options: LabOptions) -> AsyncIterator[_Lab]:
    certs = ensure(options.state / "certs" if options.state else default_dir())
    secret = production_secret(options.state, secrets.token_bytes)
    seed = secrets.token_hex(8)
    async with AsyncExitStack() as stack:
        capture = stack.enter_context(capturing(options.files))
        name = options.name or f"lab-{seed[:6]}"
        await stack.enter_async_context(claimed(name))
        held = stack.enter_context(listening(options.control_host, options.control_port))
        site = _site(options, seed)
        stack.push_async_callback(site.close)
        site.build()
        if capture is not None:
            capture.sniff(segments.LAN_PORT, system_utc, namespace=site.network[segments.ROUTER], name="lan")
        spine = await backbone(options.bus, broker=options.broker, session=f"cloud-{seed}")
        stack.push_async_callback(spine.stop)
        state = stack.enter_context(closing(State(options.state / FILE_NAME if options.state else None)))
        parts = _parts(options, site, certs, secret, seed, spine, state)
        cloud = Cloud(parts if capture is None else replace(parts, keylog=capture.keylog))
        stack.push_async_callback(cloud.stop)
        await cloud.start(site.service_host)
        await _start_programs(options, site)
        host = CONTROL_HOST if options.control_host == ANY_HOST else options.control_host
        url = f"http://{host}:{held.getsockname()[1]}"
        policy = policy_key(secret, POLICY)
        running = Running(cloud, StraightPlan(), spine, certs, load_profile(), site.topology, url, policy)
        lab = _Lab(name, options, site, running, _places(options, site))
        await stack.enter_async_context(control_api(running, held, lab.inject, lab.ready))
        yield lab


def _site(options: LabOptions, seed: str) -> LabSite:
    network = load_profile().network
    return LabSite(
        lambda topology: topology.zone(network),
        _link_address,
        router=Router(nat=options.nat is not Translation.NONE),
        translation=options.nat,
        rng=Random(f"{seed}/gateway"),  # noqa: S311 - for faults, never for keys
    )


def _parts(
    options: LabOptions, site: LabSite, certs: CertsDir, secret: bytes, seed: str, spine: Backbone, state: State
) -> CloudParts:
    by_chrony = {f"ntp-{label}" for label in site.topology.ntp} if options.time == "chrony" else set()
    by_dnsmasq = DNSMASQ_MACHINES if options.site == "dnsmasq" else frozenset()
    return CloudParts(
        certs=certs,
        profile=load_profile(),
        topology=site.topology,
        bus=spine.bus,
        state=state,
        secret=secret,
        seed=seed,
        utc=system_utc,
        now=asyncio.get_running_loop().time,
        hub=options.hub,
        without=by_chrony | by_dnsmasq,
    )


async def _start_programs(options: LabOptions, site: LabSite) -> None:
    if options.time == "chrony":
        for label, address in site.topology.ntp.items():
            await site.start_chronyd(label, address)
    if options.site == "dnsmasq":
        await site.start_dnsmasq()


def _places(options: LabOptions, site: LabSite) -> dict[str, str]:
    """Serial of each charger to come, to the path of its namespace."""
    serials = [f"{SERIAL_PREFIX}{number:06d}" for number in range(1, options.chargers + 1)]
    return {serial: site.network.charger(serial, mac_of(serial)).path for serial in serials}


def _link_address(who: str) -> str:
    """Of a charger that faults name, by its serial or by its MAC address itself."""
    octets = who.lower().split(":")
    if len(octets) == 6 and all(len(octet) == 2 and set(octet) <= set("0123456789abcdef") for octet in octets):
        return ":".join(octets)
    return mac_of(who)


_FOR_PEOPLE = ("lab", "control", "interface", "chargers", "namespaces")


def print_lab(line: dict[str, Any], *, as_json: bool) -> None:
    """One JSON line, or what people need, without secrets."""
    if as_json:
        print(json.dumps(line), flush=True)
        return
    for key in _FOR_PEOPLE:
        if isinstance(line[key], dict):
            for name, path in line[key].items():
                print(f"{key:>12}  {name:<30} {path}")
        else:
            print(f"{key:>12}  {line[key]}")
    print("The lab is up. nsenter --net=PATH COMMAND goes there; Ctrl-C ends it.", file=sys.stderr, flush=True)

"""``python -m cloud_stub serve``: some services of a cloud at a real address, on their true ports.

So a cloud may be spread over machines or containers. What its processes share is the folder ``--state`` (the registry
and all else that the hub remembers, certificates, the production secret) and the Mosquitto. Each has a control API of
its own, which belongs on a network that chargers do not reach.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from random import Random
from typing import Any

from starlette.routing import Route
from starlette.types import ASGIApp

from certs.layout import CertsDir, Root
from certs.make import ensure
from cloud_stub.backbone import Backbone, backbone, lasting_backbone
from cloud_stub.bus.api import LocalBus
from cloud_stub.cloud import HTTPS, HUB, Cloud, CloudParts
from cloud_stub.control import Control
from cloud_stub.control_campaigns import CampaignRoutes, no_campaigns
from cloud_stub.control_services import ServiceControl, control_app, offer_routes
from cloud_stub.hub.settings import DEFAULTS, HubSettings
from cloud_stub.listening import listening, serving
from cloud_stub.production import policy_key, production_secret
from cloud_stub.service import Service
from cloud_stub.site.dns import DnsServer
from cloud_stub.site.ntp import NtpServer
from cloud_stub.staff import Staff
from cloud_stub.state.database import FILE_NAME, State
from cloud_stub.stopping import cancel_on_signals
from cloud_stub.straight import StraightPlan
from cloud_stub.strike import strike
from cloud_stub.topology import Topology
from cloud_stub.up import POLICY, TURN_S, clients, end_of_broker
from cloud_stub.zone import read_zone
from emulator.clock import system_utc
from emulator.errors import NetError, UsageError
from emulator.net.api import Address
from emulator.net.loopback import LoopbackHost
from emulator.profile import load_profile

NO_SITE = Topology("0.0")
"""There is no site here: what is left of a topology are the labels of servers on the internet."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What ``cloud_stub serve`` was asked for."""

    services: tuple[str, ...]
    """Out of `SERVICES`."""
    address: str
    """Where they all are; the machine has it."""
    control: Address
    """Where the control API listens. It has no login: leave it where only friends are."""
    state: Path | None = None
    """What hub and https of one cloud share."""
    broker: Address | None = None
    """A Mosquitto that runs already; None: the hub starts one of its own, and https has no campaigns."""
    workers: int = 0
    """How many processes share the hub's MQTT port; 0: the endpoint is in the main process."""
    zone: Path | None = None
    """What name servers know, as hosts(5); None: the addresses of the simulated internet."""
    hub: HubSettings = DEFAULTS


@dataclass(frozen=True)
class _Running:
    options: ServeOptions
    services: Mapping[str, Sequence[Service]]
    cloud: Cloud | None
    spine: Backbone | None
    certs: CertsDir | None
    control_url: str
    policy_key: str = ""


Make = Callable[[ServeOptions, Random], Service]


def _dns(label: str) -> Make:
    def make(options: ServeOptions, rng: Random) -> Service:
        zone = read_zone(options.zone) if options.zone else NO_SITE.zone(load_profile().network)
        return DnsServer(label=label, zone=zone, rng=rng, utc=system_utc, now=asyncio.get_running_loop().time)

    return make


def _ntp(label: str) -> Make:
    def make(options: ServeOptions, rng: Random) -> Service:
        return NtpServer(label=label, rng=rng, utc=system_utc, now=asyncio.get_running_loop().time)

    return make


SITE_SERVICES: Mapping[str, Make] = {
    **{f"dns-{label}": _dns(label) for label in NO_SITE.dns},
    **{f"ntp-{label}": _ntp(label) for label in NO_SITE.ntp},
}
"""Services that know nothing of a hub."""

SERVICES = (HUB, HTTPS, *SITE_SERVICES)
"""What ``--services`` may name."""


async def serve(options: ServeOptions, say: Callable[[dict[str, Any]], None]) -> None:
    """Run the services until SIGINT, SIGTERM or SIGHUP; `say` gets the ready line.

    UsageError or BusError when one cannot start, UsageError when a broker of our own dies, CancelledError when it was
    told to stop before it was ready.
    """
    ready = asyncio.Event()
    cancel_on_signals()
    _check(options)
    try:
        await _run(options, say, ready)
    except NetError as error:
        raise UsageError(f"--address {options.address}: {error.detail}") from None
    except asyncio.CancelledError:
        if not ready.is_set():
            raise


def print_running(line: dict[str, Any], *, as_json: bool) -> None:
    """The ready line as JSON, or for people, without secrets and long texts."""
    if as_json:
        print(json.dumps(line), flush=True)
        return
    for key in ("services", "address", "control"):
        print(f"{key:>8}  {', '.join(line[key]) if isinstance(line[key], list) else line[key]}")
    print("The services are up. Ctrl-C ends them.", file=sys.stderr, flush=True)


async def _run(options: ServeOptions, say: Callable[[dict[str, Any]], None], ready: asyncio.Event) -> None:
    held = listening(options.control.host, options.control.port, option=f"--control {options.control}")
    with held:
        url = f"http://{options.control.host}:{held.getsockname()[1]}"
        async with _running(options, url) as running, serving(_app(running), held):
            await asyncio.sleep(TURN_S)
            say(_ready_line(running))
            ready.set()
            await _end(running.spine)


def _check(options: ServeOptions) -> None:
    """UsageError for what cannot be."""
    for name in options.services:
        if name not in SERVICES:
            raise UsageError(f"--services {name}: no such service; there are {', '.join(SERVICES)}")
    try:
        IPv4Address(options.address)
    except AddressValueError:
        raise UsageError(f"--address {options.address}: no IPv4 address") from None
    if options.state is None and {HUB, HTTPS} & set(options.services):
        raise UsageError("--state: hub and https need the folder that they share")


@asynccontextmanager
async def _running(options: ServeOptions, control_url: str) -> AsyncIterator[_Running]:
    async with AsyncExitStack() as stack:
        seed, services = secrets.token_hex(8), dict[str, list[Service]]()
        host = LoopbackHost(StraightPlan(), "services", address=options.address)
        for name in (name for name in options.services if name in SITE_SERVICES):
            service = SITE_SERVICES[name](options, Random(f"{seed}/{name}"))  # noqa: S311 - for faults
            await service.start(host)
            stack.push_async_callback(service.stop)
            services.setdefault(service.name, []).append(service)
        if options.state is None:
            yield _Running(options, services, None, None, None, control_url)
            return
        certs, secret = ensure(options.state / "certs"), production_secret(options.state, secrets.token_bytes)
        spine = await _spine(options, options.state, seed, stack)
        cloud = await _cloud(options, certs, secret, seed, spine, stack)
        services |= cloud.services
        yield _Running(options, services, cloud, spine, certs, control_url, policy_key(secret, POLICY))


async def _spine(options: ServeOptions, state: Path, seed: str, stack: AsyncExitStack) -> Backbone | None:
    """The hub's bus; the lean client, because with the other one the main process cannot keep up with workers.

    None: it is not reached from here, because nobody has said where its broker is.
    """
    if HUB in options.services:
        spine = await backbone("lean", broker=options.broker, session=f"cloud-{seed}", state=state)
    elif options.broker is not None:
        spine = lasting_backbone(options.broker, session=f"https-{seed}", state=state)
    else:
        return None
    stack.push_async_callback(spine.stop)
    return spine


async def _cloud(
    options: ServeOptions, certs: CertsDir, secret: bytes, seed: str, spine: Backbone | None, stack: AsyncExitStack
) -> Cloud:
    assert options.state is not None  # noqa: S101 - `_check`
    plan, file = StraightPlan(), options.state / FILE_NAME
    workers = None
    if spine is not None and options.workers:
        staff = Staff(options.workers, plan, options.address, spine, file, certs, secret, seed, options.hub)
        workers = staff.workers_for()
    cloud = Cloud(
        CloudParts(
            certs=certs,
            profile=load_profile(),
            topology=NO_SITE,
            bus=spine.bus if spine is not None else LocalBus(),
            state=stack.enter_context(closing(State(file))),
            secret=secret,
            seed=seed,
            utc=system_utc,
            now=asyncio.get_running_loop().time,
            workers=workers,
            hub=options.hub,
            only={HUB, HTTPS} & set(options.services),
            deaf=spine is None,
        )
    )
    stack.push_async_callback(cloud.stop)
    await cloud.start(lambda name, address: LoopbackHost(plan, name, address=options.address))
    return cloud


def _app(running: _Running) -> ASGIApp:
    """Devices where the hub is, offers and campaigns where the firmware server is, histories and faults everywhere."""
    cloud, spine, services = running.cloud, running.spine, running.services
    inject = partial(strike, services, where="fault")
    pages: dict[str, Callable[[], Any]] = {"/ready": lambda: _ready_line(running)}
    routes = _firmware_routes(running)
    if cloud is None or spine is None or HUB not in running.options.services:
        return control_app([*ServiceControl(services, inject, pages).routes(), *routes])
    return Control(
        services=services,
        memory=cloud.memory,
        store=cloud.store,
        bus=spine.bus,
        invoke=cloud.methods.invoke,
        inject=inject,
        device_logs=cloud.device_logs,
        pages={**pages, "/clients": lambda: clients(cloud, spine)},
        routes=routes,
    ).app()


def _firmware_routes(running: _Running) -> list[Route]:
    cloud = running.cloud
    if cloud is None or HTTPS not in running.options.services:
        return no_campaigns("they are where the firmware server is, https")
    offers = offer_routes(lambda wanted: cloud.hand_out(**wanted.model_dump(exclude_none=True)), cloud.publish_bundle)
    if not cloud.has_campaigns:
        return [*offers, *no_campaigns("https needs --broker, the Mosquitto of its hub")]
    return [*offers, *CampaignRoutes(cloud.campaigns).routes()]


def _ready_line(running: _Running) -> dict[str, Any]:
    """What runs where. `service_connection_string` is a secret of this cloud."""
    options, network = running.options, load_profile().network
    line: dict[str, Any] = {
        "ready": True,
        "services": list(options.services),
        "address": options.address,
        "control": running.control_url,
    }
    if running.certs is not None and running.cloud is not None:
        line |= {
            "hub": network.hub_host,
            "ca": str(running.certs.roots_path),
            "anchors": _anchors(running.certs),
            "bundle": json.loads(running.cloud.bundle.newest.reply),
        }
    if HUB in options.services:
        line["service_connection_string"] = (
            f"HostName={network.hub_host};SharedAccessKeyName={POLICY};SharedAccessKey={running.policy_key}"
        )
    return line


def _anchors(certs: CertsDir) -> dict[str, str]:
    """What chargers of this production trust, as texts: they may run where the files are not."""
    return {
        "ca": certs.roots_pem(),
        "roots": certs.root_pem(Root.OLD),
        "vendor_root": certs.root_pem(Root.VENDOR),
        "firmware_key": certs.firmware_public_pem(),
        "bundle_key": certs.bundle_public_pem(),
    }


async def _end(spine: Backbone | None) -> None:
    """Wait for ever, or until the broker that we started has died for good: UsageError."""
    if spine is not None:
        raise UsageError(await end_of_broker(spine))
    await asyncio.get_running_loop().create_future()

"""``python -m cloud_stub up``: a cloud that runs until it is told to stop, on loopback, with its control API."""

import asyncio
import json
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from certs.layout import CertsDir, Root
from certs.make import default_dir, ensure
from cloud_stub.backbone import Backbone, BusChoice, backbone
from cloud_stub.cloud import Cloud, CloudParts, WorkersFor
from cloud_stub.control import Control
from cloud_stub.control_campaigns import CampaignRoutes
from cloud_stub.control_services import Inject, Page
from cloud_stub.hub.settings import DEFAULTS, HubSettings
from cloud_stub.listening import listening, serving
from cloud_stub.production import policy_key, production_secret
from cloud_stub.staff import Staff
from cloud_stub.state.database import FILE_NAME, State
from cloud_stub.stopping import cancel_on_signals
from cloud_stub.topology import Topology
from cloud_stub.workers.pool import Workers
from emulator.clock import system_utc
from emulator.errors import UsageError
from emulator.memory import resident_kib
from emulator.net.api import Address
from emulator.net.loopback import LoopbackHost, LoopbackPlan, claim_plan
from emulator.profile import Profile, load_profile

CONTROL_HOST, ANY_HOST = "127.0.0.1", "0.0.0.0"  # noqa: S104 - only compared with
POLICY = "iothubowner"
TURN_S = 0.001
"""A signal that came while the cloud was built is heard before the cloud is said to be ready."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What ``cloud_stub up`` was asked for."""

    state: Path | None = None
    """Where certificates, the production secret and what the hub remembers are kept.

    None: certificates in the user's cache, a new secret each time, and the hub forgets everything when it ends.
    """
    bus: BusChoice = "mosquitto"
    broker: Address | None = None
    control_host: str = CONTROL_HOST
    """Where the control API listens. It has no login: leave it on loopback unless the network is private."""
    control_port: int = 0
    single: bool = False
    """Use 127.0.0.1 alone, as where no other loopback address exists."""
    workers: int = 0
    """How many processes share the hub's MQTT port; 0: the endpoint is in the main process."""
    hub: HubSettings = DEFAULTS


@dataclass(frozen=True)
class Running:
    """A cloud that is up, and what its ready line tells of it. `control_url` is where its control API is."""

    cloud: Cloud
    plan: LoopbackPlan
    backbone: Backbone
    certs: CertsDir
    profile: Profile
    topology: Topology
    control_url: str
    policy_key: str


async def up(options: UpOptions, say: Callable[[dict[str, Any]], None]) -> None:
    """Run a cloud until SIGINT, SIGTERM or SIGHUP; `say` gets the ready line.

    UsageError or BusError when it cannot start, UsageError when its broker dies, CancelledError when it was told to
    stop before it was ready. Everything is ended and removed in each case.
    """
    ready = asyncio.Event()
    cancel_on_signals()
    try:
        await _run(options, say, ready)
    except asyncio.CancelledError:
        if not ready.is_set():
            raise


async def _run(options: UpOptions, say: Callable[[dict[str, Any]], None], ready: asyncio.Event) -> None:
    certs = ensure(options.state / "certs" if options.state else default_dir())
    secret = production_secret(options.state, secrets.token_bytes)
    async with _services(options, certs, secret) as (cloud, plan, spine, topology):
        held = listening(options.control_host, options.control_port)
        with held:
            host = CONTROL_HOST if options.control_host == ANY_HOST else options.control_host
            url = f"http://{host}:{held.getsockname()[1]}"
            running = Running(cloud, plan, spine, certs, load_profile(), topology, url, policy_key(secret, POLICY))
            strike = partial(cloud.inject, where="fault")
            async with control_api(running, held, strike, lambda: ready_line(running)):
                await asyncio.sleep(TURN_S)
                say(ready_line(running))
                ready.set()
                raise UsageError(await end_of_broker(spine))


def ready_line(running: Running) -> dict[str, Any]:
    """Where everything is, for people, tests and the fleet. `service_connection_string` is a secret of this cloud."""
    network, topology, plan = running.profile.network, running.topology, running.plan

    def at(host: str, port: int) -> dict[str, Any]:
        real = plan.real(Address(host, port))
        return {"host": real[0], "port": real[1]} if real else {}

    mosquitto = running.backbone.mosquitto
    return {
        "ready": True,
        "hub": network.hub_host,
        "mqtt": at(topology.hub, network.hub_port),
        "service": at(topology.hub, network.https_port),
        "https": at(topology.https(network)[network.devices_host], network.https_port),
        "dns": at(topology.dns["primary"], network.dns_port),
        "ntp": at(topology.ntp["a"], network.ntp_port),
        "dhcp": at(topology.router, 67),
        "ca": str(running.certs.roots_path),
        "roots": str(running.certs.root_file(Root.OLD)),
        "vendor_root": str(running.certs.root_file(Root.VENDOR)),
        "firmware_key": str(running.certs.firmware_public_path),
        "bundle_key": str(running.certs.bundle_public_path),
        "bundle": json.loads(running.cloud.bundle.newest.reply),
        "control": running.control_url,
        "service_connection_string": (
            f"HostName={network.hub_host};SharedAccessKeyName={POLICY};SharedAccessKey={running.policy_key}"
        ),
        "mosquitto": {"host": mosquitto.host, "port": mosquitto.port} if mosquitto else None,
        "loopback": plan.to_json(),
    }


@asynccontextmanager
async def _services(
    options: UpOptions, certs: CertsDir, secret: bytes
) -> AsyncIterator[tuple[Cloud, LoopbackPlan, Backbone, Topology]]:
    if options.workers and options.bus == "local":
        raise UsageError("--workers: processes meet at a Mosquitto; --bus local has none")
    # Any free network will do; a cloud that comes back should be where it was.
    plan, claim = claim_plan(Random(_place(options.state)), single=options.single)  # noqa: S311
    seed = secrets.token_hex(8)
    with closing(claim):
        spine = await backbone(
            _bus_choice(options), broker=options.broker, session=f"cloud-{seed}", state=options.state
        )
        try:
            with closing(State(_state_file(options, spine))) as state:
                topology = Topology(plan.prefix)
                cloud = Cloud(
                    CloudParts(
                        certs=certs,
                        profile=load_profile(),
                        topology=topology,
                        bus=spine.bus,
                        state=state,
                        secret=secret,
                        seed=seed,
                        utc=system_utc,
                        now=asyncio.get_running_loop().time,
                        workers=_workers_for(options, plan, spine, certs, secret, seed),
                        hub=options.hub,
                    )
                )
                try:
                    await cloud.start(lambda name, address: LoopbackHost(plan, name, address=address))
                    yield cloud, plan, spine, topology
                finally:
                    await cloud.stop()
        finally:
            await spine.stop()


def _place(state: Path | None) -> str | None:
    """What the choice of a network depends on; None: on nothing."""
    return str(state.resolve()) if state is not None else None


def _bus_choice(options: UpOptions) -> BusChoice:
    """With workers always the lean client: with the other one, the main process cannot keep up with what they send."""
    return "lean" if options.workers else options.bus


def _state_file(options: UpOptions, spine: Backbone) -> Path | None:
    """Where the hub remembers: workers need a file, if only for as long as the cloud is up."""
    directory = options.state or (spine.home.path if spine.home and options.workers else None)
    return directory / FILE_NAME if directory else None


def _workers_for(
    options: UpOptions, plan: LoopbackPlan, spine: Backbone, certs: CertsDir, secret: bytes, seed: str
) -> WorkersFor | None:
    state = _state_file(options, spine)
    if not options.workers or state is None:
        return None
    address = Topology(plan.prefix).hub
    return Staff(options.workers, plan, address, spine, state, certs, secret, seed, options.hub).workers_for()


@asynccontextmanager
async def control_api(running: Running, held: socket.socket, inject: Inject, ready: Page) -> AsyncIterator[None]:
    """Serve the control API of a cloud on a listening socket for as long as the body runs."""
    cloud = running.cloud

    app = Control(
        services=cloud.services,
        memory=cloud.memory,
        store=cloud.store,
        bus=running.backbone.bus,
        invoke=cloud.methods.invoke,
        inject=inject,
        offer=lambda wanted: cloud.hand_out(**wanted.model_dump(exclude_none=True)),
        publish=cloud.publish_bundle,
        device_logs=cloud.device_logs,
        pages={"/ready": ready, "/clients": lambda: clients(cloud, running.backbone)},
        routes=CampaignRoutes(cloud.campaigns).routes(),
    ).app()
    async with serving(app, held):
        yield


async def clients(cloud: Cloud, spine: Backbone) -> dict[str, Any]:
    """How many are connected, and what this cloud weighs, workers included: for load tests and benchmarks."""
    endpoint = cloud.endpoint
    ways = {endpoint, cloud.websockets}
    if isinstance(endpoint, Workers):
        await endpoint.count()
    own = {"resident_kib": resident_kib(), "cpu_s": sum(os.times()[:2]), "messages_repeated": spine.repeated}
    others = endpoint.sums if isinstance(endpoint, Workers) else {}
    return {
        "connections": sum(way.connections for way in ways),
        "online": sum(way.online for way in ways),
        "source_addresses": sum(way.source_addresses for way in ways),
        "messages_up": cloud.zapcloud.messages_up,
        "messages_down": cloud.zapcloud.messages_down,
        **{name: round(value + others.get(name, 0), 3) for name, value in own.items()},
        "workers": endpoint.places if isinstance(endpoint, Workers) else [],
        "mosquitto": {"pid": spine.pid, "restarts": spine.restarts},
    }


async def end_of_broker(spine: Backbone) -> str:
    """Why the broker that we started has ended; without one, wait for ever."""
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return await (spine.died or never)


_NOT_FOR_PEOPLE = frozenset({"ready", "service_connection_string", "loopback", "bundle"})


def print_ready(line: dict[str, Any], *, as_json: bool) -> None:
    """One JSON line, or the same for people, without the secret."""
    if as_json:
        print(json.dumps(line), flush=True)
        return
    shown = {key: value for key, value in line.items() if key not in _NOT_FOR_PEOPLE}
    for key, value in shown.items():
        text = f"{value['host']}:{value['port']}" if isinstance(value, dict) else value
        print(f"{key:>13}  {text}")
    print("The cloud is up. Ctrl-C ends it.", file=sys.stderr, flush=True)

"""All services of one cloud and its site, composed once for every world and for ``cloud_stub up``."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest
from random import Random
from typing import Any

from certs.layout import CertsDir, Root
from cloud_stub import websocket
from cloud_stub.bundle import BundleServer
from cloud_stub.bus.api import Bus, Kind, topic_of
from cloud_stub.campaigns_afar import CampaignsAfar, methods_afar
from cloud_stub.firmware.campaign_table import CampaignTable
from cloud_stub.firmware.campaigns import Campaigns
from cloud_stub.firmware.member import Number
from cloud_stub.firmware.offer import Offer
from cloud_stub.firmware.server import FirmwareServer
from cloud_stub.firmware.shelf import offer_of
from cloud_stub.firmware.targets import serials_for
from cloud_stub.hearing import Hearing
from cloud_stub.https import HttpsServer, HttpsService
from cloud_stub.hub.contexts import contexts_of, https_contexts_of
from cloud_stub.hub.endpoint import Endpoint
from cloud_stub.hub.intake import Intake
from cloud_stub.hub.methods import Methods
from cloud_stub.hub.policies import Policies
from cloud_stub.hub.presence import Presence
from cloud_stub.hub.process import endpoint_of, memory_of
from cloud_stub.hub.settings import DEFAULTS, HubSettings
from cloud_stub.named_hosts import NamedHosts
from cloud_stub.service import Service
from cloud_stub.service_api.app import ServiceApi
from cloud_stub.service_api.desk import Desk
from cloud_stub.site.dns import DnsServer
from cloud_stub.site.leases import dhcp_server, operator
from cloud_stub.site.ntp import NtpServer
from cloud_stub.site.portal import Portal, Proxy
from cloud_stub.state.database import State
from cloud_stub.store import Store
from cloud_stub.strike import Strike, strike
from cloud_stub.topology import Topology
from cloud_stub.workers.pool import Workers
from cloud_stub.zapcloud import ZapCloud
from emulator.clock import Utc
from emulator.errors import UsageError
from emulator.net.api import Host
from emulator.net.keylog import Keylog
from emulator.net.tls import TlsStream, server_context
from emulator.profile import Profile
from emulator.wire.manifest import decode_manifest

HostFor = Callable[[str, str], Host]
"""(name, address) to the machine that a service runs on."""

HUB, HTTPS = "hub", "https"
"""Machines that may run without the others. Spread out like that, one address serves all HTTPS hosts."""

WorkersFor = Callable[[Callable[[str], None], Endpoint], Workers]
"""Makes the hub's endpoint in other processes; it is given who wants to hear of dead ones, and the one in this one."""


@dataclass(frozen=True)
class CloudParts:
    """What a cloud is built from."""

    certs: CertsDir
    profile: Profile
    topology: Topology
    bus: Bus
    """The one that the whole cloud is on, if it is spread over several processes."""
    state: State
    """What the hub remembers. Whoever has made it closes it."""
    secret: bytes = field(repr=False)
    """The production secret: every device key is derived from it (manual row M5)."""
    seed: str
    utc: Utc
    now: Callable[[], float]
    workers: WorkersFor | None = None
    """None: the hub's endpoint is in this process."""
    hub: HubSettings = DEFAULTS
    only: Collection[str] | None = None
    """The machines to run, where a cloud is spread over several processes: `HUB`, `HTTPS`. None: everything."""
    deaf: bool = False
    """Nobody else is on the bus: without the hub in this process there are no campaigns."""
    without: Collection[str] = ()
    """The machines that other programs stand for."""
    keylog: Keylog | None = None
    """Where the secrets of its servers' TLS sessions are written, for captures."""

    def rng(self, purpose: str) -> Random:
        """A random source for each service."""
        return Random(f"{self.seed}/cloud/{purpose}")  # noqa: S311 - repeatable, never for keys


class Cloud:
    """DHCP of site and operator, four DNS servers, four time servers, the hub with its bus and backend, and the
    firmware server."""

    def __init__(self, parts: CloudParts) -> None:
        self._parts = parts
        self._bus = parts.bus
        self.memory = memory_of(parts.state, parts.secret, parts.utc, parts.hub.c2d)
        self.registry = self.memory.registry
        self.registry.changed.append(self._announce)
        self.lost = 0
        """Changes of the registry that the bus did not take."""
        self.store = Store()
        self.methods = self._methods()
        self.zapcloud = ZapCloud(bus=parts.bus, store=self.store, invoke=self.methods.invoke, rng=parts.rng("zapcloud"))
        self.policies = Policies(parts.secret)
        self.intake = Intake(parts.bus, self.memory, parts.utc)
        self.throttle = parts.hub.throttle(now=parts.now, utc=parts.utc)
        self.presence = Presence(parts.bus, self.memory.sessions, self.memory.queues)
        self.websockets = self._endpoint("0" if parts.workers else "")
        """The endpoint of devices that come over WebSocket; without workers, of all."""
        workers = parts.workers(self.presence.worker_lost, self.websockets) if parts.workers else None
        self.endpoint = workers or self.websockets
        self.service_api = self._service_api()
        self.firmware = self._firmware()
        self.hearing = self.zapcloud.hearing if self._runs(HUB) else Hearing(parts.bus, self.store)
        self.campaigns = self._campaigns()
        self._afar = CampaignsAfar(parts.bus, self.methods, self.hearing, self.campaigns)
        self.bundle = self._bundle()
        hub = [(service, HUB, parts.topology.hub) for service in (self.endpoint, self.service_api)]
        machines: list[tuple[Service, str, str]] = [*self._site(), *self._in_the_way(), *hub]
        self._machines = [machine for machine in machines if self._runs(machine[1])]
        self._https = self._https_hosts() if self._runs(HTTPS) else {}
        together = parts.only is not None and self._https
        self._front = NamedHosts({name: _server(each) for name, each in self._https.items()}) if together else None

    async def start(self, host_for: HostFor) -> None:
        """Start everything, the bus first: who listens must be there before who speaks."""
        if self._runs(HUB):
            await self._start_backend()
        elif self.has_campaigns:
            await self._afar.start()
        hosts: dict[str, Host] = {}
        for service, name, address in self._machines:
            hosts[name] = hosts.get(name) or host_for(name, address)
            await service.start(hosts[name])
        addresses = self._parts.topology.https(self._parts.profile.network)
        if self._front is not None:
            await self._front.start(host_for(HTTPS, next(iter(addresses.values()))))
        else:
            for name, server in self._https.items():
                await server.start(host_for(name, addresses[name]))

    async def stop(self) -> None:
        """Stop everything, in the opposite order."""
        if self._front is not None:
            await self._front.stop()
        for server in self._https.values():
            await server.stop()
        for service, _, _ in reversed(self._machines):
            await service.stop()
        if self._runs(HUB):
            await self._stop_backend()
        elif self.has_campaigns:
            await self._afar.stop()

    @property
    def has_campaigns(self) -> bool:
        """Who calls chargers to update is who hands out what they are to get, and hears of them."""
        return self._runs(HTTPS) and (self._runs(HUB) or not self._parts.deaf)

    def _methods(self) -> Methods:
        parts = self._parts
        if self._runs(HUB):
            return Methods(parts.bus)
        return methods_afar(parts.bus, self.memory.sessions, caller=f"https-{parts.seed}")

    def _runs(self, name: str) -> bool:
        parts = self._parts
        return name not in parts.without and (parts.only is None or name in parts.only)

    async def _start_backend(self) -> None:
        self.memory.begin()
        await self._bus.start()
        await self.methods.start()
        await self.zapcloud.start()
        if self.has_campaigns:
            self.campaigns.start()
        await self.intake.start()
        await self.presence.start()
        if self.websockets is not self.endpoint:
            await self.websockets.start(None)

    async def _stop_backend(self) -> None:
        if self.websockets is not self.endpoint:
            await self.websockets.stop()
        self.presence.stop()
        self.intake.stop()
        await self.campaigns.stop()
        await self.zapcloud.stop()
        self.methods.stop()
        await self._bus.stop()

    @property
    def services(self) -> dict[str, list[Service]]:
        """Service name to its instances; DNS and NTP have several."""
        found: dict[str, list[Service]] = {}
        of_https = (self.firmware, self.bundle) if self._https else ()
        for service in (*(service for service, _, _ in self._machines), *of_https):
            found.setdefault(service.name, []).append(service)
        return found

    @property
    def device_logs(self) -> list[Endpoint | Workers]:
        """Where it is written down what each device did at the hub."""
        return [self.endpoint]

    def inject(self, data: Mapping[str, Any], *, where: str) -> Strike:
        """Make a fault active at the service that its family names. UsageError starts with `where`."""
        return strike(self.services, data, where=where)

    def history(self, service: str) -> list[dict[str, Any]]:
        """What a service saw, oldest first."""
        seen = [exchange for instance in self._instances(service) for exchange in instance.history_json()]
        return sorted(seen, key=lambda exchange: float(exchange["t"]))

    async def command(self, serial: str, command: int, payload: Any = None) -> tuple[int, Any]:
        """A direct method by its command id. MethodError when there is no result."""
        result = await self.methods.invoke(serial, str(command), payload)
        return result.status, result.payload

    def hand_out(self, *, image: str | None = None, **offer: Any) -> dict[str, Any]:
        """Offer firmware by the fields of an `Offer`, or an image on disk. UsageError.

        Returns what it is and whose key it names: `signer` is None for an image of which no charger here knows the key.
        """
        stock = self.firmware.hand_out(Offer(**offer) if image is None else offer_of(image, **offer))
        key = decode_manifest(stock.manifest).key_id
        signer = self.firmware.shelf.signer_of(key)
        return {"version": stock.version, "size_bytes": stock.image.size_bytes, "key_id": key, "signer": signer}

    def publish_bundle(self, contents: str, firmware_keys: Sequence[str] = (), revoked: Sequence[str] = ()) -> int:
        """Make a trust bundle with the ``old`` root, the ``new`` one or ``both`` the newest; returns its version.

        `firmware_keys` and `revoked` name keys of `certs.layout.FIRMWARE_SIGNERS`: see `BundleServer.publish`.
        """
        return self.bundle.publish(contents, firmware_keys, revoked).version

    def _announce(self, device_id: str) -> None:
        """Tell every endpoint that a device is not what it was."""
        self._bus.publish(topic_of(device_id, Kind.IDENTITY), b"").add_done_callback(self._announced)

    def _announced(self, done: "asyncio.Future[None]") -> None:
        if done.exception() is not None:
            self.lost += 1

    def _instances(self, service: str) -> list[Service]:
        if service not in self.services:
            raise UsageError(f"service {service}: no such service; there are {', '.join(sorted(self.services))}")
        return self.services[service]

    def _common(self, purpose: str) -> dict[str, Any]:
        return {"rng": self._parts.rng(purpose), "utc": self._parts.utc, "now": self._parts.now}

    def _site(self) -> list[tuple[Service, str, str]]:
        topology, network = self._parts.topology, self._parts.profile.network
        dhcp, mobile = dhcp_server(topology, **self._common("dhcp")), operator(topology, **self._common("operator"))

        def who_is(address: str) -> str:
            """The charger at an address that it got here or there."""
            return dhcp.client_at(mobile.client_at(topology.inside(address)))

        machines: list[tuple[Service, str, str]] = [
            (dhcp, "router", topology.router),
            (mobile, "operator", topology.operator_router),
        ]
        for label, address in topology.dns.items():
            server = DnsServer(label=label, zone=topology.zone(network), who_is=who_is, **self._common(f"dns/{label}"))
            machines.append((server, f"dns-{label}", address))
        for label, address in topology.ntp.items():
            clock = NtpServer(label=label, who_is=who_is, **self._common(f"ntp/{label}"))
            machines.append((clock, f"ntp-{label}", address))
        return machines

    def _in_the_way(self) -> list[tuple[Service, str, str]]:
        """What a site may have between chargers and internet; idle until a fault sends something there."""
        certs, topology = self._parts.certs, self._parts.topology
        own_name, inspected = (
            server_context(*certs.bad(kind), keylog=self._parts.keylog) for kind in ("wrong_host", "intercepted")
        )
        portal = Portal(address=topology.portal, context=own_name, **self._common("portal"))
        proxy = Proxy(context=inspected, **self._common("proxy"))
        return [(portal, "portal", topology.portal), (proxy, "proxy", topology.proxy)]

    def _endpoint(self, worker: str = "") -> Endpoint:
        parts = self._parts
        return endpoint_of(
            **self._common("hub"),
            certs=parts.certs,
            hub_host=parts.profile.network.hub_host,
            bus=parts.bus,
            memory=self.memory,
            policies=self.policies,
            settings=parts.hub,
            throttle=self.throttle,
            worker=worker,
            keylog=parts.keylog,
        )

    def _service_api(self) -> ServiceApi:
        """On the hub's own host; it asks for client certificates, for devices that come over WebSocket."""
        parts, hub_host = self._parts, self._parts.profile.network.hub_host
        contexts = contexts_of(parts.certs, hub_host, parts.keylog)
        return ServiceApi(
            **self._common("service_api"),
            contexts=lambda bad: contexts(None, "1.2"),
            host=hub_host,
            policies=self.policies,
            desk=Desk(self.memory, parts.bus, self.methods, self.throttle),
            upgrade=self._upgrade,
        )

    def _upgrade(self, tls: TlsStream, request: bytes) -> None:
        """A device wants to speak MQTT over WebSocket."""
        certificates = tls.info.client_certificates
        websocket.answer(tls, request, lambda stream: self.websockets.serve_websocket(stream, certificates))

    def _firmware(self) -> FirmwareServer:
        certs, network = self._parts.certs, self._parts.profile.network
        return FirmwareServer(
            **self._common("firmware"),
            contexts=https_contexts_of(certs, network.api_host, self._parts.keylog),
            signers=certs.firmware_signers(),
            certificates={"vouched": certs.vouched_certificate_pem()},
            check=self._check_key,
            download_host=network.devices_host,
            hosts={network.api_host: "api", network.old_api_host: "old_api", network.devices_host: "devices"},
        )

    def _campaigns(self) -> Campaigns:
        campaigns = Campaigns(
            CampaignTable(self._parts.state),
            self.methods,
            self._parts.utc,
            find=lambda targets: serials_for(targets, self.registry, self.memory.twins),
            runs=lambda serial: self.store.last(serial, Number.COMPUTER_VERSION),
            check=self.firmware.shelf.renew,
        )
        self.firmware.roster = campaigns
        self.hearing.listeners.append(campaigns.heard)
        return campaigns

    def _bundle(self) -> BundleServer:
        """The vendor's own host: trust bundles, and the images that the API points at."""
        certs, network = self._parts.certs, self._parts.profile.network
        old, new = certs.root_pem(Root.OLD), certs.root_pem(Root.NEW)
        contexts = https_contexts_of(certs, network.devices_host, self._parts.keylog)
        return BundleServer(
            **self._common("bundle"),
            contexts=lambda bad: contexts(bad or self.firmware.bad_certificate_at("devices")),
            roots={"old": old, "new": new, "both": old + new},
            signer=certs.bundle_signer(),
            foreign_signer=certs.foreign_signer(),
            firmware_keys=certs.firmware_public_pems(),
            beside=self.firmware.routes(),
        )

    def _https_hosts(self) -> Mapping[str, HttpsServer | HttpsService]:
        """Who serves each HTTPS host: the API has two names."""
        network, firmware = self._parts.profile.network, self.firmware
        contexts = https_contexts_of(self._parts.certs, network.old_api_host, self._parts.keylog)
        old_api = HttpsServer(
            firmware.app, lambda: contexts(firmware.bad_certificate_at("old_api")), failed=firmware.tls_failed
        )
        return {network.api_host: firmware, network.devices_host: self.bundle, network.old_api_host: old_api}

    def _check_key(self, serial: str, key: bytes) -> bool:
        device = self.registry.get(serial)
        known = device.keys if device is not None else (b"",)
        return any(compare_digest(key, candidate) and bool(candidate) for candidate in known)


def _server(each: HttpsServer | HttpsService) -> HttpsServer:
    return each.server if isinstance(each, HttpsService) else each

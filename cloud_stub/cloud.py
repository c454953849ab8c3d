"""All services of one cloud and its site, composed once for every world and for ``cloud_stub up``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hmac import compare_digest
from ipaddress import IPv4Network
from random import Random
from typing import Any
from uuid import UUID

from certs.layout import CertsDir, Root
from cloud_stub.bundle import BundleServer
from cloud_stub.bus import Bus
from cloud_stub.contexts import contexts_of, https_contexts_of
from cloud_stub.dhcp import DhcpServer
from cloud_stub.dhcp_pool import Scope
from cloud_stub.dns import DnsServer
from cloud_stub.endpoint import Endpoint
from cloud_stub.firmware import FirmwareServer
from cloud_stub.https import HttpsServer, HttpsService
from cloud_stub.hub import HubRules
from cloud_stub.methods import Methods
from cloud_stub.ntp import NtpServer
from cloud_stub.operator import Operator
from cloud_stub.portal import Portal, Proxy
from cloud_stub.registry import Registry, derived_keys
from cloud_stub.service import Service
from cloud_stub.store import DEFAULT_SETTINGS, Store
from cloud_stub.topology import Topology
from cloud_stub.zapcloud import ZapCloud
from emulator.clock import Utc
from emulator.errors import UsageError
from emulator.faults import Injected, fault_from
from emulator.net.api import Host
from emulator.net.surroundings import FAMILIES
from emulator.net.tls import server_context
from emulator.profile import Profile

HostFor = Callable[[str, str], Host]
"""(name, address) to the machine that a service runs on."""

ELSEWHERE = FAMILIES | {"device"}
"""Families of faults that strike chargers and the way to them."""

LEASE_S = int(timedelta(hours=12).total_seconds())
ROGUE_LEASE_S = int(timedelta(hours=1).total_seconds())  # invented: a router that somebody brought along


@dataclass(frozen=True)
class CloudParts:
    """What a cloud is built from."""

    certs: CertsDir
    profile: Profile
    topology: Topology
    bus: Bus
    secret: bytes = field(repr=False)
    """The production secret: every device key is derived from it (manual row M5)."""
    seed: str
    utc: Utc
    now: Callable[[], float]

    def rng(self, purpose: str) -> Random:
        """A random source for each service."""
        return Random(f"{self.seed}/cloud/{purpose}")  # noqa: S311 - repeatable, never for keys


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault at all instances of a service that it is about. Calling it takes the fault back: it is an `Undo`."""

    parts: Sequence[Injected]

    def __call__(self) -> None:
        for part in self.parts:
            part()

    @property
    def active(self) -> bool:
        """Not taken back, not used up everywhere, and its time is not over."""
        return any(part.active for part in self.parts)


class Cloud:
    """DHCP of site and operator, four DNS servers, four time servers, the hub with its bus and backend, and the
    firmware server."""

    def __init__(self, parts: CloudParts) -> None:
        self._parts = parts
        self._bus = parts.bus
        self.registry = Registry(derived_keys(parts.secret))
        installation = str(UUID(bytes=parts.rng("installation").randbytes(16), version=4))
        self.store = Store({**DEFAULT_SETTINGS, "800": installation})
        self.methods = Methods(parts.bus)
        self.zapcloud = ZapCloud(bus=parts.bus, store=self.store, invoke=self.methods.invoke, rng=parts.rng("zapcloud"))
        self.endpoint = self._endpoint()
        self.firmware = self._firmware()
        self.bundle = self._bundle()
        self._machines = [*self._site(), *self._in_the_way(), (self.endpoint, "hub", parts.topology.hub)]
        self._https = self._https_hosts()

    async def start(self, host_for: HostFor) -> None:
        """Start everything, the bus first: who listens must be there before who speaks."""
        await self._bus.start()
        await self.methods.start()
        await self.zapcloud.start()
        for service, name, address in self._machines:
            await service.start(host_for(name, address))
        for name, address in self._parts.topology.https(self._parts.profile.network).items():
            await self._https[name].start(host_for(name, address))

    async def stop(self) -> None:
        """Stop everything, in the opposite order."""
        for server in self._https.values():
            await server.stop()
        for service, _, _ in reversed(self._machines):
            await service.stop()
        await self.zapcloud.stop()
        self.methods.stop()
        await self._bus.stop()

    @property
    def services(self) -> dict[str, list[Service]]:
        """Service name to its instances; DNS and NTP have several."""
        found: dict[str, list[Service]] = {}
        for service in (*(service for service, _, _ in self._machines), self.firmware, self.bundle):
            found.setdefault(service.name, []).append(service)
        return found

    def inject(self, data: Mapping[str, Any], *, where: str) -> Strike:
        """Make a fault active at the service that its family names. UsageError starts with `where`."""
        kind = data.get("kind", "")
        family = str(kind).partition(".")[0]
        if family in ELSEWHERE:
            raise UsageError(
                f"{where}: kind: {kind!r} strikes chargers, and the cloud has none: inject it where they run"
            )
        services = self.services.get(family)
        if not (services and services[0].FAULTS):
            raise UsageError(f"{where}: kind: {kind!r}: no service has faults of this family")
        fault = fault_from(data, {fault.kind: fault for fault in services[0].FAULTS}, where=where)
        struck: list[Injected] = []
        try:
            for service in services:
                struck.append(service.inject(fault))
        except UsageError as error:
            Strike(struck)()
            raise UsageError(f"{where}: {error}") from None
        return Strike(struck)

    def history(self, service: str) -> list[dict[str, Any]]:
        """What a service saw, oldest first."""
        seen = [exchange for instance in self._instances(service) for exchange in instance.history_json()]
        return sorted(seen, key=lambda exchange: float(exchange["t"]))

    async def command(self, serial: str, command: int, payload: Any = None) -> tuple[int, Any]:
        """A direct method by its command id. MethodError when there is no result."""
        result = await self.methods.invoke(serial, str(command), payload)
        return result.status, result.payload

    def offer_firmware(self, version: str, *, signer: str = "firmware") -> None:
        """Hand out this version from now on."""
        self.firmware.offer(version, signer=signer)

    def publish_bundle(self, contents: str) -> int:
        """Make a trust bundle with the ``old`` root, the ``new`` one or ``both`` the newest; returns its version."""
        return self.bundle.publish(contents).version

    def _instances(self, service: str) -> list[Service]:
        if service not in self.services:
            raise UsageError(f"service {service}: no such service; there are {', '.join(sorted(self.services))}")
        return self.services[service]

    def _common(self, purpose: str) -> dict[str, Any]:
        return {"rng": self._parts.rng(purpose), "utc": self._parts.utc, "now": self._parts.now}

    def _site(self) -> list[tuple[Service, str, str]]:
        topology, network = self._parts.topology, self._parts.profile.network
        dhcp, operator = self._dhcp(), self._operator()

        def who_is(address: str) -> str:
            """The charger at an address that it got here or there."""
            return dhcp.client_at(operator.client_at(address))

        machines: list[tuple[Service, str, str]] = [
            (dhcp, "router", topology.router),
            (operator, "operator", topology.operator_router),
        ]
        for label, address in topology.dns.items():
            server = DnsServer(label=label, zone=topology.zone(network), who_is=who_is, **self._common(f"dns/{label}"))
            machines.append((server, f"dns-{label}", address))
        for label, address in topology.ntp.items():
            clock = NtpServer(label=label, who_is=who_is, **self._common(f"ntp/{label}"))
            machines.append((clock, f"ntp-{label}", address))
        return machines

    def _dhcp(self) -> DhcpServer:
        topology = self._parts.topology
        rogue, gateway, resolver, first, *_, last = map(str, IPv4Network(topology.rogue_network).hosts())

        def at_home(pool: tuple[str, str]) -> Scope:
            router, dns = topology.router, (topology.dns["primary"],)
            return Scope(network=topology.network, server=router, pool=pool, router=router, dns=dns, lease_s=LEASE_S)

        elsewhere = Scope(
            network=topology.rogue_network,
            server=rogue,
            pool=(first, last),
            router=gateway,
            dns=(resolver,),
            lease_s=ROGUE_LEASE_S,
        )
        return DhcpServer(
            at_home(topology.pool),
            renumbered=at_home(topology.renumbered_pool),
            rogue=elsewhere,
            **self._common("dhcp"),
        )

    def _operator(self) -> Operator:
        topology = self._parts.topology
        scope = Scope(
            network=topology.operator_network,
            server=topology.operator_router,
            pool=topology.operator_pool,
            router=topology.operator_router,
            dns=(topology.dns["operator"],),
            lease_s=LEASE_S,
        )
        return Operator(scope, **self._common("operator"))

    def _in_the_way(self) -> list[tuple[Service, str, str]]:
        """What a site may have between chargers and internet; idle until a fault sends something there."""
        certs, topology = self._parts.certs, self._parts.topology
        own_name, inspected = (server_context(*certs.bad(kind)) for kind in ("wrong_host", "intercepted"))
        portal = Portal(address=topology.portal, context=own_name, **self._common("portal"))
        proxy = Proxy(context=inspected, **self._common("proxy"))
        return [(portal, "portal", topology.portal), (proxy, "proxy", topology.proxy)]

    def _endpoint(self) -> Endpoint:
        parts, hub_host = self._parts, self._parts.profile.network.hub_host
        return Endpoint(
            **self._common("hub"),
            registry=self.registry,
            store=self.store,
            bus=parts.bus,
            contexts=contexts_of(parts.certs, hub_host),
            rules=HubRules(hub_host),
        )

    def _firmware(self) -> FirmwareServer:
        certs, network = self._parts.certs, self._parts.profile.network
        return FirmwareServer(
            **self._common("firmware"),
            contexts=https_contexts_of(certs, network.api_host),
            signers={"firmware": certs.firmware_signer(), "foreign": certs.foreign_signer()},
            check=self._check_key,
            download_host=network.devices_host,
        )

    def _bundle(self) -> BundleServer:
        """The vendor's own host: trust bundles, and the images that the API points at."""
        certs, network = self._parts.certs, self._parts.profile.network
        old, new = certs.root_pem(Root.OLD), certs.root_pem(Root.NEW)
        return BundleServer(
            **self._common("bundle"),
            contexts=https_contexts_of(certs, network.devices_host),
            roots={"old": old, "new": new, "both": old + new},
            signer=certs.bundle_signer(),
            foreign_signer=certs.foreign_signer(),
            beside=self.firmware.routes(),
        )

    def _https_hosts(self) -> Mapping[str, HttpsServer | HttpsService]:
        """Who serves each HTTPS host: the API has two names."""
        network, firmware = self._parts.profile.network, self.firmware
        contexts = https_contexts_of(self._parts.certs, network.old_api_host)
        old_api = HttpsServer(firmware.app, lambda: contexts(firmware.bad_certificate()), failed=firmware.tls_failed)
        return {network.api_host: firmware, network.devices_host: self.bundle, network.old_api_host: old_api}

    def _check_key(self, serial: str, key: bytes) -> bool:
        device = self.registry.get(serial)
        known = device.keys if device is not None else (b"",)
        return any(compare_digest(key, candidate) and bool(candidate) for candidate in known)

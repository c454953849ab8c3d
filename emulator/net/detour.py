"""Where the site sends connections that were meant for somebody else: a captive portal, a proxy that inspects TLS."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from emulator.errors import UsageError
from emulator.faults import Condition, FaultSet
from emulator.net.firewall import Hosts, Port
from emulator.wire.address import Address

DNS_PORT, HTTPS_PORT, MQTTS_PORT = 53, 443, 8883
PORTAL_PORTS = frozenset({80, HTTPS_PORT, MQTTS_PORT})
TARGETS_MAX = 64


@dataclass(frozen=True, slots=True)
class Appliances:
    """Addresses of the machines at the site that take what is not meant for them."""

    portal: str
    """Answers DNS on UDP 53 and HTTP, TLS or not, on `PORTAL_PORTS`."""
    proxy: str
    """Takes TLS on TCP 443, whatever the port that was asked for."""


@dataclass(frozen=True, kw_only=True)
class CaptivePortal(Condition):
    """Nobody has logged in at the guest network.

    Its portal answers every DNS query with its own address, and takes every connection to TCP 80, 443 and 8883;
    everything else is dropped, time and connections from before included.
    """

    kind: ClassVar[str] = "site.captive_portal"


@dataclass(frozen=True, kw_only=True)
class Intercept(Condition):
    """A proxy takes the TLS connections to these ports and hosts, and shows certificates of its own authority.

    No host means any. Connections that are there already go on.
    """

    kind: ClassVar[str] = "site.intercept"
    ports: Annotated[tuple[Port, ...], Field(min_length=1, max_length=TARGETS_MAX)] = (HTTPS_PORT, MQTTS_PORT)
    hosts: Annotated[tuple[str, ...], Field(max_length=TARGETS_MAX)] = ()


FAULTS = (CaptivePortal, Intercept)


class Detours:
    """Decides who really gets what a charger sends. Without `appliances` its faults cannot be injected."""

    def __init__(self, faults: FaultSet, hosts: Hosts, appliances: Appliances | None) -> None:
        self._faults = faults
        self._hosts = hosts
        self._appliances = appliances

    def check(self, fault: CaptivePortal | Intercept) -> None:
        """UsageError: it names a host that nobody knows, or there is no machine to send anything to."""
        if self._appliances is None:
            raise UsageError(f"kind: {fault.kind}: there is neither portal nor proxy here")
        if isinstance(fault, Intercept):
            self._hosts.check(*fault.hosts)

    def of_datagram(self, to: Address, who: str) -> Address | None:
        """Who gets a datagram; None: nobody."""
        portal = self._portal(who)
        if portal is None:
            return to
        return Address(portal, DNS_PORT) if to.port == DNS_PORT else None

    def of_stream(self, to: Address, who: str) -> Address | None:
        """Who gets a new connection; None: nobody."""
        portal = self._portal(who)
        if portal is not None:
            return Address(portal, to.port) if to.port in PORTAL_PORTS else None
        for fault in self._faults.about(who):
            if isinstance(fault, Intercept) and self._appliances is not None and self._takes(fault, to):
                return Address(self._appliances.proxy, HTTPS_PORT)
        return to

    def at_portal(self, real: Address) -> bool:
        """Whether this is the portal, which may also be asked by its own address: it is what every name stands for."""
        return self._appliances is not None and real.host == self._appliances.portal

    def _portal(self, who: str) -> str | None:
        """The portal's address, if it is in the way."""
        captive = any(isinstance(fault, CaptivePortal) for fault in self._faults.about(who))
        return self._appliances.portal if captive and self._appliances is not None else None

    def _takes(self, fault: Intercept, to: Address) -> bool:
        return to.port in fault.ports and (
            not fault.hosts or any(self._hosts.means(host, to.host) for host in fault.hosts)
        )

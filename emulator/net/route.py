"""Where a host sends what is not for its own LAN: to its gateway, which may be nobody. Pure."""

from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Network

from emulator.net.api import Interface


@dataclass(frozen=True, slots=True)
class Lan:
    """The network on this side of a router, as it really is."""

    network: IPv4Network
    router: str
    """The only one there that knows the way out."""


class Hop(Enum):
    """What becomes of a packet on its way to the router or to a neighbour."""

    TAKEN = auto()
    NOBODY = auto()
    """No one answers ARP for the address that it is handed to, or who does forwards nothing: silence."""
    UNKNOWN = auto()
    """The host has no route at all: ENETUNREACH."""


class Route:
    """One host's routing table: its own network, and a default route if it was given a gateway (RFC 1122 3.3.1.1).

    Without `lan` nobody knows how things really are, and every packet finds its way.
    """

    __slots__ = ("_interface", "_lan", "sound")

    def __init__(self) -> None:
        self.sound = True
        """The interface is set as the LAN is: every packet finds its way."""
        self._interface: Interface | None = None
        self._lan: Lan | None = None

    def use(self, interface: Interface | None, lan: Lan | None) -> None:
        """The host has this interface from now on, and stands in this network."""
        self._interface, self._lan = interface, lan
        self.sound = interface is None or lan is None or _fits(interface, lan)

    def hop(self, to: str) -> Hop:
        """What becomes of a packet to this address."""
        interface, lan = self._interface, self._lan
        if self.sound or interface is None or lan is None:
            return Hop.TAKEN
        address = IPv4Address(to)
        if address in IPv4Network(f"{interface.address}/{interface.prefix_length}", strict=False):
            return Hop.TAKEN if address in lan.network else Hop.NOBODY
        if interface.gateway is None:
            return Hop.UNKNOWN
        return Hop.TAKEN if interface.gateway == lan.router else Hop.NOBODY


def _fits(interface: Interface, lan: Lan) -> bool:
    return interface.gateway == lan.router and interface.prefix_length == lan.network.prefixlen

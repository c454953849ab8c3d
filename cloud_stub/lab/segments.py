"""Which machine of a lab is in which network, and what each router needs to know. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from cloud_stub.topology import Topology

LAN_PREFIX = "10.20"
PUBLIC_PREFIX = "100.65"  # RFC 6598 space, beside the operator's
"""The site's public addresses: 10.20.x.y is 100.65.x.y outside."""

SWITCH, ROUTER, OPERATOR, INTERNET = "switch", "router", "operator", "internet"
"""The namespaces that every lab has. The switch has the wires that machines share, as bridges."""

LAN, CELL = "lan", "cell"
LAN_PORT, CELL_PORT, WAN_PORT = "lan0", "cell0", "wan0"
MACHINE_PORT = "eth0"
INTERFACE_NAME_MAX = 15  # IFNAMSIZ less its zero byte


@dataclass(frozen=True, slots=True)
class Uplink:
    """The wire between a router and the internet (RFC 2544: addresses for between devices under test)."""

    near: str
    """The router's address."""
    far: str
    """The internet's."""
    port: str
    """The internet's interface."""
    prefix_length: int = 30


SITE_UPLINK = Uplink("198.18.0.2", "198.18.0.1", "site0")
OPERATOR_UPLINK = Uplink("198.18.0.6", "198.18.0.5", "operator0")


class Behind(StrEnum):
    """Who hands packets to a machine."""

    SITE = "router"
    """The site's router, on a wire of its own: what chargers send there passes the firewall."""
    CELL = "operator"
    """Nobody: it is on the operator's wire, with the modems."""
    INTERNET = "internet"


def behind(address: str, topology: Topology) -> Behind:
    """Where the machine with this address is."""
    where = IPv4Address(address)
    if where in IPv4Network(topology.network):
        return Behind.SITE
    return Behind.CELL if where in IPv4Network(topology.operator_network) else Behind.INTERNET


def gateway_of(where: Behind, topology: Topology) -> str:
    """Whom a machine there sends everything to."""
    return {
        Behind.SITE: topology.router,
        Behind.CELL: topology.operator_router,
        Behind.INTERNET: SITE_UPLINK.far,
    }[where]


def port_name(machine: str) -> str:
    """What the wire to a machine is called at its other end: its name, as far as the kernel takes it."""
    return machine[:INTERFACE_NAME_MAX]


NO_IPV6 = {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"}
"""The world is IPv4 (manual row M2); neighbour discovery would only be noise in captures."""

FORWARDS = {"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0"}


def settings_of(name: str) -> dict[str, str]:
    """The kernel settings below /proc/sys/net of a namespace, by its name."""
    return NO_IPV6 | (FORWARDS if name in (ROUTER, OPERATOR, INTERNET) else {})


ANSWERS_AT_ONCE = {f"ipv4/neigh/{LAN_PORT}/proxy_delay": "0"}
"""The router answers ARP for the site's servers, and without the pause that is meant for networks with many proxies."""

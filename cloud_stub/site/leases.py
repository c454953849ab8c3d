"""Who lends addresses around a charger: the site's DHCP server with a stranger beside it, and the mobile operator."""

from datetime import timedelta
from ipaddress import IPv4Network
from typing import Any

from cloud_stub.site.dhcp import DhcpServer
from cloud_stub.site.dhcp_pool import Scope
from cloud_stub.site.operator import Operator
from cloud_stub.topology import Topology

LEASE_S = int(timedelta(hours=12).total_seconds())
ROGUE_LEASE_S = int(timedelta(hours=1).total_seconds())  # invented: a router that somebody brought along


def dhcp_server(topology: Topology, **common: Any) -> DhcpServer:
    """The site's DHCP server; `common` is what every service gets."""
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
    return DhcpServer(at_home(topology.pool), renumbered=at_home(topology.renumbered_pool), rogue=elsewhere, **common)


def operator(topology: Topology, **common: Any) -> Operator:
    """The mobile operator; `common` as above."""
    scope = Scope(
        network=topology.operator_network,
        server=topology.operator_router,
        pool=topology.operator_pool,
        router=topology.operator_router,
        dns=(topology.dns["operator"],),
        lease_s=LEASE_S,
    )
    return Operator(scope, **common)

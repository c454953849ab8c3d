"""The router of the site as an nftables ruleset: translation, and nothing in that nobody inside has asked for. Pure."""

import math
import sys
from enum import StrEnum

from cloud_stub.lab.segments import LAN_PORT, PUBLIC_PREFIX, SITE_UPLINK, WAN_PORT
from cloud_stub.topology import Topology
from emulator.net.place import Router

TABLE = "inet router"
LINK_TAIL = "@ll,64,32"
"""The last four octets of a frame's source: enough to tell the chargers of a site apart, and they fit a mark."""


class Translation(StrEnum):
    """How the site's addresses look from outside."""

    ONE_TO_ONE = "one-to-one"
    """Each has a public one of its own, so that servers and their faults know chargers apart."""
    MASQUERADE = "masquerade"
    """All share the router's, as at most sites."""
    NONE = "none"


def mark_of(link_address: str) -> int:
    """The connection mark of a charger's flows: the kernel stores `LINK_TAIL` as it lies in memory."""
    return int.from_bytes(bytes.fromhex(link_address.replace(":", ""))[2:], sys.byteorder)


def public_networks(topology: Topology, translation: Translation) -> tuple[str, ...]:
    """What the internet sends to the site's router, beside the router's own address."""
    return {
        Translation.ONE_TO_ONE: (f"{PUBLIC_PREFIX}.0.0/16",),
        Translation.MASQUERADE: (),
        Translation.NONE: (topology.network,),
    }[translation]


def ruleset(topology: Topology, router: Router, translation: Translation) -> str:
    """The router's own table. Every flow that begins on the LAN is marked with who began it."""
    return "\n".join(
        (
            f"table {TABLE} {{",
            " chain known {",
            "  type filter hook prerouting priority mangle; policy accept;",
            f"  iifname {LAN_PORT} ct state new ct mark set {LINK_TAIL}",
            " }",
            " chain onward {",
            "  type filter hook forward priority filter; policy accept;",
            *(f"  {rule}" for rule in _stateful(router, translation)),
            " }",
            " chain source {",
            "  type nat hook postrouting priority srcnat; policy accept;",
            *(f"  {rule}" for rule in _translated(topology, translation)),
            " }",
            "}",
        )
    )


def settings(router: Router, translation: Translation) -> dict[str, str]:
    """How long the kernel remembers a flow (whole seconds), and whether it adopts a TCP connection half-way."""
    tcp_s, udp_s = str(math.ceil(router.tcp_idle_s)), str(math.ceil(router.udp_idle_s))
    adopts = translation is Translation.NONE or router.stray == "adopt"
    return {
        "netfilter/nf_conntrack_tcp_timeout_established": tcp_s,
        "netfilter/nf_conntrack_udp_timeout": udp_s,
        "netfilter/nf_conntrack_udp_timeout_stream": udp_s,
        "netfilter/nf_conntrack_tcp_loose": "1" if adopts else "0",
    }


def _stateful(router: Router, translation: Translation) -> list[str]:
    """What becomes of packets that belong to no flow (`Router.stray`), and of those that nobody asked for (M1)."""
    if translation is Translation.NONE:
        return []
    reset = f"iifname {LAN_PORT} meta l4proto tcp ct state invalid reject with tcp reset"
    return [
        *([reset] if router.stray == "reset" else []),
        "ct state invalid drop",
        f"iifname {WAN_PORT} ct state new drop",
    ]


def _translated(topology: Topology, translation: Translation) -> list[str]:
    ours = f"oifname {WAN_PORT} ip saddr {topology.network}"
    match translation:
        case Translation.ONE_TO_ONE:
            moved = f"{topology.network} : {PUBLIC_PREFIX}.0.0/16"
            return [f"{ours} snat ip prefix to ip saddr map {{ {moved} }}"]
        case Translation.MASQUERADE:
            return [f"{ours} snat ip to {SITE_UPLINK.near}"]
        case Translation.NONE:
            return []

"""How the outside programs of a lab are started: by nothing but these arguments, whatever is in /etc. Pure."""

from pathlib import Path

from cloud_stub.lab.segments import LAN_PORT
from cloud_stub.topology import Topology

NOTHING = "/dev/null"
DNSMASQ_READY, CHRONYD_READY = "started, version", "Disabled control of system clock"
LEASES_MAX = 60_000
LEASE = "12h"


def dnsmasq(topology: Topology) -> tuple[str, ...]:
    """Arguments of a dnsmasq on the router: it lends addresses, and asks the public servers for names.

    It keeps our user and group: with others it would outlive us (prctl(2), PR_SET_PDEATHSIG).
    """
    first, last = topology.pool
    return (
        "--keep-in-foreground",
        "--log-facility=-",
        "--log-dhcp",
        "--log-queries",
        f"--conf-file={NOTHING}",
        "--pid-file",
        "--user=root",
        "--group=root",
        "--no-resolv",
        "--no-hosts",
        "--leasefile-ro",
        f"--interface={LAN_PORT}",
        "--except-interface=lo",
        "--bind-interfaces",
        "--no-ping",
        "--dhcp-authoritative",
        f"--dhcp-range={first},{last},{topology.lan.network.netmask},{LEASE}",
        f"--dhcp-lease-max={LEASES_MAX}",
        *(f"--server={topology.dns[label]}" for label in ("google", "cloudflare")),
    )


def chronyd(pid_file: Path) -> tuple[str, ...]:
    """Arguments of a chronyd that takes this machine's time for true, and leaves its clock alone.

    It does not do without a file for its process id.
    """
    return (
        "-d",
        "-x",
        "-u",
        "root",
        "local stratum 1",
        "allow all",
        "cmdport 0",
        "bindcmdaddress /",
        f"pidfile {pid_file}",
    )

"""Which real loopback sockets stand for the addresses of a world: ports shifted, addresses kept apart."""

import errno
import socket
from collections.abc import Mapping
from random import Random
from typing import Any

from emulator.errors import UsageError
from emulator.local import Mode
from emulator.net.api import Address, Closer
from emulator.wire.address import BROADCAST, UNSPECIFIED

PORT_SHIFT = 10_000
SHIFTED_PORTS = frozenset({53, 67, 68, 80, 123, 443, 1883, 8883})
"""The ports of the charger's world that an ordinary user may not open, and those of MQTT, which may be taken."""

SHARED = "127.0.0.1"
"""The address that every machine has."""

DHCP_PORT = 67
DNS_PORT = 53
DNS_PORTS_FROM, DNS_SERVERS_MAX = 24_000, 16
"""Where the real ports of name servers begin if all share one address, and how many each network has."""

STAND_INS = {"8.8.8": 8, "1.1.1": 1, "198.51.100": 3, "100.64.0": 4, "100.64.1": 5, "100.64.2": 6, "100.64.3": 7}
"""Networks of the world, 256 addresses each, to the third octet of the loopback addresses that stand for them."""

CLAIM_PORT = 19_999
NETS = range(2, 255)

Real = tuple[str, int]
"""Address and port of a real socket."""


class LoopbackPlan:
    """Maps addresses of the world to real ones, and back.

    The world's LAN is ``127.<net>.0.0/16``; `STAND_INS` gives what is elsewhere a place in it. With `single`,
    everything is at 127.0.0.1 (macOS has no other) and a port of its own stands for each address and port. Those are
    learned when services bind, so hand `to_json` to another process after the services have started.
    """

    def __init__(self, net: int, *, single: bool = False, ports: Mapping[Address, int] | None = None) -> None:
        self.net = net
        self.single = single
        self._dhcp_server = Address(f"127.{net}.0.1", DHCP_PORT)
        self._operator = Address("100.64.0.1", DHCP_PORT)
        self._stand_ins = {network: f"127.{net}.{octet}" for network, octet in STAND_INS.items()}
        self._true_networks = {real: network for network, real in self._stand_ins.items()}
        self._ports = dict(ports or {})
        self._addresses = {port: address for address, port in self._ports.items()}

    @property
    def prefix(self) -> str:
        """The first two octets of the LAN, ``127.<net>``."""
        return f"127.{self.net}"

    def exists(self, host: str) -> bool:
        """Whether packets to `host` get anywhere: to loopback addresses and stand-ins, never out of the machine."""
        return host.startswith("127.") or host.rpartition(".")[0] in self._stand_ins

    def real(self, to: Address, mode: Mode = Mode.ETHERNET) -> Real | None:
        """Where to send what is meant for `to`; None if nobody is there.

        The broadcasts of who has no address reach a DHCP server: the operator's over LTE-M, else the site's.
        """
        if to.host == BROADCAST:
            if to.link:
                host, _, port = to.link.rpartition(":")
                return host, int(port)
            server = self._operator if mode is Mode.LTE else self._dhcp_server
            return self.real(server) if to.port == DHCP_PORT else None
        if self.single:
            port_at = self._ports.get(to, to.port if to.host == SHARED else None)
            return None if port_at is None else (SHARED, port_at)
        return self.binding(to) if self.exists(to.host) else None

    def binding(self, local: Address) -> Real:
        """Where to bind a socket for `local`; port 0 lets the kernel pick one."""
        if self.single:
            return SHARED, self._ports.get(local) or (self._dns_port() if local.port == DNS_PORT else 0)
        port = local.port + PORT_SHIFT if local.port in SHIFTED_PORTS else local.port
        return _moved(local.host, self._stand_ins), port

    def _dns_port(self) -> int:
        """A real port that both UDP and TCP can have: below those that the kernel gives to connections going out."""
        servers = sum(address.port == DNS_PORT for address in self._ports)
        return DNS_PORTS_FROM + self.net * DNS_SERVERS_MAX + servers

    def bound(self, local: Address, port: int) -> Address:
        """Learn that the socket for `local` got the real `port`; the address that the world knows it by."""
        if local.port == 0:
            return Address(local.host, port)
        if self.single:
            self._ports[local] = port
            self._addresses[port] = local
        return local

    def is_served(self, local: Address) -> bool:
        """Whether a socket of any process is bound to this address and UDP port."""
        if self.single:
            return local in self._ports
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knocking:
            try:
                knocking.bind(self.binding(local))
            except OSError as error:
                return error.errno == errno.EADDRINUSE
        return False

    def freed(self, local: Address) -> None:
        """Forget the socket of a client that is gone. A service keeps its port, for when it starts again."""
        port = self._ports.pop(local, None)
        if port is not None:
            self._addresses.pop(port, None)

    def logical(self, host: str, port: int) -> Address:
        """Who sent from a real address, as the world knows it."""
        if self.single:
            return self._addresses.get(port) or Address(host, port)
        true_port = port - PORT_SHIFT
        return Address(_moved(host, self._true_networks), true_port if true_port in SHIFTED_PORTS else port)

    def asker(self, host: str, port: int) -> Address:
        """Who sent to a DHCP server. A client without an address is known by its socket alone."""
        sender = self.logical(host, port)
        if sender.host == SHARED:
            sender = Address(UNSPECIFIED, 68)
        return Address(sender.host, sender.port, f"{host}:{port}")

    def to_json(self) -> dict[str, Any]:
        """As another process may have it."""
        ports = [[address.host, address.port, port] for address, port in self._ports.items()]
        return {"net": self.net, "single": self.single, "ports": ports}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "LoopbackPlan":
        """The inverse of `to_json`. UsageError for anything else."""
        try:
            ports = {Address(str(host), int(port)): int(real) for host, port, real in data["ports"]}
            return cls(int(data["net"]), single=bool(data["single"]), ports=ports)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"loopback plan: {error!r} in {data!r:.200}") from None


def _moved(host: str, networks: Mapping[str, str]) -> str:
    """`host` in the network that stands for its own, if there is one."""
    network, _, number = host.rpartition(".")
    other = networks.get(network)
    return host if other is None else f"{other}.{number}"


class _Claim:
    """A socket that says: this network is taken. The kernel frees it even if the process dies."""

    def __init__(self, held: socket.socket) -> None:
        host, port = held.getsockname()
        self.local = Address(host, port)
        self._held = held

    def close(self) -> None:
        self._held.close()


def claim_plan(rng: Random, *, single: bool = False) -> tuple[LoopbackPlan, Closer]:
    """A plan on a network that no other world on this machine has, for as long as the claim is not closed.

    Where the machine has no address but 127.0.0.1 the plan is a `single` one. UsageError when all networks are taken.
    """
    for net in rng.sample(NETS, len(NETS)):
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            held.bind((SHARED, 0) if single else (f"127.{net}.255.254", CLAIM_PORT))
        except OSError as error:
            held.close()
            if error.errno == errno.EADDRNOTAVAIL:
                return claim_plan(rng, single=True)
        else:
            return LoopbackPlan(net, single=single), _Claim(held)
    raise UsageError(f"loopback: no free network; every 127.x.255.254 has its UDP port {CLAIM_PORT} taken")

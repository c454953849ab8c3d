"""The namespaces and wires of a lab. They have no names on this machine and are gone with the process."""

import ctypes
import fcntl
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cloud_stub.lab import segments
from cloud_stub.lab.segments import (
    CELL,
    CELL_PORT,
    INTERNET,
    LAN,
    LAN_PORT,
    MACHINE_PORT,
    OPERATOR,
    OPERATOR_UPLINK,
    ROUTER,
    SITE_UPLINK,
    SWITCH,
    WAN_PORT,
    Behind,
    Uplink,
)
from cloud_stub.topology import Topology
from emulator.errors import UsageError
from emulator.net.api import Interface
from emulator.net.linux_interface import ask_kernel
from emulator.net.namespace import Namespace, entered, new_namespace

SETTINGS = Path("/proc/sys/net")
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17  # linux/sockios.h, linux/ethtool.h
NTF_PROXY = 0x08  # linux/neighbour.h
HOST_PREFIX_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Socketed:
    """Where a machine is to open its sockets."""

    namespace: Namespace
    interface: str
    address: Interface


class LabNetwork:
    """A LAN behind a router, a mobile operator's network, and the internet between them.

    `public` are the addresses that the internet sends to the site's router.
    """

    def __init__(self, topology: Topology, public: Iterable[str]) -> None:
        self._topology = topology
        self._public = tuple(public)
        self._open = ExitStack()
        self._namespaces: dict[str, Namespace] = {}

    def build(self) -> None:
        """Make what every lab has. UsageError: not root, or a kernel without namespaces or bridges."""
        topology = self._topology
        for name in (SWITCH, ROUTER, OPERATOR, INTERNET):
            self._add(name)
        self._ask(SWITCH, _make_bridges)
        self._ask(INTERNET, _swallow)
        self._join(ROUTER, LAN_PORT, LAN)
        self._join(OPERATOR, CELL_PORT, CELL)
        set_kernel(self[ROUTER], segments.ANSWERS_AT_ONCE)
        lan, cell = (IPv4Network(net).prefixlen for net in (topology.network, topology.operator_network))
        self._uplink(ROUTER, SITE_UPLINK, LAN_PORT, Interface(topology.router, lan), self._public)
        cell_net = (topology.operator_network,)
        self._uplink(OPERATOR, OPERATOR_UPLINK, CELL_PORT, Interface(topology.operator_router, cell), cell_net)

    def __getitem__(self, name: str) -> Namespace:
        return self._namespaces[name]

    @property
    def paths(self) -> dict[str, str]:
        """Name of each machine to where ``nsenter --net=PATH`` finds its namespace."""
        return {name: namespace.path for name, namespace in self._namespaces.items()}

    def machine(self, name: str, address: str) -> Socketed:
        """The machine with this address: a router, or one of its own that is made and connected now."""
        topology = self._topology
        if address == topology.router:
            return Socketed(self[ROUTER], LAN_PORT, _with_prefix(address, topology.network))
        if address == topology.operator_router:
            return Socketed(self[OPERATOR], CELL_PORT, _with_prefix(address, topology.operator_network))
        where = segments.behind(address, topology)
        interface = Interface(address, HOST_PREFIX_LENGTH, segments.gateway_of(where, topology))
        namespace = self._add(name)
        if where is Behind.CELL:
            interface = _with_prefix(address, topology.operator_network)
            self._join(name, MACHINE_PORT, CELL)
        else:
            port = segments.port_name(name)
            self._wire(name, MACHINE_PORT, where.value, port)
            self._ask(where.value, lambda kernel: _lead_to(kernel, port, address, proxied=where is Behind.SITE))
        self._ask(name, lambda kernel: _settle(kernel, MACHINE_PORT, interface))
        return Socketed(namespace, MACHINE_PORT, interface)

    def charger(self, name: str, link_address: str) -> Namespace:
        """A place for a charger: a namespace whose `MACHINE_PORT` is plugged into the LAN, without an address."""
        namespace = self._add(name)
        self._join(name, MACHINE_PORT, LAN, link_address)
        return namespace

    def plug(self, name: str, bridge: str) -> None:
        """Put the wire of a charger into the LAN, or into the operator's network as its modem does."""
        self._ask(SWITCH, lambda kernel: _enslave(kernel, segments.port_name(name), bridge))

    def close(self) -> None:
        """Let go of everything; the kernel takes it away. May be called twice."""
        self._open.close()
        self._namespaces.clear()

    def _add(self, name: str) -> Namespace:
        if name in self._namespaces:
            raise UsageError(f"lab: {name}: there is a machine of that name")
        self._namespaces[name] = namespace = self._open.enter_context(new_namespace())
        set_kernel(namespace, segments.settings_of(name))
        return namespace

    def _ask(self, name: str, work: Callable[[IPRoute], None]) -> None:
        """Have something done in a namespace. UsageError: the kernel does not do it."""
        try:
            ask_kernel(self[name], work)
        except NetlinkError as error:
            raise UsageError(f"lab: {name}: {os.strerror(error.code)}: the lab takes root") from None

    def _join(self, name: str, port: str, bridge: str, link_address: str | None = None) -> None:
        """A wire between a machine and a bridge of the switch."""
        other = segments.port_name(name)
        self._wire(name, port, SWITCH, other, link_address)
        self._ask(SWITCH, lambda kernel: _enslave(kernel, other, bridge))

    def _wire(self, name: str, port: str, other: str, other_port: str, link_address: str | None = None) -> None:
        """A wire between two machines. Its other end is up; this one is for its machine to set up."""
        near, far = self[name], self[other]
        self._ask(other, lambda kernel: _make_wire(kernel, other_port, near, port, link_address))
        for namespace, interface in ((near, port), (far, other_port)):
            with entered(namespace):
                _compute_checksums(interface)

    def _uplink(self, router: str, uplink: Uplink, inner_port: str, inner: Interface, networks: Iterable[str]) -> None:
        self._wire(router, WAN_PORT, INTERNET, uplink.port)
        outer = Interface(uplink.near, uplink.prefix_length, uplink.far)

        def settle_router(kernel: IPRoute) -> None:
            _settle(kernel, inner_port, inner)
            _settle(kernel, WAN_PORT, outer)

        def settle_internet(kernel: IPRoute) -> None:
            _settle(kernel, uplink.port, Interface(uplink.far, uplink.prefix_length))
            for network in networks:
                kernel.route("add", dst=network, gateway=uplink.near)

        self._ask(router, settle_router)
        self._ask(INTERNET, settle_internet)


def _with_prefix(address: str, network: str) -> Interface:
    return Interface(address, IPv4Network(network).prefixlen)


def _make_bridges(kernel: IPRoute) -> None:
    for bridge in (LAN, CELL):
        kernel.link("add", ifname=bridge, kind="bridge")
        kernel.link("set", index=_index(kernel, bridge), state="up")


def _make_wire(kernel: IPRoute, port: str, other: Namespace, other_port: str, link_address: str | None) -> None:
    peer = {"ifname": other_port, "net_ns_fd": other.fd}
    if link_address is not None:
        peer["address"] = link_address
    kernel.link("add", ifname=port, kind="veth", peer=peer)
    kernel.link("set", index=_index(kernel, port), state="up")


def _enslave(kernel: IPRoute, port: str, bridge: str) -> None:
    kernel.link("set", index=_index(kernel, port), master=_index(kernel, bridge))


def _settle(kernel: IPRoute, port: str, interface: Interface) -> None:
    """Bring an interface up with its address, and with a default route if it has a gateway."""
    index = _index(kernel, port)
    kernel.link("set", index=index, state="up")
    kernel.addr("add", index=index, address=interface.address, prefixlen=interface.prefix_length)
    if interface.gateway is not None:
        kernel.route("add", dst="0.0.0.0/0", gateway=interface.gateway, oif=index, flags="onlink")


def _lead_to(kernel: IPRoute, port: str, address: str, *, proxied: bool) -> None:
    """A router's way to a machine; `proxied`: chargers take it for a neighbour, and the router answers their ARP."""
    kernel.route("add", dst=f"{address}/{HOST_PREFIX_LENGTH}", oif=_index(kernel, port), scope="link")
    if proxied:
        kernel.neigh("add", dst=address, ifindex=_index(kernel, LAN_PORT), flags=NTF_PROXY)


def _swallow(kernel: IPRoute) -> None:
    """What is for nobody is lost without a word, as it mostly is out there."""
    kernel.route("add", dst="0.0.0.0/0", type="blackhole")


def _index(kernel: IPRoute, port: str) -> int:
    return int(kernel.link_lookup(ifname=port)[0])


def set_kernel(namespace: Namespace, settings: Mapping[str, str]) -> None:
    """Settings of the kernel for one namespace. UsageError: it does not take one."""
    with entered(namespace):
        for key, value in settings.items():
            try:
                (SETTINGS / key).write_text(value)
            except FileNotFoundError:
                if not key.startswith("ipv6/"):
                    raise UsageError(f"lab: {SETTINGS / key}: no such setting in this kernel") from None
            except OSError as error:
                raise UsageError(f"lab: {SETTINGS / key}: {error.strerror}") from None


class _EthtoolValue(ctypes.Structure):
    _fields_ = (("cmd", ctypes.c_uint32), ("data", ctypes.c_uint32))


class _InterfaceRequest(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * 16), ("data", ctypes.c_void_p), ("rest", ctypes.c_char * 16))


def _compute_checksums(interface: str) -> None:
    """Have an interface send what a cable carries: segments no larger than its MTU, with their checksums.

    A virtual one else leaves both to a card that is not there, and every capture says so.
    """
    value = _EthtoolValue(ETHTOOL_STXCSUM, 0)
    request = _InterfaceRequest(interface.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        fcntl.ioctl(opened, SIOCETHTOOL, request)

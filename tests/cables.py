"""Machines on one Ethernet, each in a network namespace of its own: what tests of real interfaces begin with."""

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from typing import Any

from emulator.net.api import Interface
from emulator.net.linux import LinuxHost
from emulator.net.linux_interface import ask_kernel
from emulator.net.namespace import Namespace, new_namespace
from emulator.net.raw import Probing

BRIDGE, ETH0 = "br0", "eth0"
AT_ONCE = Probing(wait_max_s=0.0, probes=1, gap_min_s=0.0, gap_max_s=0.0, listen_s=0.05)
"""Neighbours on this machine answer within a millisecond."""


class Cables:
    """A switch. Everything about it is gone once it is closed."""

    def __init__(self) -> None:
        self._close = ExitStack()
        self._numbers = count()
        self._plugs: dict[int, str] = {}
        self._switch = self._close.enter_context(new_namespace())
        ask_kernel(self._switch, lambda kernel: kernel.link("add", ifname=BRIDGE, kind="bridge"))
        self._set(self._switch, BRIDGE, state="up")

    def __enter__(self) -> "Cables":
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def machine(self, address: str | None = None, *, prefix_length: int = 16) -> Namespace:
        """A new machine with an interface eth0 that is down, or with `address` up."""
        made, plug = self._close.enter_context(new_namespace()), f"p{next(self._numbers)}"
        self._plugs[made.fd] = plug

        def wire(kernel: Any) -> None:
            kernel.link("add", ifname=plug, kind="veth", peer={"ifname": ETH0, "net_ns_fd": made.fd})
            bridge, end = (kernel.link_lookup(ifname=name)[0] for name in (BRIDGE, plug))
            kernel.link("set", index=end, master=bridge, state="up")

        ask_kernel(self._switch, wire)
        if address is not None:
            self._set(made, ETH0, state="up")
            self.settle(
                made, lambda kernel, eth0: kernel.addr("add", index=eth0, address=address, prefixlen=prefix_length)
            )
        return made

    def host(self, name: str, address: str | None = None) -> LinuxHost:
        """A service at `address`, or a machine that has none yet; to both everybody is a neighbour."""
        made = self.machine(address)
        if address is None:
            self._set(made, ETH0, state="up")
        self.settle(made, lambda kernel, eth0: kernel.route("add", dst="0.0.0.0/0", oif=eth0, scope=253))
        fixed = None if address is None else Interface(address, 16)
        host = LinuxHost(ETH0, name=name, namespace=made, address=fixed, probing=AT_ONCE)
        self._close.callback(host.close)
        return host

    def settle(self, machine: Namespace, work: Callable[[Any, int], object]) -> None:
        """Set something of a machine's eth0, which `work` gets by its index."""
        ask_kernel(machine, lambda kernel: work(kernel, kernel.link_lookup(ifname=ETH0)[0]))

    def pull(self, machine: Namespace) -> None:
        """Take the cable out of the switch."""
        self._set(self._switch, self._plugs[machine.fd], state="down")

    def plug(self, machine: Namespace) -> None:
        """Put it back."""
        self._set(self._switch, self._plugs[machine.fd], state="up")

    def _set(self, where: Namespace, interface: str, *, state: str) -> None:
        ask_kernel(where, lambda kernel: kernel.link("set", index=kernel.link_lookup(ifname=interface)[0], state=state))

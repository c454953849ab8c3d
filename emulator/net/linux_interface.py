"""The kernel's settings of one network interface: link, address, routes (rtnetlink(7))."""

import asyncio
import errno
import fcntl
import os
import socket
import struct
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from emulator.errors import NetError, NetReason, UsageError
from emulator.net.api import Interface
from emulator.net.namespace import Namespace, entered

T = TypeVar("T")

METRIC = 4_096
"""Of our routes: where the machine has a way of its own it goes that; our sockets are bound to their interface."""

MARK = 0x5A
"""The origin of our addresses (IFA_PROTO): what a killed process has left is known by it, and taken away."""

IFNAMSIZ = 16
SIOCGIFFLAGS, IFF_UP, IFF_RUNNING = 0x8913, 0x1, 0x40
SIOCETHTOOL, ETHTOOL_GLINK = 0x8946, 0x0A
RTMGRP_LINK, RTNH_F_ONLINK, ARPHRD_ETHER = 0x1, 0x4, 1
NOTICES_PER_WAKE = 64
_FLAGS = struct.Struct(f"={IFNAMSIZ}sH")
_REQUEST_BYTES = 40  # struct ifreq
_NOTICE_BYTES = 65_536


def ask_kernel(namespace: Namespace | None, work: Callable[[IPRoute], T]) -> T:
    """What `work` gets from the kernel about `namespace`. It may be called from a coroutine and blocks for about 1 ms.

    A thread of its own does it: the library runs an event loop, and a thread can have but one.
    """

    def ask() -> T:
        with entered(namespace), IPRoute() as kernel:
            return work(kernel)

    with ThreadPoolExecutor(1) as apart:
        return apart.submit(ask).result()


class LinuxInterface:
    """One interface. UsageError: there is none of this name here, or it is no Ethernet.

    Its link, address and routes are ours to set once `own` was called. `close` puts back what was found.
    """

    def __init__(self, name: str, namespace: Namespace | None) -> None:
        self.name = name
        self._namespace = namespace
        self._taken: Interface | None = None
        self._found_up: bool | None = None
        self._watching: asyncio.AbstractEventLoop | None = None
        if not 0 < len(os.fsencode(name)) < IFNAMSIZ:
            raise UsageError(f"interface {name}: no name that an interface can have")
        found = ask_kernel(namespace, lambda kernel: list(kernel.get_links(ifname=name)))
        if not found:
            raise UsageError(f"interface {name}: there is none of this name")
        if found[0]["ifi_type"] != ARPHRD_ETHER:
            raise UsageError(f"interface {name}: it is no Ethernet")
        self._index: int = found[0]["index"]
        self.link_address = str(found[0].get("address"))
        with entered(namespace):
            self._notices = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._notices.setblocking(False)

    @property
    def is_up(self) -> bool:
        """It was set up, whether or not there is a carrier."""
        return bool(self._flags() & IFF_UP)

    @property
    def is_running(self) -> bool:
        """It is up and has a carrier: the cable is in, and somebody at the other end."""
        return self._flags() & (IFF_UP | IFF_RUNNING) == IFF_UP | IFF_RUNNING and self._has_link()

    def own(self) -> None:
        """Have it for ourselves. UsageError: not the right to set it, or it has an address that is not ours.

        What a process that was killed has left of ours is taken away.
        """
        try:
            others = ask_kernel(self._namespace, self._clear)
        except NetlinkError as error:
            if error.code == errno.EPERM:
                raise UsageError(f"interface {self.name}: to set its address takes root (CAP_NET_ADMIN)") from None
            raise UsageError(f"interface {self.name}: {os.strerror(error.code)}") from None
        if others:
            raise UsageError(
                f"interface {self.name}: it has the address {others[0]} already; "
                "the charger needs an interface for itself, such as a macvlan in a network namespace"
            )
        self._found_up = self.is_up

    def set_up(self, *, up: bool) -> None:
        """Set the link up or down; down takes the routes. NetError NO_CARRIER: the interface is gone."""
        state = "up" if up else "down"
        with self._spoken(NetReason.NO_CARRIER):
            ask_kernel(self._namespace, lambda kernel: kernel.link("set", index=self._index, state=state))

    def take(self, interface: Interface) -> None:
        """Set the address and the way out, instead of those before. NetError NO_ADDRESS: the kernel refuses it."""
        before, self._taken = self._taken, interface
        with self._spoken(NetReason.NO_ADDRESS):
            ask_kernel(self._namespace, lambda kernel: self._replace(kernel, before, interface))

    def drop(self) -> None:
        """Give the address up, if there is one of ours; the routes go with it."""
        before, self._taken = self._taken, None
        if before is not None:
            with suppress(NetError), self._spoken(NetReason.NO_ADDRESS):  # the interface is gone, and its address too
                ask_kernel(self._namespace, lambda kernel: self._remove(kernel, before))

    def watch(self, changed: Callable[[], None]) -> None:
        """Call this whenever the state of a link in the namespace has changed, from the loop that runs now."""
        if self._watching is None:
            self._notices.bind((0, RTMGRP_LINK))
            self._watching = asyncio.get_running_loop()
            self._watching.add_reader(self._notices, self._noticed, changed)

    def close(self) -> None:
        """Put back what was found, and look no more. May be called twice."""
        if self._notices.fileno() < 0:
            return
        self.drop()
        if self._found_up is not None and self._found_up != self.is_up:
            with suppress(NetError):
                self.set_up(up=self._found_up)
        if self._watching is not None and not self._watching.is_closed():
            self._watching.remove_reader(self._notices)
        self._notices.close()

    def _flags(self) -> int:
        request = struct.pack(f"={_REQUEST_BYTES}s", self.name.encode())
        try:
            flags: int = _FLAGS.unpack_from(fcntl.ioctl(self._notices, SIOCGIFFLAGS, request))[1]
        except OSError:
            return 0  # it is gone
        return flags

    def _has_link(self) -> bool:
        """What the driver says, if it says anything: the flags follow a moment later."""
        answer = array("I", (ETHTOOL_GLINK, 0))
        request = struct.pack(f"={IFNAMSIZ}s", self.name.encode()) + struct.pack("@P16x", answer.buffer_info()[0])
        try:
            fcntl.ioctl(self._notices, SIOCETHTOOL, request)
        except OSError:
            return True
        return bool(answer[1])

    def _clear(self, kernel: IPRoute) -> list[str]:
        """Take away what has our mark; the IPv4 addresses that have not."""
        kernel.link("set", index=self._index, state="up" if self.is_up else "down")  # asks for the right to do so
        others = []
        for each in kernel.get_addr(family=socket.AF_INET, index=self._index):
            if each.get("IFA_PROTO") != MARK:
                others.append(f"{each.get('IFA_ADDRESS')}/{each['prefixlen']}")
                continue
            kernel.addr("del", index=self._index, address=each.get("IFA_LOCAL"), prefixlen=each["prefixlen"])
        return others

    def _replace(self, kernel: IPRoute, before: Interface | None, new: Interface) -> None:
        same = before is not None and (before.address, before.prefix_length) == (new.address, new.prefix_length)
        moved = before is not None and before.address != new.address
        if before is not None and moved:  # first: what is added beside another address goes when that one goes
            self._remove(kernel, before)
        if not same:
            kernel.addr("add", **self._address(new), IFA_PROTO=MARK, IFA_RT_PRIORITY=METRIC)
        if before is not None and not moved and not same:
            self._remove(kernel, before)
        self._lead(kernel, new)

    def _lead(self, kernel: IPRoute, new: Interface) -> None:
        """Have the gateway as the only way out; one that nobody can have is none."""
        route = {"dst": "0.0.0.0/0", "oif": self._index, "priority": METRIC}
        with suppress(NetlinkError):  # there was none
            kernel.route("del", **route)
        if new.gateway is not None:
            with suppress(NetlinkError):
                kernel.route("add", **route, gateway=new.gateway, prefsrc=new.address, flags=RTNH_F_ONLINK)

    def _remove(self, kernel: IPRoute, interface: Interface) -> None:
        kernel.addr("del", **self._address(interface))

    def _address(self, interface: Interface) -> dict[str, Any]:
        return {"index": self._index, "address": interface.address, "prefixlen": interface.prefix_length}

    def _noticed(self, changed: Callable[[], None]) -> None:
        with suppress(OSError):  # there is no more, or it was too much for the kernel to keep
            for _ in range(NOTICES_PER_WAKE):
                self._notices.recv(_NOTICE_BYTES)
        changed()

    @contextmanager
    def _spoken(self, reason: NetReason) -> Iterator[None]:
        """The kernel's errors in our words."""
        try:
            yield
        except NetlinkError as error:
            raise NetError(reason, f"{self.name}: {os.strerror(error.code)}") from None

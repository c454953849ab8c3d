"""The kinds of network that the contract of every host is tried on."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
import uvloop

from emulator.clock import SimLoop, system_utc
from emulator.faults import FaultSet
from emulator.local import FACTORY, Mode
from emulator.net.api import Address, Closer, Datagrams, Host, Interface, Stream
from emulator.net.around import DatagramsAround, HostAround, StreamAround
from emulator.net.bearer import Cable
from emulator.net.capture import CaptureFiles, capturing
from emulator.net.link import Link
from emulator.net.loopback import LoopbackHost, claim_plan
from emulator.net.meter import DataMeter, ports_of
from emulator.net.metered import MeteredHost
from emulator.net.place import Router
from emulator.net.shaped import ShapedHost
from emulator.net.sim import SimNet
from emulator.net.site import Site as SiteNetwork
from emulator.profile import load_profile
from emulator.remote import mac_of
from tests.cables import Cables

NOBODY = Address("203.0.113.9", 8883)
SOON_S = 2.0
"""Long enough for whatever must arrive, on a busy machine too."""


@dataclass(frozen=True)
class Site:
    """A network to make hosts on. `lan` is the prefix of its addresses, the DHCP server's is ``<lan>.0.1``."""

    lan: str
    make: Callable[[str, str | None], Host]
    hosts: list[Host] = field(default_factory=list)

    def service(self, name: str, address: str) -> Host:
        """A machine that has its address from the start."""
        self.hosts.append(self.make(name, address))
        return self.hosts[-1]

    def machine(self, name: str) -> Host:
        """A machine without an address."""
        self.hosts.append(self.make(name, None))
        return self.hosts[-1]

    def charger(self, name: str = "charger", number: int = 7) -> Host:
        """A machine that has got its address."""
        host = self.machine(name)
        host.set_interface(Interface(f"{self.lan}.16.{number}", 16))
        return host


@contextmanager
def _sim() -> Iterator[Site]:
    net = SimNet(Random(1))
    yield Site("10.20", net.host)


@contextmanager
def _loopback(*, single: bool) -> Iterator[Site]:
    plan, claim = claim_plan(Random(), single=single)
    try:
        yield Site(plan.prefix, lambda name, address: LoopbackHost(plan, name, mac_of(name), address))
    finally:
        claim.close()


@contextmanager
def _linux() -> Iterator[Site]:
    """True ports and addresses: every machine in a namespace of its own, on one cable."""
    with Cables() as cables:
        yield Site("10.20", lambda name, address: cables.host(name, address))


class _Around(HostAround):
    """One more layer around everything, which changes nothing."""

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        return DatagramsAround(await super().udp(port, broadcast=broadcast))

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        return StreamAround(await super().connect(to, timeout_s=timeout_s))

    async def listen(self, port: int, serve: Callable[[Stream], None]) -> Closer:
        return await super().listen(port, lambda stream: serve(StreamAround(stream)))


@contextmanager
def _around(inside: Callable[[], AbstractContextManager[Site]]) -> Iterator[Site]:
    """What forwards everything cannot be told from what is inside."""
    with inside() as site:
        yield Site(site.lan, lambda name, address: _Around(site.make(name, address)))


@contextmanager
def _shaped(inside: Callable[[], AbstractContextManager[Site]]) -> Iterator[Site]:
    """Behind a perfect link and a router that neither translates nor filters every host is what it was."""
    now = asyncio.get_running_loop().time
    network = SiteNetwork(Random(1), now, {}, router=Router(nat=False))
    with inside() as site:

        def make(name: str, address: str | None) -> Host:
            link = Link(name, {Mode.ETHERNET: Cable()}, FaultSet(Random(1), now), Random(1), now)
            link.attach(Mode.ETHERNET, FACTORY)
            return ShapedHost(site.make(name, address), site=network, link=link)

        yield Site(site.lan, make)


@contextmanager
def _metered(inside: Callable[[], AbstractContextManager[Site]]) -> Iterator[Site]:
    """A meter only looks on."""
    ports = ports_of(load_profile().network)
    with inside() as site:
        yield Site(site.lan, lambda name, address: MeteredHost(site.make(name, address), DataMeter(), ports))


@contextmanager
def _captured(inside: Callable[[], AbstractContextManager[Site]]) -> Iterator[Site]:
    """So does a capture."""
    with (
        TemporaryDirectory() as folder,
        capturing(CaptureFiles(Path(folder) / "x.pcapng")) as capture,
        inside() as site,
    ):
        assert capture is not None
        around = capture.around
        yield Site(site.lan, lambda name, address: around(site.make(name, address), system_utc))


WAYS = {
    "sim": (SimLoop, _sim),
    "around-sim": (SimLoop, lambda: _around(_sim)),
    "metered-sim": (SimLoop, lambda: _metered(lambda: _shaped(_sim))),
    "metered-loopback-uvloop": (uvloop.new_event_loop, lambda: _metered(lambda: _loopback(single=False))),
    "captured-sim": (SimLoop, lambda: _captured(lambda: _shaped(_sim))),
    "captured-loopback-uvloop": (uvloop.new_event_loop, lambda: _captured(lambda: _loopback(single=False))),
    "shaped-sim": (SimLoop, lambda: _shaped(_sim)),
    "shaped-loopback-uvloop": (uvloop.new_event_loop, lambda: _shaped(lambda: _loopback(single=False))),
    "loopback": (asyncio.SelectorEventLoop, lambda: _loopback(single=False)),
    "loopback-uvloop": (uvloop.new_event_loop, lambda: _loopback(single=False)),
    "linux": (asyncio.SelectorEventLoop, _linux),
    "shaped-linux-uvloop": (uvloop.new_event_loop, lambda: _shaped(_linux)),
    "single-address": (asyncio.SelectorEventLoop, lambda: _loopback(single=True)),
    "single-address-uvloop": (uvloop.new_event_loop, lambda: _loopback(single=True)),
}

PARAMS = [pytest.param(way, marks=[pytest.mark.needs("root")] if "linux" in way else []) for way in WAYS]
"""The same for a fixture: only root may make network namespaces."""

Story = Callable[[Site], Awaitable[None]]
Run = Callable[[Story], None]

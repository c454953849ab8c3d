"""A charger's address on a real interface, lent by dnsmasq and by udhcpd: got, renewed, rebound, lost and declined.

All stories are told at the same time, in real time; the longest takes a good ten seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emulator.boot.address import address, keep_lease, release_lease
from emulator.boot.login import Login
from emulator.boot.outcome import Degraded, Outcome, Passed, Why
from emulator.boot.remembered import remember_address
from emulator.boot.state import Boot
from emulator.clock import Rtc
from emulator.env import Env, Spec
from emulator.flash import MemoryFlash
from emulator.net.linux import LinuxHost
from emulator.net.linux_interface import ask_kernel
from emulator.net.namespace import Namespace
from emulator.profile import load_profile
from emulator.slots import Slots
from emulator.trace import Recorder, Trace
from tests.cables import AT_ONCE, ETH0, Cables
from tests.integration.dhcp_servers import (
    DNS,
    OTHER_POOL,
    OTHER_ROUTER,
    POOL,
    ROUTER,
    SERVERS,
    Server,
    Started,
    udhcpd,
)

pytestmark = pytest.mark.needs("root", "dnsmasq", "udhcpd")

SERIAL = "ZPR000001"
WITHIN_S = 40.0
TURN_S = 0.05
START_S = 0.5
TAKEN = "192.168.40.105"


@dataclass
class Site:
    """A charger's first stages on a cable with a DHCP server."""

    boot: Boot
    host: LinuxHost
    namespace: Namespace
    cables: Cables
    server_at: Namespace
    start: Started
    directory: Path
    trace: Recorder
    heard: asyncio.Event

    def serve(self, pool: tuple[str, str] = POOL, reserved: dict[str, str] | None = None) -> Server:
        """Start the server."""
        return self.start(self.server_at, self.directory, pool, reserved or {})

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event.data for event in self.trace.where(name)]

    async def until(self, name: str, times: int = 1) -> dict[str, Any]:
        """The event, when it has come so often."""
        while len(found := self.events(name)) < times:
            self.heard.clear()
            await self.heard.wait()
        return found[times - 1]

    def kernel(self) -> tuple[list[str], list[str]]:
        """Addresses of the interface, and gateways, as the kernel has them."""

        def ask(kernel: Any) -> tuple[list[str], list[str]]:
            addresses = [f"{each.get('address')}/{each['prefixlen']}" for each in kernel.get_addr(family=2)]
            gateways = [each.get("gateway") for each in kernel.get_routes(family=2, table=254)]
            return addresses, [gateway for gateway in gateways if gateway]

        return ask_kernel(self.namespace, ask)


Story = Callable[[Site], Awaitable[dict[str, Any]]]


async def life_of_a_lease(site: Site) -> dict[str, Any]:
    """Got; renewed by its server; rebound, since the server rests; lost to one with other addresses."""
    told: dict[str, Any] = {}
    with site.serve() as server:
        await started(site)
        told["outcome"], told["kernel"], told["lease"] = await address(site.boot), site.kernel(), site.boot.lease
        keeping = asyncio.create_task(keep_lease(site.boot))
        await site.until("lease.renewed")
        server.pause()
        lease = site.boot.lease
        assert lease is not None
        await asyncio.sleep(lease.t2_s + 5 * TURN_S)
        server.go_on()
        await site.until("lease.renewed", 2)
        told["renewed"] = [event["by"] for event in site.events("lease.renewed")]
        told["still"] = site.kernel()
    (site.directory / "leases").unlink(missing_ok=True)
    with site.serve(OTHER_POOL):
        told["lost"] = await site.until("lease.lost")
        await keeping
        told["without"] = site.kernel()
    return told


async def conflict(site: Site) -> dict[str, Any]:
    """The address that is reserved for the charger is somebody else's."""
    site.cables.machine(TAKEN, prefix_length=24)
    with ExitStack() as stack:
        server = stack.enter_context(site.serve(reserved={site.host.link_address: TAKEN}))
        await started(site)
        winning = asyncio.create_task(address(site.boot))
        await site.until("lease.declined")
        if site.start is udhcpd:  # which offers what is reserved again, however often it is declined
            stack.close()
            server = stack.enter_context(site.serve())
        outcome, kernel = await winning, site.kernel()
        await release_lease(site.boot)
        return {"outcome": outcome, "kernel": kernel, "after": site.kernel(), "log": server.said()}


async def reboot(site: Site) -> dict[str, Any]:
    """It remembers an address of another network."""
    remember_address(site.boot.env.flash, OTHER_POOL[1])
    with site.serve():
        await started(site)
        return {"outcome": await address(site.boot), "forgotten": site.events("lease.forgotten")}


async def started(site: Site) -> None:
    """The cable is in, and the server has had the time to start."""
    await site.host.link_up()
    await asyncio.sleep(START_S)


STORIES: dict[str, Story] = {"life": life_of_a_lease, "conflict": conflict, "reboot": reboot}


def tell(story: Story, start: Started, directory: Path) -> Callable[[], Awaitable[dict[str, Any]]]:
    """A story on a cable of its own."""

    async def told() -> dict[str, Any]:
        loop, recorder, flash, profile = asyncio.get_running_loop(), Recorder(), MemoryFlash(), load_profile()
        heard = asyncio.Event()
        spec = Spec(SERIAL, b"k" * 32, profile, "", "", vendor_root_pem="", bundle_key_pem="")
        with ExitStack() as stack:
            cables = stack.enter_context(Cables())
            server_at, namespace = cables.machine(ROUTER, prefix_length=24), cables.machine()
            cables.settle(server_at, lambda k, eth0: k.addr("add", index=eth0, address=OTHER_ROUTER, prefixlen=24))
            host = LinuxHost(ETH0, name=SERIAL, namespace=namespace, probing=AT_ONCE)
            stack.enter_context(closing(host))
            rtc = Rtc(loop.time, built_at=profile.firmware.built_at)
            env = Env(host, rtc, flash, Trace(SERIAL, [recorder, lambda _: heard.set()], loop.time), str(directory))
            boot = Boot(spec, env, Slots(flash, profile.firmware), Login.of(spec))
            async with asyncio.timeout(WITHIN_S):
                return await story(Site(boot, host, namespace, cables, server_at, start, directory, recorder, heard))

    return told


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """Server and story to what came of it."""
    cases = [(server, story) for server in SERVERS for story in STORIES]

    async def tell_all() -> list[dict[str, Any]]:
        tales = [tell(STORIES[story], SERVERS[server], tmp_path_factory.mktemp(server)) for server, story in cases]
        return await asyncio.gather(*(tale() for tale in tales))

    return dict(zip(cases, asyncio.run(tell_all()), strict=True))


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_lease_is_got_and_the_kernel_has_its_address_and_gateway(told, server: str) -> None:
    life = told[server, "life"]
    assert isinstance(life["outcome"], Passed)
    lease = life["lease"]
    assert (lease.server, lease.router, lease.dns, lease.prefix_length) == (ROUTER, ROUTER, (DNS,), 24)
    assert life["kernel"] == ([f"{lease.address}/24"], [ROUTER])


def test_it_is_renewed_by_its_server_and_rebound_when_that_does_not_answer(told, server: str) -> None:
    life = told[server, "life"]
    assert life["renewed"] == ["renewing", "rebinding"]
    assert life["still"] == life["kernel"]


def test_a_lease_that_ends_takes_the_address_and_the_route(told, server: str) -> None:
    life = told[server, "life"]
    assert life["lost"]["why"] == ("nak" if server == "dnsmasq" else "expired"), "udhcpd refuses no renewal"
    assert life["without"] == ([], [])


def test_an_address_of_another_network_is_refused_and_replaced(told, server: str) -> None:
    reboot = told[server, "reboot"]
    (forgotten,) = reboot["forgotten"]
    assert forgotten["server"] == ROUTER
    assert isinstance(reboot["outcome"], Passed) and reboot["outcome"].detail.startswith("192.168.40.10")


def test_an_address_that_answers_arp_is_declined_and_another_taken(told, server: str) -> None:
    conflict = told[server, "conflict"]
    outcome: Outcome = conflict["outcome"]
    assert isinstance(outcome, Degraded) and outcome.why is Why.ADDRESS_CONFLICT
    assert outcome.detail.startswith(f"{TAKEN} in use by another machine; got 192.168.40.10")
    addresses, gateways = conflict["kernel"]
    assert addresses != [f"{TAKEN}/24"] and gateways == [ROUTER]
    assert conflict["after"] == ([], [])


def test_dnsmasq_takes_note_of_the_decline_and_of_the_release(told) -> None:
    log = told["dnsmasq", "conflict"]["log"]
    assert f"DHCPDECLINE(eth0) {TAKEN}" in log
    assert "DHCPRELEASE(eth0) 192.168.40.10" in log

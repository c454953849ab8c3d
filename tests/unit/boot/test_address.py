import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from emulator.boot.address import address, keep_lease, release_lease
from emulator.boot.login import Login
from emulator.boot.outcome import Degraded, Passed
from emulator.boot.state import Boot
from emulator.clock import Rtc, SimLoop
from emulator.env import Env, Spec
from emulator.errors import NetError, NetReason
from emulator.flash import MemoryFlash
from emulator.net.api import Interface
from emulator.net.around import HostAround
from emulator.net.sim import SimHost, SimNet
from emulator.profile import load_profile
from emulator.slots import Slots
from emulator.trace import Recorder, Trace
from emulator.wire.address import BROADCAST, UNSPECIFIED, Address
from emulator.wire.dhcp import DhcpMessage, MessageType, decode, encode

SERIAL, SERVER, REFUSED = "ZPR000001", "192.168.40.1", "192.168.40.99"
LEASE_S = 100
ACKED = {MessageType.DISCOVER: MessageType.OFFER, MessageType.REQUEST: MessageType.ACK}


@dataclass
class Bench:
    """A charger's boot state on a network with a DHCP server that says what `lends` says."""

    boot: Boot
    host: SimHost
    flash: MemoryFlash
    trace: Recorder
    net: SimNet
    heard: list[DhcpMessage] = field(default_factory=list)
    lends: dict[str, Any] = field(default_factory=lambda: {"your_address": "192.168.40.7", "dns": ("192.168.40.53",)})

    async def serve(self, server: SimHost) -> None:
        socket = await server.udp(67, broadcast=True)
        while True:
            data, sender = await socket.receive()
            asked = decode(data)
            self.heard.append(asked)
            if asked.type in ACKED:
                reply = DhcpMessage(
                    ACKED[asked.type], asked.xid, asked.mac, lease_s=LEASE_S, server=SERVER, **self.lends
                )
                renewal = asked.client_address != UNSPECIFIED
                to = Address(asked.client_address if renewal else BROADCAST, 68, link=sender.link)
                socket.send(encode(reply), to)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event.data for event in self.trace.where(name)]


class Stubborn(HostAround):
    """A host that does not take one address, as a kernel may whose interface has just been unplugged."""

    def set_interface(self, interface: Interface | None) -> None:
        """NetError NO_ADDRESS for that one."""
        if interface is not None and interface.address == REFUSED:
            raise NetError(NetReason.NO_ADDRESS, "no such device")
        super().set_interface(interface)


def play(story: Callable[[Bench], Awaitable[None]]) -> Bench:
    """A story that begins with a lease; its keeper runs beside it."""

    async def main() -> Bench:
        loop, net, recorder, flash = asyncio.get_running_loop(), SimNet(Random(1)), Recorder(), MemoryFlash()
        profile = load_profile()
        spec = Spec(
            SERIAL, b"k" * 32, profile, roots_pem="", firmware_key_pem="", vendor_root_pem="", bundle_key_pem=""
        )
        rtc, host = Rtc(loop.time, built_at=profile.firmware.built_at), net.host(SERIAL)
        env = Env(Stubborn(host), rtc, flash, Trace(SERIAL, [recorder], loop.time), "1")
        boot = Boot(spec, env, Slots(flash, profile.firmware), Login.of(spec))
        bench = Bench(boot, host, flash, recorder, net)
        serving = loop.create_task(bench.serve(net.host("router", SERVER)))
        assert isinstance(await address(boot), Passed)
        keeper = loop.create_task(keep_lease(boot))

        async def stop_keeper() -> None:
            keeper.cancel()
            await asyncio.wait([keeper])

        boot.lease_wanted = stop_keeper
        try:
            await story(bench)
        finally:
            serving.cancel()
            await stop_keeper()
        return bench

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        return runner.run(main())


def test_another_address_and_other_dns_servers_take_effect_with_the_renewal() -> None:
    async def story(bench: Bench) -> None:
        bench.lends = {"your_address": "192.168.40.8", "dns": ("192.168.40.54",), "prefix_length": 25}
        await asyncio.sleep(LEASE_S / 2 + 1)
        assert bench.host.interface == Interface("192.168.40.8", 25, None)
        assert bench.boot.lease is not None and bench.boot.lease.dns == ("192.168.40.54",)
        assert bench.flash.get("lease") == b'{"address": "192.168.40.8"}'
        await asyncio.sleep(LEASE_S)

    bench = play(story)
    renewed = bench.events("lease.renewed")
    assert [(event["address"], event["dns"], event["by"]) for event in renewed] == [
        ("192.168.40.8", ["192.168.40.54"], "renewing")
    ] * 3
    assert bench.heard[-1].client_address == "192.168.40.8"


def test_an_address_of_a_renewal_that_cannot_be_set_ends_the_lease() -> None:
    async def story(bench: Bench) -> None:
        bench.lends = {"your_address": REFUSED}
        await asyncio.sleep(LEASE_S / 2 + 1)
        assert (bench.host.interface, bench.boot.lease) == (None, None)

    assert play(story).events("lease.upkeep_failed") == [{"why": "no_address"}]


def test_an_address_that_a_stranger_has_is_not_taken() -> None:
    async def story(bench: Bench) -> None:
        stranger = bench.net.host("stranger", "192.168.40.8")
        bench.lends = {"your_address": "192.168.40.8"}
        trying = asyncio.ensure_future(address(bench.boot))
        await asyncio.sleep(5)
        assert [event["address"] for event in bench.events("lease.declined")] == ["192.168.40.8"]
        assert bench.heard[-1].type is MessageType.DECLINE and bench.heard[-1].requested == "192.168.40.8"
        stranger.link_down()
        assert isinstance(await trying, Degraded)

    play(story)


def test_an_address_is_given_back_once_and_forgotten() -> None:
    async def story(bench: Bench) -> None:
        await release_lease(bench.boot)
        assert (bench.host.interface, bench.boot.lease, bench.flash.get("lease")) == (None, None, None)
        await release_lease(bench.boot)
        await asyncio.sleep(LEASE_S)

    bench = play(story)
    assert [asked.type for asked in bench.heard][2:] == [MessageType.RELEASE]
    assert bench.heard[-1].client_address == "192.168.40.7"
    assert bench.events("lease.released") == [{"address": "192.168.40.7", "server": SERVER}]
    assert bench.events("lease.lost") == []


def test_a_lease_that_is_asked_for_while_it_is_given_back_is_not_in_the_way() -> None:
    async def story(bench: Bench) -> None:
        bench.lends = {"your_address": UNSPECIFIED}
        await asyncio.sleep(LEASE_S / 2 + 1)
        await release_lease(bench.boot)
        assert isinstance(bench.heard[-1].type, MessageType)

    assert play(story).heard[-1].type is MessageType.RELEASE


def test_without_a_network_the_address_is_forgotten_all_the_same() -> None:
    async def story(bench: Bench) -> None:
        taken = await bench.host.udp(68, broadcast=True)
        await release_lease(bench.boot)
        assert (bench.boot.lease, bench.flash.get("lease")) == (None, None)
        taken.close()

    assert play(story).events("lease.release_failed") == [{"address": "192.168.40.7", "why": "refused"}]


def test_every_try_has_an_id_of_its_own() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(1)
        assert isinstance(await address(bench.boot), Passed)

    bench = play(story)
    assert len({asked.xid for asked in bench.heard}) == 2

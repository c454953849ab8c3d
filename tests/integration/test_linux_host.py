"""A charger's interface on Linux: what it takes of the machine, what it gives back, and what may go wrong with it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest

from emulator.errors import NetError, NetReason, UsageError
from emulator.net.api import Address, Interface, Stream
from emulator.net.linux import LinuxHost
from emulator.net.linux_interface import ask_kernel
from emulator.net.namespace import Namespace, new_namespace
from emulator.net.reader import Reader
from emulator.wire.address import BROADCAST
from tests.cables import AT_ONCE, ETH0, Cables
from tests.programs import Program
from tests.requirements import program

pytestmark = pytest.mark.needs("root", "nsenter", "ss")

SERVER, CHARGER, LAN = "10.20.0.1", "10.20.16.7", 16
SOON_S, LOOKS = 5.0, 500


def kernel_has(namespace: Namespace) -> tuple[list[str], list[tuple[Any, Any]]]:
    """IPv4 addresses of a namespace, and its routes: (gateway, metric)."""

    def ask(kernel: Any) -> tuple[list[str], list[tuple[Any, Any]]]:
        addresses = [f"{each.get('address')}/{each['prefixlen']}" for each in kernel.get_addr(family=2)]
        return addresses, [
            (each.get("gateway"), each.get("priority")) for each in kernel.get_routes(family=2, table=254)
        ]

    return ask_kernel(namespace, ask)


def is_up(namespace: Namespace) -> bool:
    return ask_kernel(namespace, lambda kernel: bool(next(iter(kernel.get_links(ifname=ETH0)))["flags"] & 1))


def run(story: Callable[[Cables], Awaitable[None]]) -> None:
    async def main() -> None:
        with Cables() as cables:
            async with asyncio.timeout(10 * SOON_S):
                await story(cables)

    asyncio.run(main())


async def until(holds: Callable[[], bool]) -> None:
    """The kernel takes note of a cable within a moment."""
    for _ in range(LOOKS):
        if holds():
            return
        await asyncio.sleep(SOON_S / LOOKS)
    raise AssertionError(f"not within {SOON_S} s")


async def said_by(*command: str) -> str:
    """All that a program prints."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await process.communicate()
    return output.decode()


def accept(stream: Stream) -> None:
    """What a server does that has nothing to say."""
    Reader(stream)


def charger(namespace: Namespace, interface: str = ETH0) -> LinuxHost:
    return LinuxHost(interface, name="charger", namespace=namespace, probing=AT_ONCE)


# what it takes and gives back


def test_in_the_end_the_interface_is_as_it_was_found() -> None:
    async def story(cables: Cables) -> None:
        place = cables.machine()
        assert not is_up(place)
        with closing(charger(place)) as host:
            await host.link_up()
            host.set_interface(Interface(CHARGER, LAN, SERVER))
            assert kernel_has(place) == ([f"{CHARGER}/{LAN}"], [(SERVER, 4096), (None, 4096)])
            assert is_up(place)
        assert kernel_has(place) == ([], [])
        assert not is_up(place)

    run(story)


@pytest.mark.parametrize(
    ("second", "routes"),
    [
        (Interface("10.20.16.8", LAN, SERVER), [(SERVER, 4096), (None, 4096)]),
        (Interface(CHARGER, 24, SERVER), [(SERVER, 4096), (None, 4096)]),
        (Interface(CHARGER, LAN, "10.20.0.2"), [("10.20.0.2", 4096), (None, 4096)]),
        (Interface(CHARGER, LAN, "192.0.2.1"), [("192.0.2.1", 4096), (None, 4096)]),
        (Interface(CHARGER, LAN), [(None, 4096)]),
        (None, []),
    ],
    ids=["address", "network", "gateway", "gateway elsewhere", "no gateway", "none"],
)
def test_what_a_renewal_changes_takes_the_place_of_what_was(
    second: Interface | None, routes: list[tuple[str | None, int]]
) -> None:
    async def story(cables: Cables) -> None:
        place = cables.machine()
        with closing(charger(place)) as host:
            await host.link_up()
            host.set_interface(Interface(CHARGER, LAN, SERVER))
            host.set_interface(second)
            addresses = [] if second is None else [f"{second.address}/{second.prefix_length}"]
            assert kernel_has(place) == (addresses, routes)

    run(story)


LEAVER = """
import asyncio, sys
from emulator.net.api import Interface
from emulator.net.linux import LinuxHost
from emulator.net.namespace import namespace_at
async def main():
    host = LinuxHost("eth0", name="charger", namespace=namespace_at(sys.argv[1]))
    await host.link_up()
    host.set_interface(Interface("10.20.16.7", 16, "10.20.0.1"))
    print("there", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def test_what_a_killed_process_has_left_the_next_one_takes_away() -> None:
    async def story(cables: Cables) -> None:
        place = cables.machine()
        with Program(sys.executable, "-c", LEAVER, place.path) as running:
            running.line_with("there")
            running.send_signal(signal.SIGKILL)
            running.ended()
        assert kernel_has(place)[0] == [f"{CHARGER}/{LAN}"]
        with closing(charger(place)):
            assert kernel_has(place) == ([], [])

    run(story)


def test_an_interface_with_an_address_of_somebody_else_is_left_alone() -> None:
    async def story(cables: Cables) -> None:
        place = cables.machine(CHARGER)
        with pytest.raises(UsageError, match=f"interface eth0: it has the address {CHARGER}/16 already"):
            charger(place)
        assert kernel_has(place)[0] == [f"{CHARGER}/{LAN}"]

    run(story)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("eth7", "there is none of this name"),
        ("lo", "it is no Ethernet"),
        ("", "no name that an interface can have"),
        ("e" * 16, "no name that an interface can have"),
    ],
)
def test_what_is_no_interface_for_it_is_said_in_one_line(name: str, words: str) -> None:
    async def story(cables: Cables) -> None:
        with pytest.raises(UsageError) as caught:
            charger(cables.machine(), name)
        assert str(caught.value) == f"interface {name}: {words}"

    run(story)


@pytest.mark.needs("setpriv")
@pytest.mark.parametrize(
    ("right", "words"),
    [
        ("net_raw", "to send DHCP and ARP takes root (CAP_NET_RAW)"),
        ("net_admin", "to set its address takes root (CAP_NET_ADMIN)"),
    ],
)
def test_a_right_that_is_lacking_is_named(right: str, words: str) -> None:
    async def story(cables: Cables) -> None:
        place = cables.machine()
        without = [program("setpriv"), f"--bounding-set=-{right}", f"--inh-caps=-{right}", sys.executable, "-c"]
        told = await said_by(*without, LEAVER, place.path)
        assert f"UsageError: interface eth0: {words}" in told

    run(story)


# the cable


def test_a_pulled_cable_takes_address_and_streams_and_comes_back_with_the_link() -> None:
    async def story(cables: Cables) -> None:
        server = cables.host("server", SERVER)
        listener = await server.listen(8883, accept)
        place = cables.machine()
        with closing(charger(place)) as host:
            await host.link_up()
            host.set_interface(Interface(CHARGER, LAN))
            stream = Reader(await host.connect(Address(SERVER, 8883), timeout_s=SOON_S))
            cables.pull(place)
            with pytest.raises(NetError) as caught:
                await stream.read(1, SOON_S)
            assert caught.value.reason is NetReason.RESET
            assert (host.carrier, host.interface, kernel_has(place)) == (None, None, ([], []))
            cables.plug(place)
            assert host.carrier is None, "nobody has brought the link up"
            await host.link_up()
            assert host.carrier is not None
            host.set_interface(Interface(CHARGER, LAN))
            (await host.connect(Address(SERVER, 8883), timeout_s=SOON_S)).abort()
        listener.close()

    run(story)


def test_without_a_cable_there_is_no_carrier_and_it_is_waited_for_a_while() -> None:
    async def story(cables: Cables) -> None:
        place = cables.machine()
        cables.pull(place)
        with closing(charger(place)) as host:
            asyncio.get_running_loop().call_later(0.2, cables.plug, place)
            await host.link_up()
            assert host.carrier is not None
            host.link_down()
            cables.pull(place)
            with pytest.raises(NetError) as caught:
                await host.link_up()
            assert (caught.value.reason, caught.value.detail) == (NetReason.NO_CARRIER, "eth0: no cable")

    run(story)


def test_an_interface_that_is_taken_away_is_a_link_that_is_down() -> None:
    async def story(cables: Cables) -> None:
        place = cables.machine()
        with closing(charger(place)) as host:
            await host.link_up()
            host.set_interface(Interface(CHARGER, LAN))
            cables.settle(place, lambda kernel, eth0: kernel.link("del", index=eth0))
            await until(lambda: host.carrier is None and host.interface is None)
            host.link_down()
            with pytest.raises(NetError) as caught:
                host.set_interface(Interface(CHARGER, LAN))
            assert (caught.value.reason, host.interface) == (NetReason.NO_ADDRESS, None)
            with pytest.raises(NetError) as caught:
                await host.link_up()
            assert caught.value.reason is NetReason.NO_CARRIER
            with pytest.raises(NetError):
                await host.address_in_use(CHARGER)
            with pytest.raises(NetError):
                await host.udp(68, broadcast=True)

    run(story)


# its sockets


def test_before_it_has_an_address_it_hears_a_reply_that_is_sent_to_that() -> None:
    async def story(cables: Cables) -> None:
        server = await cables.host("server", SERVER).udp(67, broadcast=True)
        host = cables.host("charger")
        client = await host.udp(68, broadcast=True)
        client.send(b"discover", Address(BROADCAST, 67))
        _, sender = await server.receive()
        server.send(b"offer", Address(CHARGER, 68, link=sender.link))  # RFC 2131 section 4.1: no broadcast flag
        data, by = await client.receive()
        assert (data, by.host, by.port) == (b"offer", SERVER, 67)
        client.close()
        server.close()

    run(story)


def test_a_neighbour_that_leaves_its_checksums_to_the_hardware_is_heard() -> None:
    async def story(cables: Cables) -> None:
        sender, host = cables.host("server", SERVER), cables.host("charger")
        client, plain = await host.udp(68, broadcast=True), await sender.udp(67, broadcast=True)
        plain.send(b"x" * 300, Address(BROADCAST, 68))
        assert (await client.receive())[0] == b"x" * 300
        client.close()
        plain.close()

    run(story)


def test_every_packet_leaves_by_its_interface_though_the_machine_has_a_better_route() -> None:
    async def story(cables: Cables) -> None:
        server = cables.host("server", SERVER)
        served = await server.udp(123)
        place = cables.machine()

        def lead_elsewhere(kernel: Any) -> None:
            kernel.link("add", ifname="other", kind="bridge")
            other = kernel.link_lookup(ifname="other")[0]
            kernel.link("set", index=other, state="up")
            kernel.addr("add", index=other, address="10.20.99.1", prefixlen=16)
            kernel.route("add", dst="default", gateway="10.20.99.2", oif=other)

        ask_kernel(place, lead_elsewhere)
        with closing(charger(place)) as host:
            await host.link_up()
            host.set_interface(Interface(CHARGER, LAN, SERVER))
            asked = await host.udp()
            asked.send(b"what time is it", Address(SERVER, 123))
            data, sender = await served.receive()
            assert (data, sender.host) == (b"what time is it", CHARGER)
            asked.close()
        served.close()

    run(story)


def test_beside_a_machine_with_an_address_it_has_a_macvlan_on_the_same_cable() -> None:
    async def story(cables: Cables) -> None:
        served = await cables.host("server", SERVER).udp(123)
        machine = cables.machine("10.20.99.1")
        with new_namespace() as place:

            def add(kernel: Any, eth0: int) -> None:
                kernel.link("add", ifname="zpr0", kind="macvlan", macvlan_mode="bridge", link=eth0)
                kernel.link("set", index=kernel.link_lookup(ifname="zpr0")[0], net_ns_fd=place.fd)

            cables.settle(machine, add)
            with closing(charger(place, "zpr0")) as host:
                await host.link_up()
                assert await host.address_in_use(SERVER)
                host.set_interface(Interface(CHARGER, LAN))
                asked = await host.udp()
                asked.send(b"what time is it", Address(SERVER, 123))
                assert (await served.receive())[1].host == CHARGER
                asked.close()
        served.close()

    run(story)


def test_a_charger_has_no_listening_socket() -> None:
    async def story(cables: Cables) -> None:
        server = cables.host("server", SERVER)
        listener = await server.listen(8883, accept)
        place = cables.machine()
        with closing(charger(place)) as host:
            await host.link_up()
            host.set_interface(Interface(CHARGER, LAN))
            stream = await host.connect(Address(SERVER, 8883), timeout_s=SOON_S)
            entered = [program("nsenter"), f"--net={place.path}", program("ss"), "--no-header", "--listening"]
            assert await said_by(*entered, "--tcp", "--udp") == ""
            with pytest.raises(NetError) as caught:
                await server.connect(Address(CHARGER, 22), timeout_s=SOON_S)
            assert caught.value.reason is NetReason.REFUSED
            stream.abort()
        listener.close()

    run(story)


def test_it_leaves_no_descriptor_open() -> None:
    async def story(cables: Cables) -> None:
        place = cables.machine()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with closing(charger(place)) as host:
                await host.link_up()
                assert not await host.address_in_use(CHARGER)
                host.set_interface(Interface(CHARGER, LAN))
                (await host.udp(68, broadcast=True)).close()
                with pytest.raises(NetError):
                    await host.connect(Address(SERVER, 8883), timeout_s=0.05)
        await asyncio.sleep(0.01)
        assert len(os.listdir("/proc/self/fd")) == before

    run(story)

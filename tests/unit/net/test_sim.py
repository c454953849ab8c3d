"""What the simulated network promises beyond the contract of every host: order, timing and repeatability."""

import asyncio
from random import Random

import pytest

from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Interface
from emulator.net.sim import SimNet
from emulator.wire.address import BROADCAST
from tests.unit.net.virtual_time import now, run, serve

DHCP = Address(BROADCAST, 67)


def test_every_packet_takes_the_latency_and_a_connection_takes_a_round_trip() -> None:
    async def story() -> None:
        net = SimNet(Random(1), latency_s=0.25)
        server, client = net.host("server", "10.0.0.1"), net.host("client", "10.0.0.2")
        served, asked = await server.udp(53), await client.udp()
        asked.send(b"?", Address("10.0.0.1", 53))
        await served.receive()
        assert now() == 0.25
        with pytest.raises(NetError, match="refused"):
            await client.connect(Address("10.0.0.1", 80), timeout_s=5)
        assert now() == 0.75

    run(story())


def test_a_broadcast_stays_in_its_segment() -> None:
    async def story() -> None:
        net = SimNet(Random(1))
        here = await net.host("here", "10.0.0.1").udp(67, broadcast=True)
        there = await net.host("there", "10.9.0.1", segment="elsewhere").udp(67, broadcast=True)
        charger = net.host("charger")
        asked = await charger.udp(68, broadcast=True)
        asked.send(b"discover", DHCP)
        _, sender = await here.receive()
        assert sender == Address("0.0.0.0", 68, link=charger.link_address)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await there.receive()

    run(story())


def test_a_link_address_depends_on_the_name_alone() -> None:
    async def story() -> None:
        crowded, empty = SimNet(Random(1)), SimNet(Random(2))
        for number in range(10):
            crowded.host(f"other {number}")
        mac = crowded.host("charger").link_address
        assert mac == empty.host("charger").link_address
        assert mac.startswith("02:") and len(mac) == 17
        with pytest.raises(ValueError, match="charger"):
            crowded.host("charger")

    run(story())


def test_of_two_hosts_with_one_address_the_later_is_reached_until_it_leaves() -> None:
    async def story() -> None:
        net = SimNet(Random(1))
        first, second, asker = net.host("first", "10.0.0.1"), net.host("second"), net.host("asker", "10.0.0.9")
        second.set_interface(Interface("10.0.0.1"))
        sockets = [await host.udp(53) for host in (first, second)]
        asked = await asker.udp()
        asked.send(b"who?", Address("10.0.0.1", 53))
        assert (await sockets[1].receive())[0] == b"who?"
        second.link_down()
        asked.send(b"lost", Address("10.0.0.1", 53))
        first.set_interface(Interface("10.0.0.1"))
        asked.send(b"again", Address("10.0.0.1", 53))
        assert (await sockets[0].receive())[0] in (b"lost", b"again")

    run(story())


def test_a_host_whose_link_is_down_does_not_answer() -> None:
    async def story() -> None:
        net = SimNet(Random(1))
        server, client = net.host("server", "10.0.0.1"), net.host("client", "10.0.0.2")
        await server.listen(80, lambda stream: stream.abort())
        server.link_down()
        with pytest.raises(NetError) as caught:
            await client.connect(Address("10.0.0.1", 80), timeout_s=5)
        assert caught.value.reason is NetReason.TIMED_OUT
        assert now() == 5

    run(story())


def test_losing_the_address_in_the_middle_of_connecting_is_a_reset() -> None:
    async def story() -> None:
        net = SimNet(Random(1), latency_s=1)
        server, client = net.host("server", "10.0.0.1"), net.host("client", "10.0.0.2")
        await server.listen(80, serve)
        asyncio.get_running_loop().call_later(1.5, client.link_down)
        with pytest.raises(NetError) as caught:
            await client.connect(Address("10.0.0.1", 80), timeout_s=5)
        assert caught.value.reason is NetReason.RESET
        await asyncio.sleep(10)
        assert not server.streams and not client.streams

    run(story())


def test_a_connect_that_gives_up_leaves_nothing_behind() -> None:
    async def story() -> None:
        net = SimNet(Random(1), latency_s=1)
        server, client = net.host("server", "10.0.0.1"), net.host("client", "10.0.0.2")
        await server.listen(80, serve)
        with pytest.raises(NetError) as caught:
            await client.connect(Address("10.0.0.1", 80), timeout_s=1.5)
        assert caught.value.reason is NetReason.TIMED_OUT
        await asyncio.sleep(10)
        assert not server.streams and not client.streams

    run(story())


def test_ports_are_given_again_only_when_all_were_given() -> None:
    async def story() -> None:
        host = SimNet(Random(1)).host("charger", "10.0.0.2")
        ports = []
        for _ in range(16384):
            socket = await host.udp()
            ports.append(socket.local.port)
            socket.close()
        assert len(set(ports)) == 16384 and min(ports) >= 49152

    run(story())


def transcript() -> list[tuple[float, bytes]]:
    """What a server hears of twenty chargers that all speak at the same moments."""
    heard: list[tuple[float, bytes]] = []

    async def story() -> None:
        net = SimNet(Random(1))
        served = await net.host("server", "10.0.0.1").udp(53)

        async def charger(number: int) -> None:
            socket = await net.host(f"charger {number}", f"10.0.1.{number}").udp()
            for second in range(5):
                await asyncio.sleep(1)
                socket.send(f"{number} {second} {socket.local}".encode(), Address("10.0.0.1", 53))

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(charger(number))
            for _ in range(100):
                data, _ = await served.receive()
                heard.append((now(), data))

    run(story())
    return heard


def test_the_same_seed_gives_the_same_packets_at_the_same_moments() -> None:
    assert transcript() == transcript()

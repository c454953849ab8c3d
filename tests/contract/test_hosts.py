"""What every `Host` does alike with addresses and datagrams, on simulated networks and on real loopback sockets."""

import asyncio

import pytest

from emulator.errors import NetError, NetReason
from emulator.net.api import DATAGRAM_QUEUE_MAX, Address, Interface
from emulator.wire.address import BROADCAST, UNSPECIFIED
from tests.contract.hosts import NOBODY, Run, Site


def test_datagrams_go_and_come_between_the_addresses_that_both_sides_know(run: Run) -> None:
    async def story(site: Site) -> None:
        server, charger = site.service("dns", "8.8.8.8"), site.charger()
        served, asked = await server.udp(53), await charger.udp()
        assert served.local == Address("8.8.8.8", 53)
        asked.send(b"question", Address("8.8.8.8", 53))
        question, sender = await served.receive()
        assert question == b"question"
        served.send(b"answer", sender)
        assert await asked.receive() == (b"answer", Address("8.8.8.8", 53))
        asked.close()
        served.close()

    run(story)


def test_the_primary_and_both_fallback_dns_servers_are_distinct(run: Run) -> None:
    async def story(site: Site) -> None:
        addresses = [f"{site.lan}.0.53", "8.8.8.8", "1.1.1.1"]
        served = [await site.service(f"dns {address}", address).udp(53) for address in addresses]
        asked = await site.charger().udp()
        for socket, address in zip(served, addresses, strict=True):
            asked.send(address.encode(), Address(address, 53))
            data, sender = await socket.receive()
            assert data == address.encode()
            socket.send(data, sender)
            assert (await asked.receive())[1] == Address(address, 53)
        for socket in (*served, asked):
            socket.close()

    run(story)


def test_dhcp_works_before_there_is_an_address_and_reaches_only_the_client_that_asked(run: Run) -> None:
    async def story(site: Site) -> None:
        server = await site.service("dhcp", f"{site.lan}.0.1").udp(67, broadcast=True)
        first, second = [await site.machine(name).udp(68, broadcast=True) for name in ("one", "two")]
        seen = {}
        for socket, name in ((first, b"one"), (second, b"two")):
            socket.send(b"discover " + name, Address(BROADCAST, 67))
            data, sender = await server.receive()
            assert data == b"discover " + name
            assert (sender.host, sender.port) == (UNSPECIFIED, 68) and sender.link
            seen[name] = sender.link
        assert seen[b"one"] != seen[b"two"]
        server.send(b"offer two", Address(BROADCAST, 68, link=seen[b"two"]))
        server.send(b"offer one", Address(BROADCAST, 68, link=seen[b"one"]))
        for socket, offer in ((first, b"offer one"), (second, b"offer two")):
            data, sender = await socket.receive()
            assert data == offer
            assert (sender.host, sender.port) == (f"{site.lan}.0.1", 67)
        for socket in (server, first, second):
            socket.close()

    run(story)


def test_a_dhcp_socket_lives_through_getting_an_address_and_renews_by_unicast(run: Run) -> None:
    async def story(site: Site) -> None:
        server = await site.service("dhcp", f"{site.lan}.0.1").udp(67, broadcast=True)
        charger = site.machine("charger")
        client = await charger.udp(68, broadcast=True)
        charger.set_interface(Interface(f"{site.lan}.16.9", 16))
        leased = Address(f"{site.lan}.16.9", 68)
        assert client.local == leased
        for how in (Address(f"{site.lan}.0.1", 67), Address(BROADCAST, 67)):
            client.send(b"renew", how)
            _, sender = await server.receive()
            assert (sender.host, sender.port) == (leased.host, leased.port)
            server.send(b"ack", leased)
            data, by = await client.receive()
            assert (data, by.host) == (b"ack", f"{site.lan}.0.1")
        client.close()
        server.close()

    run(story)


def test_before_it_takes_an_address_a_machine_finds_out_whether_another_has_it(run: Run) -> None:
    async def story(site: Site) -> None:
        server = await site.service("dns", f"{site.lan}.0.53").udp(53)
        charger = site.machine("charger")
        assert await charger.address_in_use(f"{site.lan}.0.53")
        assert not await charger.address_in_use(f"{site.lan}.16.9")
        charger.set_interface(Interface(f"{site.lan}.16.9", 16))
        assert not await charger.address_in_use(f"{site.lan}.16.9"), "it is its own"
        server.close()

    run(story)


def test_without_an_address_there_is_only_broadcast(run: Run) -> None:
    async def story(site: Site) -> None:
        charger = site.machine("charger")
        for attempt in (charger.udp(), charger.connect(NOBODY, timeout_s=1)):
            with pytest.raises(NetError) as caught:
                await attempt
            assert caught.value.reason is NetReason.NO_ADDRESS
        with pytest.raises(NetError) as caught:
            await charger.listen(8883, lambda stream: None)
        assert caught.value.reason is NetReason.NO_ADDRESS

    run(story)


def test_a_taken_udp_port_is_refused_and_free_again_after_close(run: Run) -> None:
    async def story(site: Site) -> None:
        server = site.service("ntp", f"{site.lan}.1.123")
        first = await server.udp(123)
        with pytest.raises(NetError) as caught:
            await server.udp(123)
        assert caught.value.reason is NetReason.REFUSED
        first.close()
        (await server.udp(123)).close()

    run(story)


def test_a_closed_socket_wakes_its_reader_with_closed(run: Run) -> None:
    async def story(site: Site) -> None:
        socket = await site.charger().udp()
        waiting = asyncio.ensure_future(socket.receive())
        await asyncio.sleep(0)
        socket.close()
        socket.close()
        with pytest.raises(NetError) as caught:
            await waiting
        assert caught.value.reason is NetReason.CLOSED
        socket.send(b"ignored", NOBODY)

    run(story)


def test_what_comes_when_the_queue_is_full_is_dropped(run: Run) -> None:
    async def story(site: Site) -> None:
        server, charger = site.service("dns", f"{site.lan}.0.53"), site.charger()
        served, asked = await server.udp(53), await charger.udp()
        marker = await server.udp(123)
        for number in range(DATAGRAM_QUEUE_MAX + 50):
            asked.send(str(number).encode(), Address(f"{site.lan}.0.53", 53))
            if number % 10 == 0:  # so that no queue of the kernel overflows before ours does
                asked.send(b"", Address(f"{site.lan}.0.53", 123))
                await marker.receive()
        asked.send(b"", Address(f"{site.lan}.0.53", 123))
        await marker.receive()
        kept = [(await served.receive())[0] for _ in range(DATAGRAM_QUEUE_MAX)]
        assert kept == [str(number).encode() for number in range(DATAGRAM_QUEUE_MAX)]
        asked.send(b"last", Address(f"{site.lan}.0.53", 53))
        assert (await served.receive())[0] == b"last"
        for socket in (served, asked, marker):
            socket.close()

    run(story)


def test_datagrams_to_nobody_vanish(run: Run) -> None:
    async def story(site: Site) -> None:
        socket = await site.charger().udp()
        for to in (Address("203.0.113.9", 53), Address(f"{site.lan}.0.99", 53), Address(BROADCAST, 67)):
            socket.send(b"anybody?", to)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await socket.receive()
        socket.close()

    run(story)

"""What every `Host` does alike: one suite, on the simulated network and on real loopback sockets."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

import pytest
import uvloop

from emulator.clock import SimLoop
from emulator.errors import NetError, NetReason
from emulator.net.api import DATAGRAM_QUEUE_MAX, Address, Host, Interface, Stream
from emulator.net.loopback import LoopbackHost, claim_plan
from emulator.net.reader import Reader
from emulator.net.sim import SimNet
from emulator.wire.address import BROADCAST, UNSPECIFIED

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
        yield Site(plan.prefix, lambda name, address: LoopbackHost(plan, name, f"02:00:{name}", address))
    finally:
        claim.close()


WAYS = {
    "sim": (SimLoop, _sim),
    "loopback": (asyncio.SelectorEventLoop, lambda: _loopback(single=False)),
    "loopback-uvloop": (uvloop.new_event_loop, lambda: _loopback(single=False)),
    "single-address": (asyncio.SelectorEventLoop, lambda: _loopback(single=True)),
    "single-address-uvloop": (uvloop.new_event_loop, lambda: _loopback(single=True)),
}

Story = Callable[[Site], Awaitable[None]]
Run = Callable[[Story], None]


@pytest.fixture(params=WAYS)
def run(request: pytest.FixtureRequest) -> Run:
    """Tells a story on a fresh network of each kind."""
    loop_factory, make_site = WAYS[request.param]

    def tell(story: Story) -> None:
        async def told() -> None:
            with make_site() as site:
                async with asyncio.timeout(10 * SOON_S):
                    await story(site)
                for host in site.hosts:
                    host.link_down()  # ends every connection that the story left open
                await asyncio.sleep(0.01)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(told())

    return tell


async def connected(site: Site, port: int = 8883) -> tuple[Reader, Reader, Host, Host]:
    """A charger's connection to a hub: (its end, the hub's end, charger, hub)."""
    hub, charger = site.service("hub", f"{site.lan}.2.1"), site.charger()
    accepted: asyncio.Queue[Reader] = asyncio.Queue()
    listener = await hub.listen(port, lambda stream: accepted.put_nowait(Reader(stream)))
    ours = Reader(await charger.connect(Address(f"{site.lan}.2.1", port), timeout_s=SOON_S))
    theirs = await accepted.get()
    listener.close()
    return ours, theirs, charger, hub


async def read_exactly(reader: Reader, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = await reader.read(65536, SOON_S)
        assert part, f"ended after {len(received)} of {size} bytes"
        received += part
    return received


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


def test_connect_knows_who_is_who_on_both_sides(run: Run) -> None:
    async def story(site: Site) -> None:
        ours, theirs, _, _ = await connected(site)
        assert ours.stream.peer == Address(f"{site.lan}.2.1", 8883) == theirs.stream.local
        assert ours.stream.local.host == f"{site.lan}.16.7"
        assert theirs.stream.peer.port == ours.stream.local.port
        ours.stream.abort()

    run(story)


def test_nobody_listens_is_refused_and_nobody_there_is_timed_out(run: Run) -> None:
    async def story(site: Site) -> None:
        site.service("hub", f"{site.lan}.2.1")
        charger = site.charger()
        with pytest.raises(NetError) as refused:
            await charger.connect(Address(f"{site.lan}.2.1", 8883), timeout_s=SOON_S)
        assert refused.value.reason is NetReason.REFUSED
        began = asyncio.get_running_loop().time()
        with pytest.raises(NetError) as silent:
            await charger.connect(NOBODY, timeout_s=0.1)
        assert silent.value.reason is NetReason.TIMED_OUT
        assert asyncio.get_running_loop().time() - began >= 0.099

    run(story)


def test_bytes_keep_their_order_and_the_end_comes_last(run: Run) -> None:
    async def story(site: Site) -> None:
        ours, theirs, _, _ = await connected(site)
        sent = b"".join(number.to_bytes(4, "big") for number in range(100_000))
        for start in range(0, len(sent), 7001):
            ours.stream.write(sent[start : start + 7001])
        ours.stream.close()
        ours.stream.write(b"ignored")
        assert await read_exactly(theirs, len(sent)) == sent
        assert await theirs.read(1, SOON_S) == b""
        assert await ours.read(1, SOON_S) == b""

    run(story)


def test_bytes_before_the_receiver_are_delivered_to_it(run: Run) -> None:
    async def story(site: Site) -> None:
        hub, charger = site.service("hub", f"{site.lan}.2.1"), site.charger()

        def greet(stream: Stream) -> None:
            Reader(stream)
            stream.write(b"hello")
            stream.close()

        listener = await hub.listen(443, greet)
        stream = await charger.connect(Address(f"{site.lan}.2.1", 443), timeout_s=SOON_S)
        late = Reader(await charger.connect(Address(f"{site.lan}.2.1", 443), timeout_s=SOON_S))
        assert await late.read(10, SOON_S) == b"hello", "so the first stream has its bytes by now, too"
        reader = Reader(stream)
        assert await reader.read(10, SOON_S) == b"hello"
        assert await reader.read(10, SOON_S) == b""
        listener.close()

    run(story)


def test_back_pressure_holds_the_writer_and_lets_it_go_on(run: Run) -> None:
    async def story(site: Site) -> None:
        ours, theirs, _, _ = await connected(site)
        size = 8 * 1024 * 1024
        theirs.stream.pause_reading()
        ours.stream.write(bytes(size))
        assert ours.stream.unsent_bytes > 0
        with pytest.raises(NetError, match="no room"):
            await ours.drain(0.05)
            await ours.drain(0.05)
        theirs.stream.resume_reading()
        await read_exactly(theirs, size)
        await ours.drain(SOON_S)
        assert ours.stream.unsent_bytes <= 64 * 1024
        ours.stream.abort()

    run(story)


def test_an_abort_is_a_reset_for_the_peer_and_a_quiet_end_for_oneself(run: Run) -> None:
    async def story(site: Site) -> None:
        ours, theirs, _, _ = await connected(site)
        ours.stream.abort()
        ours.stream.abort()
        with pytest.raises(NetError) as caught:
            await theirs.read(1, SOON_S)
        assert caught.value.reason is NetReason.RESET
        assert await ours.read(1, SOON_S) == b""
        ours.stream.write(b"ignored")
        ours.stream.close()

    run(story)


def test_the_link_going_down_resets_both_ends_and_takes_the_address(run: Run) -> None:
    async def story(site: Site) -> None:
        ours, theirs, charger, _ = await connected(site)
        socket = await charger.udp()
        charger.link_down()
        for reader in (ours, theirs):
            with pytest.raises(NetError) as caught:
                await reader.read(1, SOON_S)
            assert caught.value.reason is NetReason.RESET
        assert charger.interface is None
        socket.send(b"vanishes", Address(f"{site.lan}.2.1", 53))
        socket.close()
        with pytest.raises(NetError) as caught:
            await charger.connect(Address(f"{site.lan}.2.1", 8883), timeout_s=1)
        assert caught.value.reason is NetReason.NO_ADDRESS
        await charger.link_up()
        charger.set_interface(Interface(f"{site.lan}.16.8", 16))
        again = await charger.udp()
        assert again.local.host == f"{site.lan}.16.8"
        again.close()

    run(story)


def test_taking_the_same_address_again_disturbs_nothing_and_another_ends_the_streams(run: Run) -> None:
    async def story(site: Site) -> None:
        ours, theirs, charger, _ = await connected(site)
        charger.set_interface(Interface(f"{site.lan}.16.7", 16, gateway=f"{site.lan}.0.1"))
        ours.stream.write(b"still here")
        assert await theirs.read(100, SOON_S) == b"still here"
        charger.set_interface(Interface(f"{site.lan}.16.8", 16))
        with pytest.raises(NetError) as caught:
            await ours.read(1, SOON_S)
        assert caught.value.reason is NetReason.RESET

    run(story)


def test_a_closed_listener_refuses_but_keeps_what_it_accepted(run: Run) -> None:
    async def story(site: Site) -> None:
        ours, theirs, charger, hub = await connected(site)
        with pytest.raises(NetError) as caught:
            await charger.connect(Address(f"{site.lan}.2.1", 8883), timeout_s=SOON_S)
        assert caught.value.reason is NetReason.REFUSED
        theirs.stream.write(b"still here")
        assert await ours.read(100, SOON_S) == b"still here"
        again = await hub.listen(8883, lambda stream: stream.abort())
        assert again.local == Address(f"{site.lan}.2.1", 8883)
        again.close()
        ours.stream.abort()

    run(story)


def test_a_listening_port_is_taken_once(run: Run) -> None:
    async def story(site: Site) -> None:
        hub = site.service("hub", f"{site.lan}.2.1")
        listener = await hub.listen(8883, lambda stream: stream.abort())
        with pytest.raises(NetError) as caught:
            await hub.listen(8883, lambda stream: stream.abort())
        assert caught.value.reason is NetReason.REFUSED
        listener.close()

    run(story)


def test_many_chargers_at_once_are_told_apart(run: Run) -> None:
    async def story(site: Site) -> None:
        hub = site.service("hub", f"{site.lan}.2.1")

        def echo_peer(stream: Stream) -> None:
            Reader(stream)
            stream.write(str(stream.peer.port).encode())

        listener = await hub.listen(8883, echo_peer)

        async def one(number: int) -> None:
            charger = site.charger(f"charger {number}", number)
            stream = await charger.connect(Address(f"{site.lan}.2.1", 8883), timeout_s=SOON_S)
            assert await Reader(stream).read(100, SOON_S) == str(stream.local.port).encode()
            stream.abort()

        await asyncio.gather(*(one(number) for number in range(1, 100)))
        listener.close()

    run(story)

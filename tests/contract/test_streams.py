"""What the connections of every `Host` do alike, on simulated networks and on real loopback sockets."""

import asyncio

import pytest

from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Host, Interface, Stream
from emulator.net.reader import Reader
from tests.contract.hosts import NOBODY, SOON_S, Run, Site


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

        chargers = [site.charger(f"charger {number}", number) for number in range(1, 100)]

        async def one(charger: Host) -> None:
            stream = await charger.connect(Address(f"{site.lan}.2.1", 8883), timeout_s=SOON_S)
            assert await Reader(stream).read(100, SOON_S) == str(stream.local.port).encode()
            stream.abort()

        await asyncio.gather(*map(one, chargers))
        listener.close()

    run(story)

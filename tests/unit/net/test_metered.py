"""The meter in front of a host: what leaves and what arrives is counted, and nothing is changed."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from emulator.clock import SimLoop
from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Interface, Stream
from emulator.net.meter import RST_BYTES, SEGMENT_HEADER_BYTES, SYN_BYTES, DataMeter, Purpose, ports_of
from emulator.net.metered import MeteredHost, host_for
from emulator.net.reader import Reader
from emulator.net.sim import SimHost, SimNet
from emulator.profile import load_profile

H = SEGMENT_HEADER_BYTES
SERVER = "10.20.0.9"
PORTS = ports_of(load_profile().network)


class Wire:
    """A charger with a meter, a server, and what was counted."""

    def __init__(self) -> None:
        self.net = SimNet(Random(1))
        self.meter = DataMeter()
        self.inner: SimHost = self.net.host("charger")
        self.charger = MeteredHost(self.inner, self.meter, PORTS)
        self.charger.set_interface(Interface("10.20.16.7", 16))
        self.server = self.net.host("server", SERVER)
        self.accepted: list[Stream] = []

    async def serve(self, port: int) -> Address:
        await self.server.listen(port, self.accepted.append)
        return Address(SERVER, port)

    @property
    def counted(self) -> tuple[dict[str, int], dict[str, int]]:
        usage = self.meter.usage()
        return dict(usage.up), dict(usage.down)


def play(story: Callable[[Wire], Awaitable[None]]) -> None:
    async def tell() -> None:
        await story(Wire())

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(tell())


def test_datagrams_count_with_their_headers_by_the_other_sides_port() -> None:
    async def story(wire: Wire) -> None:
        socket, other = await wire.charger.udp(), await wire.server.udp(53)
        socket.send(b"question", Address(SERVER, 53))
        question, sender = await other.receive()
        other.send(question + b"!", sender)
        await socket.receive()
        socket.send(b"lost", Address("10.20.9.9", 123))
        assert wire.counted == ({"dns": 36, "ntp": 32}, {"dns": 37})

    play(story)


def test_without_a_link_nothing_leaves() -> None:
    async def story(wire: Wire) -> None:
        socket = await wire.charger.udp()
        wire.charger.link_down()
        socket.send(b"question", Address(SERVER, 53))
        with pytest.raises(NetError):
            await wire.charger.connect(Address(SERVER, 8883), timeout_s=1)
        assert wire.counted == ({}, {})

    play(story)


def test_a_connection_costs_its_opening_its_bytes_and_its_end() -> None:
    async def story(wire: Wire) -> None:
        to = await wire.serve(53)
        reader = Reader(await wire.charger.connect(to, timeout_s=1))
        assert wire.counted == ({"dns": SYN_BYTES + H}, {"dns": SYN_BYTES})
        reader.stream.write(b"question")
        peer = Reader(wire.accepted[0])
        assert await peer.read(100) == b"question"
        peer.stream.write(b"answer")
        assert await reader.read(100) == b"answer"
        peer.stream.close()
        assert await reader.read(100) == b""
        up = SYN_BYTES + H + 8 + H + 2 * H
        assert wire.counted == ({"dns": up}, {"dns": SYN_BYTES + 6 + H + 2 * H})

    play(story)


def test_a_refused_connection_costs_a_syn_and_a_reset() -> None:
    async def story(wire: Wire) -> None:
        with pytest.raises(NetError) as caught:
            await wire.charger.connect(Address(SERVER, 8883), timeout_s=1)
        assert caught.value.reason is NetReason.REFUSED
        assert wire.counted == ({"handshake": SYN_BYTES}, {"handshake": RST_BYTES})

    play(story)


def test_a_connection_that_is_broken_off_costs_one_reset_whoever_sends_it() -> None:
    async def story(wire: Wire) -> None:
        to = await wire.serve(8883)
        for ours in (True, False):
            reader = Reader(await wire.charger.connect(to, timeout_s=1))
            (reader.stream if ours else wire.accepted[-1]).abort()
            await asyncio.sleep(1)
        assert wire.counted == (
            {"handshake": 2 * (SYN_BYTES + H) + RST_BYTES},
            {"handshake": 2 * SYN_BYTES + RST_BYTES},
        )

    play(story)


def test_a_link_that_goes_down_costs_nothing() -> None:
    async def story(wire: Wire) -> None:
        to = await wire.serve(8883)
        reader = Reader(await wire.charger.connect(to, timeout_s=1))
        before = wire.counted
        wire.charger.link_down()
        with pytest.raises(NetError):
            await reader.read(1)
        assert wire.counted == before

    play(story)


def test_https_counts_as_what_its_caller_says() -> None:
    async def story(wire: Wire) -> None:
        to = await wire.serve(443)
        for host in (wire.charger, host_for(wire.charger, Purpose.FIRMWARE)):
            stream = await host.connect(to, timeout_s=1)
            stream.write(bytes([23, 3, 3, 0, 1, 7]))
        up, _ = wire.counted
        assert (up["https"], up["firmware"]) == (6 + H, 6 + H)
        assert host_for(wire.inner, Purpose.FIRMWARE) is wire.inner

    play(story)

"""The pull-style view of a stream."""

import asyncio
from random import Random

import pytest

from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Stream
from emulator.net.reader import HIGH_WATER_BYTES, Reader
from emulator.net.sim import SimNet
from emulator.net.sim_stream import SEGMENT_BYTES
from tests.unit.net.virtual_time import run

SERVER = Address("10.0.0.1", 80)


async def pair() -> tuple[Reader, Stream]:
    """A reader, and the other end of its stream."""
    net = SimNet(Random(1))
    accepted: list[Stream] = []
    await net.host("server", SERVER.host).listen(SERVER.port, accepted.append)
    reader = Reader(await net.host("client", "10.0.0.2").connect(SERVER, timeout_s=1))
    return reader, accepted[0]


def test_it_reads_what_is_there_up_to_the_asked_size() -> None:
    async def story() -> None:
        reader, peer = await pair()
        peer.write(b"hello world")
        assert await reader.read(5) == b"hello"
        assert await reader.read(100) == b" world"

    run(story())


def test_it_reads_to_the_end_again_and_again() -> None:
    async def story() -> None:
        reader, peer = await pair()
        peer.write(b"last words")
        peer.close()
        await asyncio.sleep(1)
        assert await reader.read(100) == b"last words"
        assert await reader.read(100) == b""
        assert await reader.read(100) == b""

    run(story())


def test_an_error_comes_after_the_bytes_before_it() -> None:
    async def story() -> None:
        reader, peer = await pair()
        peer.write(b"words")
        await asyncio.sleep(1)
        peer.abort()
        await asyncio.sleep(1)
        assert await reader.read(100) == b"words"
        for attempt in (reader.read(100), reader.drain()):
            with pytest.raises(NetError) as caught:
                await attempt
            assert caught.value.reason is NetReason.RESET

    run(story())


def test_a_read_that_takes_too_long_times_out_and_loses_nothing() -> None:
    async def story() -> None:
        reader, peer = await pair()
        with pytest.raises(NetError, match="nothing to read for 3 s") as caught:
            await reader.read(1, 3)
        assert caught.value.reason is NetReason.TIMED_OUT
        peer.write(b"late")
        assert await reader.read(100, 3) == b"late"

    run(story())


def test_what_nobody_reads_is_kept_up_to_a_limit_and_then_the_peer_must_wait() -> None:
    async def story() -> None:
        reader, peer = await pair()
        peer.attach(Reader(peer))
        sent = 10 * HIGH_WATER_BYTES
        peer.write(bytes(sent))
        await asyncio.sleep(60)
        assert peer.unsent_bytes >= sent - HIGH_WATER_BYTES - SEGMENT_BYTES
        received = 0
        while received < sent:
            received += len(await reader.read(10_000, 1))
        assert peer.unsent_bytes == 0

    run(story())


def test_draining_waits_for_room_and_fails_when_the_peer_has_left() -> None:
    async def story() -> None:
        reader, peer = await pair()
        far = Reader(peer)
        peer.pause_reading()
        reader.stream.write(bytes(HIGH_WATER_BYTES * 2))
        with pytest.raises(NetError) as caught:
            await reader.drain(1)
        assert caught.value.reason is NetReason.TIMED_OUT
        peer.resume_reading()
        await far.read(1, 1)
        peer.close()
        await asyncio.sleep(1)
        with pytest.raises(NetError) as caught:
            await reader.drain(1)
        assert caught.value.reason is NetReason.CLOSED

    run(story())

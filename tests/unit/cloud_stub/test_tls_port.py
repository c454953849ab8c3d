"""The port where TLS begins: it takes as many as it can carry, and no more."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from certs import CertsDir
from certs.layout import HUB_HOST
from cloud_stub.tls_port import CONNECTIONS_MAX, HANDSHAKE_LIMIT_S, TlsPort
from emulator.clock import SimLoop
from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Stream
from emulator.net.reader import Reader
from emulator.net.sim import SimHost, SimNet
from emulator.net.tls import TlsStream, server_context

SERVER = Address("10.0.0.1", 443)


class Door:
    """A server's port, and a client that says nothing."""

    def __init__(self, certs: CertsDir) -> None:
        net = SimNet(Random(1))
        self.server: SimHost = net.host("server", SERVER.host)
        self.client: SimHost = net.host("client", "10.0.0.2")
        self.served = 0
        self.failures: list[NetReason] = []
        context = server_context(*certs.server(HUB_HOST))
        self.port = TlsPort(lambda: context, self._serve, self._failed, lambda: self.served)

    async def knock(self) -> Reader:
        return Reader(await self.client.connect(SERVER, timeout_s=5))

    def _serve(self, tls: TlsStream) -> None:
        raise AssertionError("nobody shakes hands here")

    def _failed(self, stream: Stream, error: NetError) -> None:
        self.failures.append(error.reason)


def play(certs: CertsDir, story: Callable[[Door], Awaitable[None]]) -> None:
    async def main() -> None:
        door = Door(certs)
        await door.port.start(door.server, SERVER.port)
        await story(door)
        door.port.stop()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(main())


def test_who_is_one_too_many_is_reset_whoever_the_others_are(certs: CertsDir) -> None:
    async def story(door: Door) -> None:
        door.served = CONNECTIONS_MAX - 1
        first, second = await door.knock(), await door.knock()
        with pytest.raises(NetError) as refused:
            await second.read(1, 1)
        assert refused.value.reason is NetReason.RESET
        door.served -= 1
        third = await door.knock()
        for waiting in (first, third):
            with pytest.raises(NetError) as silent:
                await waiting.read(1, 1)
            assert silent.value.reason is NetReason.TIMED_OUT

    play(certs, story)


def test_a_handshake_that_never_begins_gives_its_place_back(certs: CertsDir) -> None:
    async def story(door: Door) -> None:
        door.served = CONNECTIONS_MAX - 1
        await door.knock()
        await asyncio.sleep(HANDSHAKE_LIMIT_S + 1)
        assert door.failures == [NetReason.TIMED_OUT]
        with pytest.raises(NetError) as silent:
            await (await door.knock()).read(1, 1)
        assert silent.value.reason is NetReason.TIMED_OUT

    play(certs, story)


def test_a_port_that_is_stopped_resets_who_is_shaking_hands(certs: CertsDir) -> None:
    async def story(door: Door) -> None:
        knocking = await door.knock()
        door.port.stop()
        with pytest.raises(NetError) as refused:
            await knocking.read(1, 1)
        assert refused.value.reason is NetReason.RESET

    play(certs, story)

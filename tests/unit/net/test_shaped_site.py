"""A host behind a site's router: detours, connections that die in silence, and what the other end hears of it."""

import asyncio
import contextlib
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.layout import HUB_HOST, CertsDir
from emulator.clock import Rtc
from emulator.errors import NetError, NetReason
from emulator.faults import Fault, FaultSet
from emulator.local import FACTORY, Mode
from emulator.net.api import Address, Interface, Stream
from emulator.net.bearer import Cable
from emulator.net.detour import Appliances, CaptivePortal, Intercept
from emulator.net.firewall import Block
from emulator.net.link import HEADER_BYTES, Link, Way
from emulator.net.nat import NatFull, NatReboot, NatTimeout
from emulator.net.params import LinkParams
from emulator.net.path import HalfOpen, MtuBlackHole, Reset
from emulator.net.place import Router
from emulator.net.reader import Reader
from emulator.net.shaped import ORPHANS_MAX, SYN_BYTES, ShapedHost
from emulator.net.sim import SimNet
from emulator.net.site import Site
from emulator.net.tls import client_context, server_context, tls_accept, tls_connect
from tests.unit.net.virtual_time import now, reason_of, run

HUB = Address("10.0.2.1", 8883)
DNS, PORTAL_DNS = Address("10.0.0.53", 53), Address("10.0.0.80", 53)
PORTAL, PROXY = Address("10.0.0.80", 8883), Address("10.0.0.81", 443)


class Network:
    """A hub, a DNS server, portal and proxy, and a charger behind a router."""

    def __init__(self, params: LinkParams = LinkParams(), router: Router = Router()) -> None:  # noqa: B008 - frozen
        time = asyncio.get_running_loop().time
        self.net = SimNet(Random(1), latency_s=0.0)
        self.hosts = {each.host: self.net.host(each.host, each.host) for each in (HUB, DNS, PORTAL, PROXY)}
        self.site = Site(Random(2), time, {}, router=router, appliances=Appliances(PORTAL.host, PROXY.host))
        self.link = Link("charger", {Mode.ETHERNET: Cable(params)}, FaultSet(Random(3), time), Random(3), time)
        self.link.attach(Mode.ETHERNET, FACTORY)
        self.charger = ShapedHost(self.net.host("charger"), site=self.site, link=self.link)
        self.charger.set_interface(Interface("10.0.16.1"))
        self.accepted: dict[Address, list[Reader]] = {}

    @property
    def hub_streams(self) -> int:
        """Connections that the hub believes in."""
        return len(self.hosts[HUB.host].streams)

    async def serve(self, *places: Address) -> None:
        for place in places:
            readers = self.accepted.setdefault(place, [])

            def accept(stream: Stream, readers: list[Reader] = readers) -> None:
                readers.append(Reader(stream))

            await self.hosts[place.host].listen(place.port, accept)

    async def connected(self) -> tuple[Reader, Reader]:
        """A connection to the hub: the charger's end and the hub's."""
        if HUB not in self.accepted:
            await self.serve(HUB)
        ours = Reader(await self.charger.connect(HUB, timeout_s=30))
        return ours, self.accepted[HUB][-1]


@pytest.mark.parametrize(("fault", "lands_at"), [(CaptivePortal(), PORTAL), (Intercept(), PROXY)])
def test_a_connection_that_is_sent_elsewhere_looks_like_the_one_that_was_meant(fault: Any, lands_at: Address) -> None:
    async def story() -> None:
        network = Network()
        await network.serve(HUB, lands_at)
        network.site.inject(fault)
        ours = Reader(await network.charger.connect(HUB, timeout_s=5))
        assert ours.stream.peer == HUB
        (theirs,) = network.accepted[lands_at]
        theirs.stream.write(b"hello")
        assert await ours.read(10, 5) == b"hello"
        assert network.accepted[HUB] == []

    run(story())


def test_a_query_that_is_sent_elsewhere_is_answered_by_the_server_that_was_asked() -> None:
    async def story() -> None:
        network = Network(LinkParams(delay_s=0.1))
        portal = await network.hosts[PORTAL_DNS.host].udp(PORTAL_DNS.port)
        asked = await network.charger.udp()
        network.site.inject(CaptivePortal())
        for server in (DNS, Address("8.8.8.8", 53)):
            asked.send(b"?", server)
            question, sender = await portal.receive()
            portal.send(question, sender)
            assert await asked.receive() == (b"?", server)

    run(story())


def test_an_unasked_datagram_does_not_get_in() -> None:
    async def story() -> None:
        network = Network()
        server, socket = await network.hosts[DNS.host].udp(DNS.port), await network.charger.udp()
        waiting = asyncio.ensure_future(socket.receive())
        server.send(b"unasked", socket.local)
        await asyncio.sleep(1)
        socket.send(b"?", DNS)
        server.send(b"asked", (await server.receive())[1])
        assert await waiting == (b"asked", DNS)

    run(story())


def test_a_connection_that_the_router_forgot_is_silent_both_ways_and_a_new_one_works() -> None:
    async def story() -> None:
        network = Network()
        network.site.inject(NatTimeout(timeout_s=120.0))
        ours, theirs = await network.connected()
        await asyncio.sleep(119)
        ours.stream.write(b"in time")
        assert await theirs.read(10, 1) == b"in time"
        await asyncio.sleep(121)
        ours.stream.write(b"too late")
        theirs.stream.write(b"too late")
        assert await reason_of(theirs.read(10, 300)) is NetReason.TIMED_OUT
        assert await reason_of(ours.read(10, 300)) is NetReason.TIMED_OUT
        fresh, _ = await network.connected()
        fresh.stream.write(b"here I am")
        assert await network.accepted[HUB][1].read(10, 1) == b"here I am"

    run(story())


@pytest.mark.parametrize("fault", [HalfOpen(), NatReboot(for_s=1.0), Block()])
def test_the_other_end_of_a_dead_connection_never_hears_that_it_is_over(fault: Any) -> None:
    async def story() -> None:
        network = Network()
        ours, theirs = await network.connected()
        undo = network.site.inject(fault)
        ours.stream.abort()
        assert await ours.read(1, 1) == b""
        undo()
        assert await reason_of(theirs.read(1, 1000)) is NetReason.TIMED_OUT
        assert network.hub_streams == 1
        theirs.stream.abort()
        await asyncio.sleep(1)
        assert network.hub_streams == 0

    run(story())


def test_a_connection_that_the_hub_has_ended_leaves_nothing_behind_when_the_charger_never_hears_of_it() -> None:
    async def story() -> None:
        network = Network()
        for _ in range(3):
            ours, theirs = await network.connected()
            network.site.inject(HalfOpen())
            theirs.stream.abort()
            await asyncio.sleep(1)
            ours.stream.abort()
            ours.stream.abort()
        await asyncio.sleep(1)
        assert network.hub_streams == 0
        assert not network.charger.streams

    run(story())


def test_dead_connections_that_the_other_end_keeps_are_bounded() -> None:
    async def story() -> None:
        network = Network()
        for _ in range(2 * ORPHANS_MAX):
            ours, _ = await network.connected()
            network.site.inject(HalfOpen())
            ours.stream.abort()
        await asyncio.sleep(1)
        assert network.hub_streams == ORPHANS_MAX
        network.charger.link_down()
        await asyncio.sleep(1)
        assert network.hub_streams == 0

    run(story())


def test_a_dead_connection_that_nobody_ends_is_given_up_and_half_open_at_the_hub() -> None:
    async def story() -> None:
        network = Network()
        ours, _ = await network.connected()
        network.site.inject(HalfOpen())
        ours.stream.write(b"into the void")
        assert await reason_of(ours.read(1)) is NetReason.TIMED_OUT
        assert 800 < now() < 1000
        assert network.hub_streams == 1

    run(story())


def test_a_router_may_reset_the_charger_and_leave_the_hub_alone() -> None:
    async def story() -> None:
        network = Network(router=Router(stray="reset", tcp_idle_s=60.0))
        ours, theirs = await network.connected()
        await asyncio.sleep(61)
        ours.stream.write(b"do you know me?")
        assert await reason_of(ours.read(1, 1)) is NetReason.RESET
        assert now() == 61
        assert await reason_of(theirs.read(1, 1000)) is NetReason.TIMED_OUT

    run(story())


def test_a_forged_reset_ends_both_ends() -> None:
    async def story() -> None:
        network = Network()
        ours, theirs = await network.connected()
        network.site.inject(Reset(after_bytes=1000))
        ours.stream.write(bytes(1000))
        assert len(await theirs.read(2000, 1)) == 1000
        ours.stream.write(b"one more")
        assert await reason_of(ours.read(1, 1)) is NetReason.RESET
        assert await reason_of(theirs.read(1, 1)) is NetReason.RESET
        assert network.hub_streams == 0

    run(story())


def test_a_full_router_keeps_a_charger_knocking() -> None:
    async def story() -> None:
        network = Network()
        await network.serve(HUB)
        network.site.inject(NatFull(count=2))
        await network.charger.connect(HUB, timeout_s=30)
        assert now() == 3, "SYNs at 0, 1 and 3 s"

    run(story())


def test_a_black_hole_lets_tcp_connect_and_the_tls_handshake_hang(certs: CertsDir) -> None:
    async def story() -> None:
        network = Network()
        context, failures = server_context(*certs.server(HUB_HOST)), list[NetError]()

        def secure(stream: Stream) -> None:
            tls_accept(stream, context, lambda tls: None, failures.append, timeout_s=60)

        await network.hosts[HUB.host].listen(HUB.port, secure)
        rtc = Rtc(asyncio.get_running_loop().time, built_at=datetime(2026, 6, 1, tzinfo=UTC))

        async def handshake() -> None:
            await tls_connect(
                await network.charger.connect(HUB, timeout_s=5),
                client_context(certs.roots_pem()),
                server_name=HUB_HOST,
                rtc=rtc,
                timeout_s=15,
            )

        undo = network.site.inject(MtuBlackHole(mtu_bytes=1400))
        assert await reason_of(handshake()) is NetReason.TIMED_OUT
        assert now() == 15, "the certificates never came"
        await asyncio.sleep(1)
        assert [error.reason for error in failures] == [NetReason.RESET], "small packets pass: the hub hears of it"
        network.site.inject(MtuBlackHole(mtu_bytes=1400, way="up"))
        undo()
        await handshake()
        assert now() == 16, "what a client says while it shakes hands is small"

    run(story())


def test_bytes_wait_in_front_of_a_black_hole_and_go_on_when_it_closes() -> None:
    async def story() -> None:
        network = Network()
        ours, theirs = await network.connected()
        undo = network.site.inject(MtuBlackHole(mtu_bytes=576))
        ours.stream.write(b"small")
        ours.stream.write(b"B" * 2000)
        ours.stream.write(b"small again")
        assert await theirs.read(5000, 10) == b"small"
        assert await reason_of(theirs.read(1, 10)) is NetReason.TIMED_OUT
        undo()
        assert (await theirs.read(1, 60)) == b"B"

    run(story())


def test_what_tcp_sends_again_is_told() -> None:
    async def story() -> None:
        network, told = Network(), list[tuple[int, Way]]()
        network.charger.resent = lambda size_bytes, way: told.append((size_bytes, way))
        network.site.inject(Block(for_s=2.0))
        ours, theirs = await network.connected()
        assert told == [(SYN_BYTES, Way.UP)] * 2, "at 1 and 3 s"
        told.clear()
        network.site.inject(Block(for_s=1.0))
        ours.stream.write(b"x" * 60)
        theirs.stream.write(b"y" * 10)
        assert await theirs.read(100, 10) == b"x" * 60
        ups = [size_bytes for size_bytes, way in told if way is Way.UP]
        downs = [size_bytes for size_bytes, way in told if way is Way.DOWN]
        assert ups == [HEADER_BYTES + 60] * 3, "after 0.2, 0.4 and 0.8 s"
        assert downs == [HEADER_BYTES + 10] * 3

    run(story())


TROUBLES = st.lists(
    st.tuples(
        st.floats(0.0, 30.0),
        st.one_of(
            st.builds(Block, probability=st.sampled_from([0.3, 1.0]), for_s=st.floats(0.1, 60.0)),
            st.builds(NatTimeout, timeout_s=st.floats(0.1, 60.0), for_s=st.floats(0.1, 60.0)),
            st.builds(NatReboot, for_s=st.floats(0.1, 60.0)),
            st.builds(NatFull, for_s=st.floats(0.1, 60.0)),
            st.builds(CaptivePortal, for_s=st.floats(0.1, 60.0)),
            st.builds(MtuBlackHole, mtu_bytes=st.integers(68, 1500), for_s=st.floats(0.1, 60.0)),
            st.builds(HalfOpen, for_s=st.floats(0.1, 60.0)),
            st.builds(Reset, after_bytes=st.integers(0, 20_000), for_s=st.floats(0.1, 60.0)),
        ),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(TROUBLES, st.sampled_from(["drop", "reset", "adopt"]), st.sampled_from([0.0, 0.05]))
def test_whatever_happens_bytes_come_in_order_or_the_connection_ends_and_a_new_one_works(
    troubles: list[tuple[float, Fault]], stray: str, loss: float
) -> None:
    sent = bytes(range(256)) * 64

    async def story() -> None:
        network = Network(LinkParams(delay_s=0.01, loss=loss), Router.model_validate({"stray": stray}))
        await network.serve(HUB, PORTAL)
        loop = asyncio.get_running_loop()
        for at_s, fault in troubles:
            loop.call_later(at_s, network.site.inject, fault)
        with contextlib.suppress(NetError):
            ours = Reader(await network.charger.connect(HUB, timeout_s=120))
            with contextlib.suppress(NetError):
                for start in range(0, len(sent), 1000):
                    ours.stream.write(sent[start : start + 1000])
                    await asyncio.sleep(2)
                ours.stream.close()
                await ours.read(1, 2000)
        received = bytearray()
        for theirs in (reader for to in network.accepted.values() for reader in to):
            with contextlib.suppress(NetError):
                while part := await theirs.read(100_000, 1):
                    received += part
        assert sent.startswith(received)
        await asyncio.sleep(2000)
        ours, theirs = await network.connected()
        ours.stream.write(sent)
        got = b""
        while len(got) < len(sent):
            got += await theirs.read(100_000, 60)
        assert got == sent

    run(story())

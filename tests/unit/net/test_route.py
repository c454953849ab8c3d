"""Who gets a packet first: a neighbour, the router, or nobody; and what that means for sockets and connections."""

import asyncio
from ipaddress import IPv4Address, IPv4Network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.clock import SimLoop
from emulator.errors import NetReason
from emulator.faults import FaultSet
from emulator.local import FACTORY, Mode
from emulator.net.api import Address, Interface
from emulator.net.bearer import Cable
from emulator.net.firewall import Verdict
from emulator.net.link import Link, Way
from emulator.net.reader import Reader
from emulator.net.route import Hop, Lan, Route
from emulator.net.shaped import ShapedHost
from emulator.net.sim import SimNet
from emulator.net.site import Site
from emulator.wire.address import BROADCAST
from tests.unit.net.virtual_time import now, reason_of, run

HERE = Lan(IPv4Network("10.20.0.0/16"), "10.20.0.1")
MINE, ROUTER, NEIGHBOUR, OUTSIDE = "10.20.16.1", "10.20.0.1", "10.20.0.53", "8.8.8.8"
RIGHT, WRONG, NONE = (Interface(MINE, 16, gateway) for gateway in (ROUTER, "10.20.0.99", None))
HUB = Address("198.51.100.88", 8883)


def route(interface: Interface | None, lan: Lan | None = HERE) -> Route:
    made = Route()
    made.use(interface, lan)
    return made


@pytest.mark.parametrize(
    ("interface", "neighbour", "outside"),
    [
        (RIGHT, Hop.TAKEN, Hop.TAKEN),
        (WRONG, Hop.TAKEN, Hop.NOBODY),
        (NONE, Hop.TAKEN, Hop.UNKNOWN),
        (Interface("10.20.252.4", 24, "10.20.252.2"), Hop.NOBODY, Hop.NOBODY),
        (Interface("10.20.252.4", 24, ROUTER), Hop.TAKEN, Hop.TAKEN),
        (Interface("10.20.252.4", 24), Hop.UNKNOWN, Hop.UNKNOWN),
        (Interface(MINE, 8, ROUTER), Hop.TAKEN, Hop.TAKEN),
        (Interface(MINE, 0, ROUTER), Hop.TAKEN, Hop.NOBODY),
        (None, Hop.TAKEN, Hop.TAKEN),
    ],
    ids=["right", "wrong", "none", "rogue", "narrow", "narrow, none", "wide", "everything", "no address"],
)
def test_where_a_packet_goes(interface: Interface | None, neighbour: Hop, outside: Hop) -> None:
    table = route(interface)
    assert (table.hop(NEIGHBOUR), table.hop(OUTSIDE)) == (neighbour, outside)


def test_where_nobody_knows_the_network_every_packet_finds_its_way() -> None:
    assert route(NONE, lan=None).hop(OUTSIDE) is Hop.TAKEN and Route().sound


def test_a_new_interface_is_another_table() -> None:
    table = route(WRONG)
    assert not table.sound
    table.use(RIGHT, HERE)
    assert table.sound and table.hop(OUTSIDE) is Hop.TAKEN


addresses = st.builds(lambda number: str(IPv4Address(number)), st.integers(0, 2**32 - 1))


@given(st.builds(Interface, addresses, st.integers(0, 32), st.none() | addresses | st.just(ROUTER)), addresses)
def test_whatever_is_set_it_decides_and_a_sound_table_takes_everything(interface: Interface, to: str) -> None:
    table = route(interface)
    assert table.hop(to) is Hop.TAKEN if table.sound else table.hop(to) in Hop


@pytest.mark.parametrize("interface", [WRONG, NONE])
def test_datagrams_vanish_without_a_way_out_and_those_of_the_lan_do_not(interface: Interface) -> None:
    site = Site(Random(1), lambda: 0.0, {}, lan=HERE)
    socket = site.datagrams("charger", table := route(interface))
    assert socket.out(Address(OUTSIDE, 53)) is None
    assert socket.out(Address(NEIGHBOUR, 53)) == Address(NEIGHBOUR, 53)
    assert site.datagrams("charger", table, local=True).out(Address(BROADCAST, 67)) == Address(BROADCAST, 67)
    table.use(RIGHT, HERE)
    assert socket.out(Address(OUTSIDE, 53)) == Address(OUTSIDE, 53)


def test_a_connection_loses_its_way_out_and_what_comes_in_still_comes() -> None:
    path = Site(Random(1), lambda: 0.0, {}, lan=HERE).stream("charger", HUB, table := route(RIGHT))
    assert path.knock() is Verdict.PASS
    table.use(WRONG, HERE)
    assert [path.carries(60, way) for way in Way] == [Verdict.DROP, Verdict.PASS]
    table.use(RIGHT, HERE)
    assert path.carries(60, Way.UP) is Verdict.PASS


class Network:
    """A hub on the internet, and a charger whose gateway may be anybody."""

    def __init__(self, interface: Interface) -> None:
        time = asyncio.get_running_loop().time
        net = SimNet(Random(1), latency_s=0.0)
        self.hub = net.host("hub", HUB.host, segment="internet")
        self.link = Link("charger", {mode: Cable() for mode in Mode}, FaultSet(Random(2), time), Random(2), time)
        cell = Lan(IPv4Network("100.64.0.0/22"), "100.64.0.1")
        site, operator = (Site(Random(3), time, {}, lan=lan) for lan in (HERE, cell))
        self.charger = ShapedHost(net.host("charger"), site=site, link=self.link, operator=operator)
        self.link.attach(Mode.ETHERNET, FACTORY)
        self.charger.set_interface(interface)

    async def serve(self) -> list[Reader]:
        accepted: list[Reader] = []
        await self.hub.listen(HUB.port, lambda stream: accepted.append(Reader(stream)))
        return accepted


@pytest.mark.parametrize(
    ("interface", "reason", "after_s"), [(NONE, NetReason.UNREACHABLE, 0.0), (WRONG, NetReason.TIMED_OUT, 5.0)]
)
def test_without_a_gateway_tcp_fails_at_once_and_with_a_wrong_one_never_hears_a_thing(
    interface: Interface, reason: NetReason, after_s: float
) -> None:
    async def story() -> None:
        network = Network(interface)
        accepted = await network.serve()
        assert await reason_of(network.charger.connect(HUB, timeout_s=5)) is reason
        assert now() == after_s and accepted == []
        network.charger.set_interface(RIGHT)
        await network.charger.connect(HUB, timeout_s=5)

    run(story())


def test_over_lte_the_operator_s_router_is_the_way_out() -> None:
    async def story() -> None:
        network = Network(RIGHT)
        await network.serve()
        await network.charger.link_up(Mode.LTE, FACTORY)
        network.charger.set_interface(Interface("100.64.0.100", 22, "100.64.0.1"))
        await network.charger.connect(HUB, timeout_s=5)
        network.charger.set_interface(Interface("100.64.0.100", 22, ROUTER))
        assert await reason_of(network.charger.connect(HUB, timeout_s=5)) is NetReason.TIMED_OUT

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(story())

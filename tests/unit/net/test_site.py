"""The site as a whole: whatever is wrong with it and whoever speaks, it decides, and heals without a trace."""

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.errors import UsageError
from emulator.faults import Undo, fault_from
from emulator.net.api import Address
from emulator.net.detour import Appliances
from emulator.net.firewall import Verdict
from emulator.net.link import Way
from emulator.net.path import DETOURS_MAX, DatagramPath, StreamPath
from emulator.net.place import Router
from emulator.net.site import FAULTS, Site
from emulator.wire.address import BROADCAST

TABLE = {fault.kind: fault for fault in FAULTS}
CHARGERS = ("ZPR000001", "ZPR000002")
PORTAL, PROXY = "10.0.0.80", "10.0.0.81"
NAMES = {"hub.example": ("10.0.2.1",), "ntp.example": ("10.0.1.123", "10.0.1.124")}
PLACES = [
    Address(host, port)
    for host in ("10.0.0.1", "10.0.2.1", "10.0.1.123", "8.8.8.8", PORTAL, BROADCAST)
    for port in (53, 67, 80, 123, 443, 8883)
]

hosts = st.none() | st.sampled_from(["hub.example", "ntp.example", "8.8.8.8"])
ports = st.none() | st.sampled_from([53, 123, 443, 8883])
seconds = st.floats(0.1, 20_000.0)
chance = st.sampled_from([1.0, 0.3])
entries = st.sampled_from(["udp/53", "tcp/443", "udp/*", "tcp/8883/hub.example", "udp/123/ntp.example"])


def kind(name: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Faults of one kind with any values, for one charger or all, for a while or until healed."""
    common = {"who": st.sampled_from(["*", *CHARGERS])}
    return st.fixed_dictionaries({"kind": st.just(name), **common, **fields}, optional={"for_s": seconds})


faults = st.one_of(
    kind("site.block", protocol=st.sampled_from(["tcp", "udp", "*"]), port=ports, host=hosts, probability=chance),
    kind("site.allow_only", allow=st.lists(entries, max_size=3)),
    kind("site.nat_timeout", timeout_s=seconds),
    kind("site.nat_reboot"),
    kind("site.nat_full", probability=chance, count=st.none() | st.integers(1, 3)),
    kind("site.captive_portal"),
    kind("site.intercept", ports=st.just([443, 8883]), hosts=st.sampled_from([[], ["hub.example"]])),
    kind("site.mtu_black_hole", mtu_bytes=st.integers(68, 1500), way=st.sampled_from(["up", "down", "*"])),
    kind("site.half_open"),
    kind("site.reset", after_bytes=st.integers(0, 5000), port=ports, host=hosts, probability=chance),
)
routers = st.builds(
    Router,
    nat=st.booleans(),
    tcp_idle_s=seconds,
    udp_idle_s=seconds,
    stray=st.sampled_from(["drop", "reset", "adopt"]),
)
packets = st.tuples(
    st.sampled_from(["syn", "up", "down", "out", "back", "open udp"]),
    st.sampled_from(CHARGERS),
    st.sampled_from(PLACES),
    st.integers(28, 9000),
)
moves = st.lists(st.one_of(faults, packets, seconds, st.just("heal")), max_size=40)


class Traffic:
    """Chargers that use everything there is, in any order."""

    def __init__(self, router: Router) -> None:
        self.now = 0.0
        self.site = Site(Random(1), lambda: self.now, NAMES, router=router, appliances=Appliances(PORTAL, PROXY))
        self.undo: list[Undo] = []
        self.streams: list[StreamPath] = []
        self.sockets: list[DatagramPath] = []

    def move(self, move: Any) -> None:
        if isinstance(move, float):
            self.now += move
        elif isinstance(move, Mapping):
            self.undo.append(self.site.inject(fault_from(move, TABLE)))
        elif move == "heal":
            self.heal()
        else:
            self.packet(*move)

    def heal(self) -> None:
        for undo in self.undo:
            undo()

    def packet(self, what: str, who: str, place: Address, size_bytes: int) -> None:
        match what:
            case "syn":
                path = self.site.stream(who, place)
                if path.knock() is Verdict.PASS:
                    assert path.real.host in (place.host, PORTAL, PROXY)
                    self.streams.append(path)
            case "up" | "down":
                for path in self.streams:
                    verdict = path.carries(size_bytes, Way[what.upper()])
                    assert verdict is not Verdict.REJECT
            case "open udp":
                self.sockets.append(self.site.datagrams(who))
            case _:
                for socket in self.sockets:
                    seen = socket.out(place) if what == "out" else socket.back(place)
                    assert seen is None or what == "back" or seen.host in (place.host, PORTAL)


@settings(deadline=None, max_examples=300)
@given(routers, moves)
def test_whatever_is_wrong_every_packet_has_a_fate_and_all_is_well_once_it_is_healed(
    router: Router, moves: list[Any]
) -> None:
    traffic = Traffic(router)
    for move in moves:
        traffic.move(move)
    traffic.heal()
    traffic.undo.clear()
    for place in PLACES:
        path = traffic.site.stream(CHARGERS[0], place)
        assert path.knock() is Verdict.PASS
        assert path.real == place
        assert [path.carries(1500, way) for way in Way] == [Verdict.PASS] * 2
    for socket in (*traffic.sockets, traffic.site.datagrams(CHARGERS[1])):
        for number in range(DETOURS_MAX + 4):
            place = Address(f"10.0.9.{number}", 123)
            assert socket.out(place) == place == socket.back(place)


@settings(deadline=None)
@given(routers, moves, moves)
def test_the_fate_of_packets_depends_on_the_seed_alone(router: Router, moves: list[Any], more: list[Any]) -> None:
    def fates() -> list[object]:
        traffic = Traffic(router)
        for move in (*moves, *more):
            traffic.move(move)
        return [path.carries(100, way) for path in traffic.streams for way in Way]

    assert fates() == fates()


def test_faults_for_a_time_end_by_themselves() -> None:
    traffic = Traffic(Router())
    hub = Address("10.0.2.1", 8883)
    traffic.move({"kind": "site.captive_portal", "for_s": 60.0})
    path = traffic.site.stream(CHARGERS[0], hub)
    assert path.knock() is Verdict.PASS
    assert path.real == Address(PORTAL, 8883)
    traffic.now = 60.0
    again = traffic.site.stream(CHARGERS[0], hub)
    assert again.knock() is Verdict.PASS
    assert again.real == hub


def test_there_is_a_limit_to_what_can_be_wrong() -> None:
    traffic = Traffic(Router())
    for _ in range(256):
        traffic.move({"kind": "site.half_open"})
    with pytest.raises(UsageError, match="256"):
        traffic.move({"kind": "site.reset"})

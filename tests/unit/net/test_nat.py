"""Address translation: what the router remembers, and what becomes of what it does not."""

from random import Random

import pytest

from emulator.errors import UsageError
from emulator.faults import Fault, fault_from
from emulator.net.api import Address
from emulator.net.firewall import Verdict
from emulator.net.link import Way
from emulator.net.nat import FAULTS, REBOOT_S, NatFull, NatReboot, NatTimeout
from emulator.net.path import DatagramPath, StreamPath
from emulator.net.place import Router
from emulator.net.site import Site

WHO = "ZPR000001"
HUB = Address("10.0.2.1", 8883)
DNS = Address("8.8.8.8", 53)
DHCP = Address("10.0.0.1", 67)
TABLE = {fault.kind: fault for fault in FAULTS}
SIZE_BYTES = 100


class Behind:
    """A charger behind a router, and a clock."""

    def __init__(self, router: Router = Router()) -> None:  # noqa: B008 - frozen
        self.now = 0.0
        self.site = Site(Random(1), lambda: self.now, {}, router=router)

    def connected(self, who: str = WHO) -> StreamPath:
        path = self.site.stream(who, HUB)
        assert path.knock() is Verdict.PASS
        return path

    def asked(self) -> DatagramPath:
        path = self.site.datagrams(WHO)
        assert path.out(DNS) == DNS
        return path

    def idle(self, seconds: float, *faults: Fault) -> None:
        for fault in faults:
            self.site.inject(fault)
        self.now += seconds


def up(path: StreamPath) -> Verdict:
    return path.carries(SIZE_BYTES, Way.UP)


def down(path: StreamPath) -> Verdict:
    return path.carries(SIZE_BYTES, Way.DOWN)


def test_a_connection_lives_as_long_as_it_speaks_in_time() -> None:
    behind = Behind()
    path = behind.connected()
    for way in (Way.UP, Way.DOWN) * 5:
        behind.idle(7439.0)
        assert path.carries(SIZE_BYTES, way) is Verdict.PASS
    behind.idle(7440.0)
    assert (down(path), up(path)) == (Verdict.DROP, Verdict.DROP)
    behind.connected()


def test_a_timeout_counts_from_the_last_packet_that_passed() -> None:
    behind = Behind()
    behind.site.inject(NatTimeout(timeout_s=120.0))
    path = behind.connected()
    for _ in range(10):
        behind.idle(119.0)
        assert up(path) is Verdict.PASS
    behind.idle(120.0)
    assert up(path) is Verdict.DROP
    behind.idle(1.0)
    assert up(path) is Verdict.DROP, "speaking again does not bring it back"


def test_a_timeout_holds_for_a_connection_from_its_next_packet_on() -> None:
    behind = Behind()
    path = behind.connected()
    behind.idle(300.0, NatTimeout(timeout_s=120.0))
    assert up(path) is Verdict.PASS
    behind.idle(300.0)
    assert up(path) is Verdict.DROP


def test_the_shortest_of_several_timeouts_counts_and_each_may_be_for_one_protocol() -> None:
    behind = Behind()
    for fault in (NatTimeout(timeout_s=60.0, protocol="udp"), NatTimeout(timeout_s=600.0), NatTimeout(timeout_s=500.0)):
        behind.site.inject(fault)
    stream, datagrams = behind.connected(), behind.asked()
    behind.idle(60.0)
    assert datagrams.back(DNS) is None
    assert up(stream) is Verdict.PASS
    behind.idle(500.0)
    assert up(stream) is Verdict.DROP


def test_healing_does_not_bring_back_what_was_forgotten() -> None:
    behind = Behind()
    undo = behind.site.inject(NatTimeout(timeout_s=120.0))
    path = behind.connected()
    behind.idle(121.0)
    undo()
    assert up(path) is Verdict.DROP
    path = behind.connected()
    behind.idle(300.0)
    assert up(path) is Verdict.PASS


@pytest.mark.parametrize(
    ("stray", "first", "then"),
    [
        ("drop", Verdict.DROP, Verdict.DROP),
        ("reset", Verdict.STRAY, Verdict.DROP),
        ("adopt", Verdict.PASS, Verdict.PASS),
    ],
)
def test_a_router_drops_resets_or_adopts_what_it_does_not_know(stray: str, first: Verdict, then: Verdict) -> None:
    behind = Behind(Router.model_validate({"stray": stray}))
    path = behind.connected()
    behind.idle(10_000.0)
    assert down(path) is Verdict.DROP, "from outside nobody opens anything"
    assert (up(path), down(path)) == (first, then)


def test_without_translation_nothing_is_forgotten_and_anybody_may_begin() -> None:
    behind = Behind(Router(nat=False))
    path = behind.connected()
    behind.idle(1e9, NatTimeout(timeout_s=1.0), NatFull())
    assert up(path) is Verdict.PASS
    assert behind.site.datagrams(WHO).back(DNS) == DNS
    behind.connected()


def test_nobody_gets_in_before_a_packet_has_gone_out_or_long_after() -> None:
    behind = Behind()
    silent, path = behind.site.datagrams(WHO), behind.asked()
    assert silent.back(DNS) is None
    behind.idle(299.0)
    assert path.back(DNS) == DNS
    behind.idle(299.0)
    assert path.back(Address("9.9.9.9", 53)) == Address("9.9.9.9", 53), "one row per socket: endpoint-independent"
    behind.idle(300.0)
    assert path.back(DNS) is None
    assert path.out(DNS) == DNS, "a packet that goes out makes a new row"
    assert path.back(DNS) == DNS


def test_the_lan_is_not_translated() -> None:
    behind = Behind()
    behind.site.inject(NatFull())
    path = behind.site.datagrams(WHO, local=True)
    assert path.back(DHCP) == DHCP
    assert path.out(DHCP) == DHCP


def test_a_reboot_stops_everything_for_a_minute_and_loses_every_connection() -> None:
    behind = Behind()
    path, lan = behind.connected(), behind.site.datagrams(WHO, local=True)
    behind.idle(REBOOT_S - 1.0, NatReboot())
    assert (up(path), down(path)) == (Verdict.DROP, Verdict.DROP)
    assert behind.site.stream(WHO, HUB).knock() is Verdict.DROP
    assert lan.out(DHCP) is None and lan.back(DHCP) is None, "the router is the DHCP server too"
    behind.idle(1.0)
    assert (up(path), down(path)) == (Verdict.DROP, Verdict.DROP), "for good"
    assert up(behind.connected()) is Verdict.PASS
    assert lan.out(DHCP) == DHCP


def test_a_reboot_for_one_charger_is_none_for_the_others() -> None:
    behind = Behind()
    ours, theirs = behind.connected(), behind.connected("ZPR000002")
    behind.idle(REBOOT_S, NatReboot(who=WHO))
    assert (up(ours), up(theirs)) == (Verdict.DROP, Verdict.PASS)


def test_a_socket_goes_on_after_a_reboot_with_the_next_packet_it_sends() -> None:
    behind = Behind()
    path = behind.asked()
    behind.idle(REBOOT_S, NatReboot())
    assert path.back(DNS) is None
    assert path.out(DNS) == DNS == path.back(DNS)


def test_a_full_table_stops_what_is_new_and_leaves_what_is_known() -> None:
    behind = Behind()
    stream, datagrams = behind.connected(), behind.asked()
    undo = behind.site.inject(NatFull())
    assert up(stream) is Verdict.PASS
    assert datagrams.out(DNS) == DNS
    assert behind.site.stream(WHO, HUB).knock() is Verdict.DROP
    assert behind.site.datagrams(WHO).out(DNS) is None
    undo()
    behind.connected()


def test_a_table_that_is_full_now_and_then_stops_some() -> None:
    behind = Behind()
    behind.site.inject(NatFull(probability=0.5))
    stopped = sum(behind.site.stream(WHO, HUB).knock() is Verdict.DROP for _ in range(200))
    assert 50 < stopped < 150


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "site.nat_timeout"},
        {"kind": "site.nat_timeout", "timeout_s": 0},
        {"kind": "site.nat_timeout", "timeout_s": float("inf")},
        {"kind": "site.nat_timeout", "timeout_s": 1, "protocol": "icmp"},
        {"kind": "site.nat_reboot", "for_s": 0},
        {"kind": "site.nat_reboot", "for_s": "a minute"},
        {"kind": "site.nat_full", "flows": 3},
    ],
)
def test_bad_faults_are_refused(data: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"timeout_s|protocol|for_s|flows"):
        fault_from(data, TABLE)

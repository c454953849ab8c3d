"""The way of each packet through the site: black holes, dead connections, forged resets, detours."""

from random import Random

import pytest

from emulator.errors import UsageError
from emulator.faults import Fault
from emulator.net.api import Address
from emulator.net.detour import Appliances, CaptivePortal, Intercept
from emulator.net.firewall import Block, Verdict
from emulator.net.link import Way
from emulator.net.path import DETOURS_MAX, DatagramPath, HalfOpen, MtuBlackHole, Reset, StreamPath
from emulator.net.site import Site
from emulator.wire.address import BROADCAST

WHO = "ZPR000001"
HUB, API = Address("10.0.2.1", 8883), Address("10.0.3.1", 443)
DNS, GOOGLE, NTP = Address("10.0.0.53", 53), Address("8.8.8.8", 53), Address("10.0.1.123", 123)
PORTAL, PROXY = "10.0.0.80", "10.0.0.81"
NAMES = {"hub.example": (HUB.host,), "api.example": (API.host,)}


def site(*faults: Fault) -> Site:
    made = Site(Random(1), lambda: 0.0, NAMES, appliances=Appliances(PORTAL, PROXY))
    for fault in faults:
        made.inject(fault)
    return made


def connected(at: Site, to: Address = HUB) -> StreamPath:
    path = at.stream(WHO, to)
    assert path.knock() is Verdict.PASS
    return path


def fates(path: StreamPath, *sizes_bytes: int, way: Way = Way.UP) -> list[bool]:
    """For each size, whether it passes."""
    return [path.carries(size_bytes, way) is Verdict.PASS for size_bytes in sizes_bytes]


def test_big_packets_vanish_in_a_black_hole_and_small_ones_pass() -> None:
    path = connected(site(MtuBlackHole(mtu_bytes=1400)))
    assert fates(path, 60, 1400, 1401, 1500) == [True, True, False, False]
    assert fates(path, 1400, 1500, way=Way.DOWN) == [True, False]


def test_what_travels_as_several_packets_is_as_big_as_the_largest_of_them() -> None:
    path = connected(site(MtuBlackHole(mtu_bytes=1500)))
    assert fates(path, 1500, 4000) == [True, True]


@pytest.mark.parametrize(("way", "up", "down"), [("up", False, True), ("down", True, False), ("*", False, False)])
def test_a_black_hole_may_be_one_way(way: str, up: bool, down: bool) -> None:
    path = connected(site(MtuBlackHole(way=way)))  # type: ignore[arg-type]
    assert fates(path, 1500) == [up]
    assert fates(path, 1500, way=Way.DOWN) == [down]


def test_a_black_hole_may_be_on_the_way_to_one_host_only() -> None:
    at = site(MtuBlackHole(host="hub.example"))
    assert fates(connected(at, HUB), 1500) == [False]
    assert fates(connected(at, API), 1500) == [True]


def test_half_open_strikes_the_connections_that_are_there_and_no_later_one() -> None:
    at = site(HalfOpen(who="ZPR000002"))
    before = connected(at)
    undo = at.inject(HalfOpen())
    after = connected(at)
    for path, passes in ((before, False), (after, True)):
        assert fates(path, 60) == [passes]
        assert fates(path, 60, way=Way.DOWN) == [passes]
    at.inject(HalfOpen())
    assert fates(after, 60) == [False]
    undo()
    assert fates(before, 60) == [False], "the second one strikes it too"


def test_a_forged_reset_comes_with_the_first_packet_or_after_so_many_bytes() -> None:
    assert connected(site(Reset())).carries(60, Way.UP) is Verdict.RESET
    path = connected(site(Reset(after_bytes=1000, port=8883)))
    assert [path.carries(500, Way.UP), path.carries(500, Way.DOWN)] == [Verdict.PASS, Verdict.PASS]
    assert path.carries(1, Way.DOWN) is Verdict.RESET
    assert fates(connected(site(Reset(port=443))), 60) == [True]


def test_a_firewall_that_rejects_is_no_reset_for_a_connection_that_is_there() -> None:
    at = site()
    path = connected(at)
    at.inject(Block(action="reject"))
    assert path.carries(60, Way.UP) is Verdict.DROP
    assert at.stream(WHO, HUB).knock() is Verdict.REJECT


def test_a_portal_takes_web_and_mqtt_connections_and_drops_the_others() -> None:
    at = site()
    before = connected(at)
    undo = at.inject(CaptivePortal())
    for port in (80, 443, 8883):
        for host in ("10.0.9.9", PORTAL):
            path = connected(at, Address(host, port))
            assert (path.to, path.real) == (Address(host, port), Address(PORTAL, port))
            assert fates(path, 60) == [True]
    assert at.stream(WHO, Address("10.0.9.9", 22)).knock() is Verdict.DROP
    assert fates(before, 60) == [False], "who has not logged in keeps no connection either"
    at_portal = connected(at)
    undo()
    assert connected(at).real == HUB
    assert fates(before, 60) == fates(at_portal, 60) == [True]


def test_a_portal_answers_every_name_server_s_queries_and_drops_other_datagrams() -> None:
    path = site(CaptivePortal()).datagrams(WHO)
    assert path.out(NTP) is None
    for asked in (DNS, GOOGLE):
        assert path.out(asked) == Address(PORTAL, 53)
        assert path.back(Address(PORTAL, 53)) == asked, "the answer looks like that of the server that was asked"


def test_after_the_log_in_an_answer_is_who_it_is_again() -> None:
    at = site()
    undo = at.inject(CaptivePortal())
    path = at.datagrams(WHO)
    path.out(GOOGLE)
    undo()
    assert path.out(DNS) == DNS == path.back(DNS)
    assert path.back(Address(PORTAL, 53)) == GOOGLE, "late, but it gets through"


def test_a_portal_does_not_come_between_charger_and_dhcp() -> None:
    at = site(CaptivePortal())
    dhcp = Address("10.0.0.1", 67)
    assert at.datagrams(WHO, local=True).out(dhcp) == dhcp
    assert at.datagrams(WHO).out(Address(BROADCAST, 67)) == Address(BROADCAST, 67)


def test_the_detours_that_a_socket_remembers_are_bounded() -> None:
    at = site()
    path = at.datagrams(WHO)
    undo = at.inject(CaptivePortal())
    path.out(GOOGLE)
    undo()
    for number in range(DETOURS_MAX):
        path.out(Address(f"10.0.5.{number}", 53))
    assert path.back(Address(PORTAL, 53)) == Address(PORTAL, 53), "the oldest is forgotten"


def test_a_proxy_takes_what_is_meant_for_the_ports_and_hosts_it_is_told() -> None:
    at = site()
    before = connected(at)
    at.inject(Intercept(ports=(8883,), hosts=("hub.example",)))
    assert connected(at).real == Address(PROXY, 443)
    assert connected(at, API).real == API
    assert connected(at, Address("10.0.9.9", 8883)).real == Address("10.0.9.9", 8883)
    assert fates(before, 60) == [True], "connections that are there go on"


def test_by_default_a_proxy_takes_https_and_mqtt() -> None:
    at = site(Intercept())
    assert {connected(at, to).real for to in (HUB, API)} == {Address(PROXY, 443)}


def test_the_proxy_may_be_for_one_charger() -> None:
    at = site(Intercept(who="ZPR000002"), CaptivePortal(who="ZPR000003"))
    assert connected(at).real == HUB


@pytest.mark.parametrize(
    "fault",
    [
        Intercept(hosts=("nobody.example",)),
        MtuBlackHole(host="nobody.example"),
        Reset(host="nobody.example"),
    ],
)
def test_a_host_that_nobody_knows_is_refused(fault: Fault) -> None:
    with pytest.raises(UsageError, match=r"nobody\.example"):
        site(fault)


@pytest.mark.parametrize("fault", [Intercept(), CaptivePortal()])
def test_without_machines_that_could_take_anything_there_are_no_detours(fault: Fault) -> None:
    with pytest.raises(UsageError, match=fault.kind):
        Site(Random(1), lambda: 0.0, {}).inject(fault)


def test_the_way_of_a_datagram_is_free_where_nothing_is_wrong() -> None:
    path: DatagramPath = site().datagrams(WHO)
    assert (path.out(NTP), path.back(NTP)) == (NTP, NTP)

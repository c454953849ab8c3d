"""The site's firewall."""

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from emulator.errors import UsageError
from emulator.faults import fault_from
from emulator.net.api import Address
from emulator.net.firewall import FAULTS, Block, Firewall, Hosts, Verdict, parse_allowed
from emulator.net.site import Site
from emulator.wire.address import BROADCAST

TABLE = {fault.kind: fault for fault in FAULTS}
HUB = Address("10.0.2.1", 8883)
API, OLD_API = Address("10.0.3.1", 443), Address("10.0.3.2", 443)
GOOGLE = Address("8.8.8.8", 53)
NAMES = {"hub.example": (HUB.host,), "8.8.8.8.example": (GOOGLE.host,), "api.example": (API.host, OLD_API.host)}


def firewall(*faults: Mapping[str, Any]) -> Firewall:
    """With `site.block` faults, unless they say otherwise."""
    site = Site(Random(1), lambda: 0.0, NAMES)
    for data in faults:
        site.inject(fault_from({"kind": "site.block", **data}, TABLE))
    return site.firewall


def blocked(made: Firewall) -> set[str]:
    """Which of the usual traffic does not pass."""
    usual = {"hub": ("tcp", HUB), "api": ("tcp", API), "dns": ("udp", GOOGLE)}
    return {
        name
        for name, (protocol, to) in usual.items()
        if made.verdict(protocol, to, "ZPR000001") is not Verdict.PASS  # type: ignore[arg-type]
    }


def test_without_rules_everything_passes() -> None:
    assert blocked(firewall()) == set()


@pytest.mark.parametrize(
    ("fault", "struck"),
    [
        ({}, {"hub", "api", "dns"}),
        ({"protocol": "tcp"}, {"hub", "api"}),
        ({"protocol": "udp"}, {"dns"}),
        ({"port": 443}, {"api"}),
        ({"protocol": "udp", "port": 443}, set()),
        ({"host": "10.0.2.1"}, {"hub"}),
        ({"host": "hub.example"}, {"hub"}),
        ({"host": "hub.example", "port": 443}, set()),
        ({"who": "another charger"}, set()),
        ({"kind": "site.allow_only"}, {"hub", "api", "dns"}),
        ({"kind": "site.allow_only", "allow": ["udp/53"]}, {"hub", "api"}),
        ({"kind": "site.allow_only", "allow": ["tcp/443"]}, {"hub", "dns"}),
        ({"kind": "site.allow_only", "allow": ["tcp/*"]}, {"dns"}),
        ({"kind": "site.allow_only", "allow": ["tcp/8883/hub.example", "udp/53/1.1.1.1"]}, {"api", "dns"}),
        ({"kind": "site.allow_only", "allow": ["tcp/443"], "who": "another charger"}, set()),
    ],
)
def test_a_rule_strikes_what_it_names_and_nothing_else(fault: Mapping[str, Any], struck: set[str]) -> None:
    assert blocked(firewall(fault)) == struck


def test_a_name_stands_for_all_its_addresses() -> None:
    made = firewall({"host": "api.example"})
    assert {made.verdict("tcp", to, "*") for to in (API, OLD_API)} == {Verdict.DROP}


def test_a_rule_may_concern_one_charger() -> None:
    made = firewall({"who": "ZPR000001"})
    assert made.verdict("tcp", HUB, "ZPR000001") is Verdict.DROP
    assert made.verdict("tcp", HUB, "ZPR000002") is Verdict.PASS


def test_the_first_rule_that_matches_says_how() -> None:
    made = firewall({"port": 8883, "action": "reject"}, {"protocol": "tcp"})
    assert made.verdict("tcp", HUB, "*") is Verdict.REJECT
    assert made.verdict("tcp", API, "*") is Verdict.DROP


def test_of_two_lists_of_what_is_allowed_both_count() -> None:
    made = firewall(
        {"kind": "site.allow_only", "allow": ["tcp/443", "tcp/8883"]},
        {"kind": "site.allow_only", "allow": ["tcp/443", "udp/53"], "action": "reject"},
    )
    assert blocked(made) == {"hub", "dns"}
    assert made.verdict("tcp", HUB, "*") is Verdict.REJECT


def test_dhcp_never_passes_the_router_so_no_list_stops_it() -> None:
    made = firewall({"kind": "site.allow_only"})
    for to in (Address(BROADCAST, 67), Address("10.0.0.1", 67)):
        assert made.verdict("udp", to, "*") is Verdict.PASS
    assert firewall({"port": 67}).verdict("udp", Address(BROADCAST, 67), "*") is Verdict.DROP, "a rule may name it"


def test_undoing_lets_it_pass_again() -> None:
    site = Site(Random(1), lambda: 0.0, NAMES)
    undo = site.inject(Block(port=8883))
    assert site.firewall.verdict("tcp", HUB, "*") is Verdict.DROP
    undo()
    undo()
    assert site.firewall.verdict("tcp", HUB, "*") is Verdict.PASS


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"host": "nobody.example"}, "nobody.example"),
        ({"host": ""}, "host"),
        ({"host": "10.0.0"}, "10.0.0"),
        ({"port": 0}, "port"),
        ({"port": 70000}, "port"),
        ({"protocol": "icmp"}, "protocol"),
        ({"action": "maim"}, "action"),
        ({"kind": "site.allow_only", "allow": "tcp/443"}, "allow"),
        ({"kind": "site.allow_only", "allow": ["443"]}, "443"),
        ({"kind": "site.allow_only", "allow": ["tcp/0"]}, "tcp/0"),
        ({"kind": "site.allow_only", "allow": ["tcp/65536"]}, "tcp/65536"),
        ({"kind": "site.allow_only", "allow": ["icmp/1"]}, "icmp/1"),
        ({"kind": "site.allow_only", "allow": ["tcp/443/"]}, "tcp/443/"),
        ({"kind": "site.allow_only", "allow": ["tcp/443/nobody.example"]}, "nobody.example"),
        ({"kind": "site.allow_only", "allow": ["tcp/443"] * 65}, "allow"),
        ({"kind": "site.allow_only", "probability": 0.5}, "probability"),
    ],
)
def test_bad_rules_are_refused_by_name(fault: Mapping[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        firewall(fault)


def test_there_is_a_limit_to_the_rules() -> None:
    site = Site(Random(1), lambda: 0.0, NAMES)
    for port in range(1, 257):
        site.inject(Block(port=port))
    with pytest.raises(UsageError, match="256"):
        site.inject(Block())


def test_an_entry_says_protocol_port_and_host() -> None:
    allowed = parse_allowed("tcp/443/api.example")
    assert (allowed.protocol, allowed.port, allowed.host) == ("tcp", 443, "api.example")
    assert parse_allowed("udp/*").port is None


def test_a_host_that_is_not_named_is_any() -> None:
    assert Hosts({}).means(None, "10.0.0.1")

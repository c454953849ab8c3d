"""The site's firewall."""

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from emulator.errors import UsageError
from emulator.faults import fault_from
from emulator.net.api import Address
from emulator.net.site import FAULTS, Block, Firewall, Verdict

TABLE = {fault.kind: fault for fault in FAULTS}
HUB = Address("10.0.2.1", 8883)
API = Address("10.0.3.1", 443)
GOOGLE = Address("8.8.8.8", 53)
NAMES = {"hub.example": HUB.host, "8.8.8.8.example": GOOGLE.host}


def firewall(*faults: Mapping[str, Any]) -> Firewall:
    made = Firewall(Random(1), lambda: 0.0, NAMES)
    for data in faults:
        fault = fault_from({"kind": "site.block", **data}, TABLE)
        assert isinstance(fault, Block)
        made.inject(fault)
    return made


def blocked(made: Firewall) -> set[str]:
    """Which of the usual traffic does not pass."""
    usual = {"hub": ("tcp", HUB), "api": ("tcp", API), "dns": ("udp", GOOGLE)}
    return {name for name, (protocol, to) in usual.items() if made.verdict(protocol, to) is not Verdict.PASS}  # type: ignore[arg-type]


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
    ],
)
def test_a_rule_strikes_what_it_names_and_nothing_else(fault: Mapping[str, Any], struck: set[str]) -> None:
    assert blocked(firewall(fault)) == struck


def test_a_rule_may_concern_one_charger() -> None:
    made = firewall({"who": "ZPR000001"})
    assert made.verdict("tcp", HUB, "ZPR000001") is Verdict.DROP
    assert made.verdict("tcp", HUB, "ZPR000002") is Verdict.PASS


def test_the_first_rule_that_matches_says_how() -> None:
    made = firewall({"port": 8883, "action": "reject"}, {"protocol": "tcp"})
    assert made.verdict("tcp", HUB) is Verdict.REJECT
    assert made.verdict("tcp", API) is Verdict.DROP


def test_undoing_lets_it_pass_again() -> None:
    made = firewall()
    undo = made.inject(Block(port=8883))
    assert made.verdict("tcp", HUB) is Verdict.DROP
    undo()
    undo()
    assert made.verdict("tcp", HUB) is Verdict.PASS


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
    ],
)
def test_bad_rules_are_refused_by_name(fault: Mapping[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        firewall(fault)


def test_there_is_a_limit_to_the_rules() -> None:
    made = firewall(*[{"port": port} for port in range(1, 257)])
    with pytest.raises(UsageError, match="256"):
        made.inject(Block())

"""Faults as data: what a description may say, and how long what it describes is active."""

from random import Random
from typing import Any

import pytest

from emulator.errors import UsageError
from emulator.faults import Fault, FaultSet, fault_from
from emulator.net.firewall import Block
from emulator.net.link_faults import Down

TABLE: dict[str, type[Fault]] = {fault.kind: fault for fault in (Block, Down)}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"probability": 7}, "probability"),
        ({"probability": -0.1}, "probability"),
        ({"probability": float("nan")}, "probability"),
        ({"probability": "0.5"}, "probability"),
        ({"for_s": 0}, "for_s"),
        ({"for_s": -1}, "for_s"),
        ({"for_s": float("inf")}, "for_s"),
        ({"for_s": "3"}, "for_s"),
        ({"count": 0}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": True}, "count"),
        ({"who": 1}, "who"),
        ({"colour": 1}, "colour: site.block has no such key"),
    ],
)
def test_a_value_that_cannot_be_is_named_in_one_line(data: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=f"^step 3: {words}") as caught:
        fault_from({"kind": "site.block", **data}, TABLE, where="step 3")
    assert "\n" not in str(caught.value)


def test_every_field_can_be_given() -> None:
    data = {"who": "ZPR000001", "probability": 0, "for_s": 3, "count": 1}
    assert fault_from({"kind": "site.block", **data}, TABLE) == Block(
        who="ZPR000001", probability=0.0, for_s=3.0, count=1
    )


@pytest.mark.parametrize("key", ["probability", "count"])
def test_what_lasts_has_neither_a_probability_nor_a_count(key: str) -> None:
    assert fault_from({"kind": "link.down", "for_s": 3}, TABLE) == Down(for_s=3)
    with pytest.raises(UsageError, match=f"fault: {key}: link.down has no such key"):
        fault_from({"kind": "link.down", key: 1}, TABLE)


def test_faults_that_are_over_do_not_count_to_the_limit() -> None:
    clock = Clock()
    faults = FaultSet(Random(1), clock)
    for _ in range(FaultSet.LIMIT):
        faults.inject(Block(for_s=10))
    with pytest.raises(UsageError, match=str(FaultSet.LIMIT)):
        faults.inject(Block())
    clock.now = 10.0
    assert faults.inject(Block()).active and len(faults.active()) == 1


def test_an_injection_knows_whether_it_is_over() -> None:
    clock = Clock()
    faults = FaultSet(Random(1), clock)
    timed, once, healed = (faults.inject(fault) for fault in (Block(for_s=5), Block(count=1), Block()))
    assert timed.active and once.active and healed.active and not faults.nothing().active
    clock.now = 5.0
    assert not timed.active
    faults.strikes(Block)
    assert not once.active
    healed()
    healed()
    assert not healed.active and faults.active() == []

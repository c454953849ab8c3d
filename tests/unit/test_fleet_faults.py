"""Faults of a share of a fleet: how they are written, whom they strike, and what they do."""

import json
from random import Random
from typing import Any

import pytest

from emulator.errors import UsageError
from emulator.fleet_faults import LINK_FAULTS, Breakage, FleetFault, fleet_fault, struck
from emulator.net.shaped import ShapedHost
from emulator.net.sim import SimNet

SERIALS = [f"ZPR{number:06}" for number in range(1, 201)]
WORN = {"kind": "device.flash_worn"}


def fault(**data: Any) -> FleetFault:
    return fleet_fault(json.dumps(data))


def whom(*faults: FleetFault, seed: int = 1, serials: list[str] = SERIALS) -> set[str]:
    return set(struck(faults, serials, seed))


def test_two_percent_of_two_hundred_are_four_and_the_same_ones_each_time() -> None:
    worn = fault(**WORN, share=0.02)
    assert len(whom(worn)) == 4
    assert whom(worn) == whom(worn) == whom(worn, serials=SERIALS[::-1])
    assert whom(worn) != whom(worn, seed=2)


@pytest.mark.parametrize(("share", "count"), [(0.001, 1), (0.005, 1), (0.0051, 2), (0.07, 14), (1, 200), (1.0, 200)])
def test_a_share_is_rounded_up(share: float, count: int) -> None:
    assert len(whom(fault(**WORN, share=share))) == count


def test_each_fault_draws_chargers_of_its_own_and_one_may_have_several() -> None:
    worn, slow = fault(**WORN, share=0.5), fault(kind="link.slow", delay_s=0.5, share=0.5)
    wrong = struck([worn, slow], SERIALS, 1)
    for data in (WORN, {"kind": "link.slow", "delay_s": 0.5}):
        assert sum(data in faults for faults in wrong.values()) == 100
    assert {len(faults) for faults in wrong.values()} == {1, 2}


def test_one_charger_may_be_named_and_without_a_share_all_are_struck() -> None:
    assert whom(fault(**WORN, who=SERIALS[7])) == {SERIALS[7]}
    assert whom(fault(**WORN)) == whom(fault(**WORN, who="*")) == set(SERIALS)
    with pytest.raises(UsageError, match="--fault: who: 'nobody' is not in this fleet"):
        whom(fault(**WORN, who="nobody"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "--fault : not JSON"),
        ("{", "--fault {: not JSON"),
        ("[]", "--fault []: must be a JSON object"),
        ("{}", "--fault: kind: None is not a fault; known are device."),
        ('{"kind": "dns.silence"}', "--fault: kind: 'dns.silence' is not a fault"),
        ('{"kind": "wifi.weak"}', "--fault: kind: 'wifi.weak' is not a fault"),
        ('{"kind": "device.flash_worn", "colour": 1}', "--fault: colour: device.flash_worn has no such key"),
        ('{"kind": "device.flash_worn", "share": 0}', "--fault: share: must be over 0, and 1 at most"),
        ('{"kind": "device.flash_worn", "share": 1.1}', "--fault: share: must be"),
        ('{"kind": "device.flash_worn", "share": NaN}', "--fault: share: must be"),
        ('{"kind": "device.flash_worn", "share": true}', "--fault: share: must be"),
        ('{"kind": "device.flash_worn", "share": "2%"}', "--fault: share: must be"),
        ('{"kind": "device.flash_worn", "who": 3}', "--fault: who: "),
        ('{"kind": "device.flash_worn", "share": 0.1, "who": "ZPR000001"}', "--fault: share: and who: give one of"),
        ('{"kind": "link.slow", "delay_s": -1}', "--fault: delay_s: "),
    ],
)
def test_nonsense_is_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        fleet_fault(text)
    assert str(caught.value).startswith(complaint) and "\n" not in str(caught.value)


def test_only_chargers_whose_link_breaks_hang_on_one_that_can() -> None:
    faults = struck([fault(kind="link.slow", who=SERIALS[0]), fault(**WORN, who=SERIALS[1])], SERIALS, 1)
    breakage = Breakage(faults, "1", lambda: 0.0)
    net = SimNet(Random(1))
    behind = [breakage.around(net.host(serial)) for serial in SERIALS[:3]]
    assert [isinstance(host, ShapedHost) for host in behind] == [True, False, False]


def test_every_fault_of_a_link_can_be_had() -> None:
    assert {kind.partition(".")[0] for kind in LINK_FAULTS} == {"link"}

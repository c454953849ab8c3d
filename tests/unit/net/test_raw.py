"""Who says that an address is his: the decision behind ARP probes (RFC 5227 section 2.1.1)."""

import pytest

from emulator.net.raw import LWIP, RFC_5227, claims
from emulator.wire.address import UNSPECIFIED
from emulator.wire.frame import NOBODY_LINK, Arp, ArpOperation

OURS, THEIRS = "02:00:00:00:00:01", "02:00:00:00:00:02"
ADDRESS, OTHER = "192.0.2.7", "192.0.2.8"
REQUEST, REPLY = ArpOperation.REQUEST, ArpOperation.REPLY


@pytest.mark.parametrize(
    ("arp", "expected"),
    [
        pytest.param(Arp(REPLY, THEIRS, ADDRESS, OURS, UNSPECIFIED), True, id="the owner answers"),
        pytest.param(Arp(REQUEST, THEIRS, ADDRESS, NOBODY_LINK, OTHER), True, id="the owner looks for a neighbour"),
        pytest.param(Arp(REQUEST, THEIRS, ADDRESS, NOBODY_LINK, ADDRESS), True, id="the owner announces himself"),
        pytest.param(Arp(REQUEST, THEIRS, UNSPECIFIED, NOBODY_LINK, ADDRESS), True, id="another probes it too"),
        pytest.param(Arp(REQUEST, OURS, UNSPECIFIED, NOBODY_LINK, ADDRESS), False, id="our own probe comes back"),
        pytest.param(Arp(REQUEST, OURS, ADDRESS, NOBODY_LINK, OTHER), False, id="it is ours already"),
        pytest.param(Arp(REQUEST, THEIRS, OTHER, NOBODY_LINK, ADDRESS), False, id="somebody looks for the owner"),
        pytest.param(Arp(REPLY, THEIRS, OTHER, OURS, ADDRESS), False, id="another address"),
    ],
)
def test_who_claims_an_address(arp: Arp, expected: bool) -> None:
    assert claims(arp, ADDRESS, OURS) is expected


def test_a_boot_is_not_held_up_for_long() -> None:
    assert LWIP.wait_max_s + (LWIP.probes - 1) * LWIP.gap_max_s + LWIP.listen_s == 1.0
    assert RFC_5227.wait_max_s + (RFC_5227.probes - 1) * RFC_5227.gap_max_s + RFC_5227.listen_s == 7.0

"""The site's DHCP server, sound or broken, in both worlds. How to add a row: `tests.contract.test_worlds`."""

import pytest

from cloud_stub.site.dhcp_faults import FAULTS
from tests.contract.worlds import Case, agree, degrades, kinds, passes, stays, stops

CASES: dict[str, Case] = {
    "no answer": stops("address", "no_offer", {"kind": "dhcp.silence"}),
    "no answer, three times": stops("address", "no_offer", {"kind": "dhcp.silence"}, again=3),
    "no answer to the discovery": stops("address", "no_offer", {"kind": "dhcp.silence", "to": "DISCOVER"}),
    "no answer to the request": stops("address", "no_ack", {"kind": "dhcp.silence", "to": "REQUEST"}),
    "no address left": stops("address", "no_offer", {"kind": "dhcp.exhausted"}),
    "every request is refused": stops("address", "dhcp_nak", {"kind": "dhcp.nak"}),
    "the first request is refused": stops("address", "dhcp_nak", {"kind": "dhcp.nak", "count": 1}),
    "the address is taken": stops("address", "address_conflict", {"kind": "dhcp.conflict"}),
    "answers come too late": stops("address", "no_offer", {"kind": "dhcp.slow", "delay_s": 1.5}),
    "answers come late": passes({"kind": "dhcp.slow", "delay_s": 0.2}),
    "no name server is named": degrades("names", "fallback_dns", {"kind": "dhcp.no_dns"}),
    "a wrong name server is named": degrades("names", "fallback_dns", {"kind": "dhcp.wrong_dns"}),
    "the list of name servers is cut off": stops("address", "no_offer", {"kind": "dhcp.short_option"}),
    "the lease time is cut off": stops("address", "no_offer", {"kind": "dhcp.short_option", "option": 51}),
    "the server does not say who it is": stops("address", "no_offer", {"kind": "dhcp.option", "code": 54}),
    "a gateway that is none": stops("address", "no_offer", {"kind": "dhcp.option", "code": 3, "hex": "0a"}),
    "no gateway": stays("time", "ntp_silent", {"kind": "dhcp.option", "code": 3}),
    "a gateway that is nobody": stays("time", "ntp_silent", {"kind": "dhcp.option", "code": 3, "hex": "c0000201"}),
    "options where nobody looks for them": passes({"kind": "dhcp.overload"}),
    "a lease of no time at all": stops("address", "no_offer", {"kind": "dhcp.short_lease", "lease_s": 0}),
    "a second server answers first": stays("names", "dns_silent", {"kind": "dhcp.rogue"}),
    "a second server answers last": passes({"kind": "dhcp.rogue", "first": False}),
    "other addresses": passes({"kind": "dhcp.renumber"}),
}


@pytest.mark.parametrize("case", CASES)
def test_both_worlds_tell_what_the_table_says(told, case: str) -> None:
    agree(told, case, CASES[case])


def test_every_fault_has_a_row() -> None:
    assert {fault.kind for fault in FAULTS} <= kinds(CASES)

"""The site's DHCP server, sound or broken, in both worlds. How to add a row: `tests.contract.test_worlds`."""

from cloud_stub.dhcp_faults import FAULTS
from tests.contract.worlds import Case, before, degrades, kinds, passed, passes, stops

CASES: dict[str, Case] = {
    "nothing is broken": passes(),
    "no answer": stops("address", "no_offer", {"kind": "dhcp.silence"}),
    "no answer, three times": stops("address", "no_offer", {"kind": "dhcp.silence"}, again=3),
    "no answer to the discovery": stops("address", "no_offer", {"kind": "dhcp.silence", "to": "DISCOVER"}),
    "no answer to the request": stops("address", "no_ack", {"kind": "dhcp.silence", "to": "REQUEST"}),
    "no address left": stops("address", "no_offer", {"kind": "dhcp.exhausted"}),
    "every request is refused": stops("address", "dhcp_nak", {"kind": "dhcp.nak"}),
    "the first request is refused": stops("address", "dhcp_nak", {"kind": "dhcp.nak", "count": 1}),
    "answers come too late": stops("address", "no_offer", {"kind": "dhcp.slow", "delay_s": 1.5}),
    "answers come late": passes({"kind": "dhcp.slow", "delay_s": 0.2}),
    "no name server is named": degrades("names", "fallback_dns", {"kind": "dhcp.no_dns"}),
    "a wrong name server is named": degrades("names", "fallback_dns", {"kind": "dhcp.wrong_dns"}),
    "the list of name servers is cut off": degrades("names", "fallback_dns", {"kind": "dhcp.short_option"}),
    "the lease time is cut off": stops("address", "no_offer", {"kind": "dhcp.short_option", "option": 51}),
    "the server does not say who it is": stops("address", "no_offer", {"kind": "dhcp.option", "code": 54}),
    "a gateway that is none": passes({"kind": "dhcp.option", "code": 3, "hex": "0a"}),
    "options where nobody looks for them": passes({"kind": "dhcp.overload"}),
    "a lease of no time at all": stops("address", "no_offer", {"kind": "dhcp.short_lease", "lease_s": 0}),
    "a second server answers first": degrades("names", "fallback_dns", {"kind": "dhcp.rogue"}),
    "a second server answers last": passes({"kind": "dhcp.rogue", "first": False}),
    "other addresses": passes({"kind": "dhcp.renumber"}),
}


def test_every_fault_has_a_row() -> None:
    assert {fault.kind for fault in FAULTS} <= kinds(CASES)

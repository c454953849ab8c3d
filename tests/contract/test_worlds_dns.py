"""Name servers, sound or broken, in both worlds. How to add a row: `tests.contract.test_worlds`."""

import pytest

from cloud_stub.site.dns_faults import FAULTS
from tests.contract.worlds import Case, agree, degrades, kinds, passes, stops

NOWHERE = "203.0.113.66"
INSTEAD = {"dns.wording": "instead"}
PRIMARY = {"server": "primary"}

CASES: dict[str, Case] = {
    "no server answers": stops("names", "dns_silent", {"kind": "dns.silence"}),
    "the site's server is silent": degrades("names", "fallback_dns", {"kind": "dns.silence", **PRIMARY}),
    "only the last server answers": degrades(
        "names", "fallback_dns", {"kind": "dns.silence", **PRIMARY}, {"kind": "dns.silence", "server": "google"}
    ),
    "the hub's name alone gets no answer": stops(
        "names", "dns_silent", {"kind": "dns.silence", "host": "zapcloud.azure-devices.net"}
    ),
    "answers come too late": stops("names", "dns_silent", {"kind": "dns.slow", "delay_s": 5.0}),
    "answers come when another server is asked already": passes({"kind": "dns.slow", "delay_s": 0.6}),
    "answers come late": passes({"kind": "dns.slow", "delay_s": 0.1}),
    "answers are damaged": stops("names", "dns_failed", {"kind": "dns.garbage"}),
    "the site's answers are damaged": degrades("names", "fallback_dns", {"kind": "dns.garbage", **PRIMARY}),
    "answers have another id": stops("names", "dns_failed", {"kind": "dns.wrong_id"}),
    "answers are about another name": stops("names", "dns_failed", {"kind": "dns.wrong_question"}),
    "somebody guesses ids": passes({"kind": "dns.spoofed", "by": "id", "answers": 20}),
    "somebody guesses ports": passes({"kind": "dns.spoofed", "by": "port", "answers": 3}),
    "servers fail": stops("names", "dns_failed", {"kind": "dns.servfail"}),
    "servers refuse": stops("names", "dns_failed", {"kind": "dns.refused"}),
    "the names do not exist": stops("names", "dns_not_found", {"kind": "dns.nxdomain"}),
    "the names have no address": stops("names", "dns_not_found", {"kind": "dns.empty"}),
    "the site filters names": degrades("names", "fallback_dns", {"kind": "dns.nxdomain", **PRIMARY}),
    "aliases lead to the address": passes({"kind": "dns.cname_chain", "length": 4}),
    "aliases lead in a circle": stops("names", "dns_failed", {"kind": "dns.cname_loop"}),
    "answers are not to be kept": passes({"kind": "dns.ttl", "ttl_s": 0}),
    "answers fit TCP only": passes({"kind": "dns.truncated"}),
    "answers fit nowhere": stops("names", "dns_failed", {"kind": "dns.truncated", "transport": "*"}),
    "TCP to the site's server fails": degrades(
        "names",
        "fallback_dns",
        {"kind": "dns.truncated", **PRIMARY},
        {"kind": "site.block", "protocol": "tcp", "port": 53, "action": "reject"},
    ),
    "the site's server fails, and others are asked instead of it only": stops(
        "names", "dns_failed", {"kind": "dns.servfail", **PRIMARY}, changes=INSTEAD
    ),
    "the site's server is silent, and others are asked instead": degrades(
        "names", "fallback_dns", {"kind": "dns.silence", **PRIMARY}, changes=INSTEAD
    ),
    "every name leads nowhere": stops("time", "ntp_silent", {"kind": "dns.hijack", "address": NOWHERE}),
    "the hub's old address": stops(
        "hub",
        "timed_out",
        {"kind": "dns.addresses", "addresses": [NOWHERE], "host": "zapcloud.azure-devices.net"},
        {"kind": "dns.ttl", "ttl_s": 0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_both_worlds_tell_what_the_table_says(told, case: str) -> None:
    agree(told, case, CASES[case])


def test_every_fault_has_a_row() -> None:
    assert {fault.kind for fault in FAULTS} <= kinds(CASES)

"""Time servers, sound or broken, and the clock gate in both worlds. How to add a row: `tests.contract.test_worlds`."""

import pytest

from cloud_stub.site.ntp_faults import FAULTS
from tests.contract.worlds import FAILED, Case, agree, before, kinds, passed, passes, stops

YEAR_S = 365 * 86_400.0
GOES_ON = {"ntp.gate": "wait-then-go-on", "ntp.wait_s": 1.0}

CASES: dict[str, Case] = {
    "no server answers": stops("time", "ntp_silent", {"kind": "ntp.silence"}),
    "one server answers": passes(*({"kind": "ntp.silence", "server": label} for label in "abc")),
    "answers come too late": stops("time", "ntp_silent", {"kind": "ntp.slow", "delay_s": 5.0}),
    "answers come late": passes({"kind": "ntp.slow", "delay_s": 0.2}),
    "answers are none": stops("time", "ntp_absurd", {"kind": "ntp.garbage"}),
    "one server's answer is none": passes({"kind": "ntp.garbage", "server": "a"}),
    "somebody answers first": passes({"kind": "ntp.spoofed"}),
    "somebody answers instead": stops("time", "ntp_absurd", {"kind": "ntp.spoofed"}, {"kind": "ntp.silence"}),
    "far ahead": stops("hub", "tls_expired", {"kind": "ntp.offset", "offset_s": 40 * YEAR_S}),
    "far behind": stops("hub", "tls_not_yet_valid", {"kind": "ntp.offset", "offset_s": -20 * YEAR_S}),
    "a month behind": stops("hub", "hub_refused", {"kind": "ntp.offset", "offset_s": -30 * 86_400.0}),
    "too many questions": stops("time", "ntp_refused", {"kind": "ntp.kiss"}),
    "two servers do not want this client": passes(
        {"kind": "ntp.kiss", "code": "DENY", "server": "a"}, {"kind": "ntp.kiss", "code": "RSTR", "server": "b"}
    ),
    "not synchronised": stops("time", "ntp_refused", {"kind": "ntp.leap"}),
    "too far from any clock": stops("time", "ntp_refused", {"kind": "ntp.stratum"}),
    "no time of transmission": stops("time", "ntp_absurd", {"kind": "ntp.zero_time"}),
    "answered before it was asked": stops("time", "ntp_absurd", {"kind": "ntp.backwards"}),
    "forged": stops("time", "ntp_absurd", {"kind": "ntp.wrong_origin"}),
    "a broadcast": stops("time", "ntp_absurd", {"kind": "ntp.wrong_mode"}),
    "another version": stops("time", "ntp_absurd", {"kind": "ntp.wrong_version"}),
    "absurd": stops("time", "ntp_absurd", {"kind": "ntp.absurd_root"}),
    "no server answers, and the gate goes on": Case(
        faults=({"kind": "ntp.silence"},),
        rows=(
            *before("time"),
            ("time", "degraded", "clock_unset"),
            *before("hub", start="trust"),
            ("hub", "failed", "hub_refused"),
            *passed(start="names"),
        ),
        heals=FAILED,
        changes=GOES_ON,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_both_worlds_tell_what_the_table_says(told, case: str) -> None:
    agree(told, case, CASES[case])


def test_every_fault_has_a_row() -> None:
    assert {fault.kind for fault in FAULTS} <= kinds(CASES)

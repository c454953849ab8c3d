"""Hub and trust bundle, sound or broken, in both worlds. How to add a row: `tests.contract.test_worlds`."""

from typing import Any, get_args

import pytest

from cloud_stub import bundle_faults
from cloud_stub.hub import faults as endpoint_faults
from tests.contract.worlds import (
    FAILED,
    OFFLINE,
    ONLINE,
    PASSES,
    Case,
    Row,
    agree,
    before,
    kinds,
    passed,
    passes,
    stops,
)

BAD = get_args(endpoint_faults.BadCertificateKind)
VENDOR = "devices.zaptec.com"
LOST = ({"kind": "device.bundle_lost"},)
NOT_VENDORS = (*BAD, "public_root")
WHY_OF_BAD = {
    "expired": "tls_expired",
    "not_yet_valid": "tls_not_yet_valid",
    "wrong_host": "tls_wrong_host",
    "unknown_root": "tls_unknown_ca",
    "intercepted": "tls_unknown_ca",
    "new_root": "tls_unknown_ca",
}


def unfetched(why: str, *faults: dict[str, Any]) -> Case:
    """A charger that has lost its bundle does without, for this reason; it gets one when all is healed."""
    degraded = why if why == "bundle_invalid" else "bundle_built_in"
    failed: tuple[Row, ...] = (("bundle", "failed", why), ("trust", "degraded", degraded))
    rows = (*before("trust"), *failed, *passed(start="hub"), ("bundle", "fetched", None))
    return Case(faults=(*LOST, *faults), rows=rows, heals="boot.trust.degraded", ends="trust.fetched")


def ungreeted(why: str, fault: dict[str, Any]) -> Case:
    """A charger that logs in, and whose first messages come to nothing."""
    rows = (*PASSES, ("greeting", "failed", why), *passed(start="names"))
    return Case(faults=(fault,), rows=rows, heals="device.greeting_failed")


def cut(why: str, fault: dict[str, Any]) -> Case:
    """A charger whose session ends after the login."""
    rows = (*PASSES, ("session", "lost", why), *passed(start="names"))
    return Case(faults=(fault,), rows=rows, strikes=ONLINE, heals=OFFLINE)


AFTER_BOOT = {
    "hub.half_open": "is noticed when a ping goes unanswered, minutes later",
    "hub.late_pingresp": "as above",
    "hub.twin_status": "the charger goes on without its twin",
    "hub.twin_silent": "as above",
    "hub.desired_lost": "strikes what comes down in a session",
    "hub.desired_twice": "as above",
    "hub.desired_out_of_order": "as above",
    "hub.method_twice": "as above",
    "hub.c2d_again": "as above",
}
"""Faults that no attempt at a stage tells of, and why."""

CASES: dict[str, Case] = {
    "nothing is broken": passes(),
    **{
        f"hub certificate {bad}": stops("hub", why, {"kind": "hub.certificate", "bad": bad})
        for bad, why in WHY_OF_BAD.items()
    },
    "only TLS 1.3": stops("hub", "tls_version", {"kind": "hub.tls_version", "version": "1.3"}),
    "only TLS 1.1": stops("hub", "tls_version", {"kind": "hub.tls_version", "version": "1.1"}),
    "the hub says nothing": stops("hub", "timed_out", {"kind": "hub.silent"}),
    "the hub answers no login": stops("hub", "hub_broken", {"kind": "hub.stall_connect"}),
    "the hub is not available": stops("hub", "hub_refused", {"kind": "hub.connack", "code": 3}),
    "the hub refuses, three times": stops("hub", "hub_refused", {"kind": "hub.connack", "code": 5}, again=3),
    "the hub has another key": stops("hub", "hub_refused", {"kind": "hub.wrong_key"}),
    "the hub acknowledges nothing": ungreeted("timed_out", {"kind": "hub.drop_puback"}),
    "the hub acknowledges late": ungreeted("timed_out", {"kind": "hub.delay_puback", "delay_s": 60.0}),
    "the hub closes with the first message": ungreeted("closed", {"kind": "hub.close_after"}),
    "the hub's quota is used up": ungreeted("closed", {"kind": "hub.quota"}),
    "the twin is larger than the charger reads": ungreeted(
        "closed", {"kind": "hub.oversize_reply", "size_bytes": 300_000}
    ),
    "the device is disabled": stops("hub", "hub_refused", {"kind": "hub.device_disabled"}),
    "the device is deleted": stops("hub", "hub_refused", {"kind": "hub.device_deleted"}),
    "the hub's clock is a week ahead": stops(
        "hub", "hub_refused", {"kind": "hub.clock_skew", "offset_s": 8 * 86_400.0}
    ),
    "the hub cuts the session as if its token had run out": cut("closed", {"kind": "hub.token_cut"}),
    "somebody else logs in as this charger": cut("reset", {"kind": "hub.takeover"}),
    "no bundle, and nothing is broken": Case(
        faults=LOST,
        rows=(*before("trust"), ("bundle", "fetched", None), *passed(start="trust")),
    ),
    **{  # the vendor issues no expired certificate: whatever is wrong, it is not the vendor's
        f"bundle server's certificate {bad}": unfetched("tls_unknown_ca", {"kind": "bundle.certificate", "bad": bad})
        for bad in NOT_VENDORS
    },
    "a proxy inspects the bundle": unfetched("tls_unknown_ca", {"kind": "site.intercept", "ports": [443]}),
    "the bundle server is not available": unfetched("bundle_unavailable", {"kind": "bundle.unavailable"}),
    "the bundle server says nothing": unfetched("timed_out", {"kind": "bundle.silent"}),
    "the bundle server cannot be reached": unfetched("timed_out", {"kind": "site.block", "host": VENDOR}),
    "the bundle server refuses": unfetched("refused", {"kind": "site.block", "host": VENDOR, "action": "reject"}),
    "a bundle signed by somebody else": unfetched("bundle_invalid", {"kind": "bundle.bad_signature"}),
    "a page instead of the bundle": unfetched("bundle_invalid", {"kind": "bundle.garbage"}),
    "nothing instead of the bundle": unfetched("bundle_unavailable", {"kind": "bundle.empty"}),
    "a bundle that is too long": unfetched("bundle_invalid", {"kind": "bundle.oversize"}),
    "a bundle without certificates": unfetched("bundle_invalid", {"kind": "bundle.no_certificates"}),
    "no bundle, and the charger waits for one": Case(
        faults=(*LOST, {"kind": "bundle.unavailable"}),
        rows=(
            *before("trust"),
            ("bundle", "failed", "bundle_unavailable"),
            ("trust", "failed", "bundle_unavailable"),
            ("bundle", "fetched", None),
            *passed(start="names"),
        ),
        heals=FAILED,
        changes={"trust.without_bundle": "wait", "trust.first_retry_s": 0.1, "backoff.first_s": 3.0},
    ),
    "the first bundle there ever was": Case(
        faults=(*LOST, {"kind": "bundle.stale"}),
        rows=(*before("trust"), ("bundle", "fetched", None), *passed(start="trust")),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_both_worlds_tell_what_the_table_says(told, case: str) -> None:
    agree(told, case, CASES[case])


def test_every_fault_has_a_row() -> None:
    everything = {fault.kind for fault in (*endpoint_faults.FAULTS, *bundle_faults.FAULTS)}
    assert everything == kinds(CASES) & everything | AFTER_BOOT.keys()
    assert not kinds(CASES) & AFTER_BOOT.keys()


def test_every_bad_certificate_has_a_row() -> None:
    seen = {(fault["kind"], fault["bad"]) for case in CASES.values() for fault in case.faults if "bad" in fault}
    wanted = {("hub.certificate", bad) for bad in BAD} | {("bundle.certificate", bad) for bad in NOT_VENDORS}
    assert seen == wanted

"""Hub and trust bundle, sound or broken, in both worlds. How to add a row: `tests.contract.test_worlds`."""

from typing import Any, get_args

from cloud_stub import bundle_faults, endpoint_faults
from tests.contract.worlds import OFFLINE, ONLINE, PASSES, Case, Row, before, kinds, passed, passes, stops

BAD = get_args(endpoint_faults.BadCertificateKind)
WHY_OF_BAD = {
    "expired": "tls_expired",
    "not_yet_valid": "tls_not_yet_valid",
    "wrong_host": "tls_wrong_host",
    "unknown_root": "tls_unknown_ca",
    "intercepted": "tls_unknown_ca",
    "new_root": "tls_unknown_ca",
}


def unfetched(why: str, degraded: str, fault: dict[str, Any], **more: Any) -> Case:
    """A charger that has lost its bundle does without for this reason; it gets one later, when all is healed."""
    failed: tuple[Row, ...] = (("bundle", "failed", why), ("trust", "degraded", degraded))
    rows = before("trust") + failed + passed(start="hub") + (("bundle", "fetched", None),)
    more = {"heals": "boot.trust.degraded", "ends": "trust.fetched", **more}
    return Case(faults=({"kind": "device.bundle_lost"}, fault), rows=rows, **more)


def untrusted(bad: str) -> Case:
    return unfetched("tls_unknown_ca", "bundle_built_in", {"kind": "bundle.certificate", "bad": bad})


CASES: dict[str, Case] = {
    "nothing is broken": passes(),
    **{
        f"hub certificate {bad}": stops("hub", why, {"kind": "hub.certificate", "bad": bad})
        for bad, why in WHY_OF_BAD.items()
    },
    "only TLS 1.3": stops("hub", "tls_version", {"kind": "hub.tls_version", "version": "1.3"}),
    "only TLS 1.1": stops("hub", "tls_version", {"kind": "hub.tls_version", "version": "1.1"}),
    "the hub says nothing": stops("hub", "timed_out", {"kind": "hub.silent"}),
    "the hub answers no login": stops("hub", "timed_out", {"kind": "hub.stall_connect"}),
    "the hub is not available": stops("hub", "hub_refused", {"kind": "hub.connack", "code": 3}),
    "the hub refuses, three times": stops("hub", "hub_refused", {"kind": "hub.connack", "code": 5}, again=3),
    "the hub has another key": stops("hub", "hub_refused", {"kind": "hub.wrong_key"}),
    "the hub acknowledges nothing": Case(
        faults=({"kind": "hub.drop_puback"},),
        rows=(*PASSES, ("greeting", "failed", "timed_out"), *passed(start="names")),
        heals="device.greeting_failed",
    ),
    "no bundle, and nothing is broken": Case(
        faults=({"kind": "device.bundle_lost"},),
        rows=(*before("trust"), ("bundle", "fetched", None), *passed(start="trust")),
    ),
    **{f"bundle server's certificate {bad}": untrusted(bad) for bad in (*BAD, "public_root")},
    "the bundle server is not available": unfetched("bundle_unavailable", "bundle_built_in", {"kind": "bundle.unavailable"}),
    "the bundle server says nothing": unfetched("timed_out", "bundle_built_in", {"kind": "bundle.silent"}),
    "the bundle server cannot be reached": unfetched("timed_out", "bundle_built_in", {"kind": "site.block", "host": "devices.zaptec.com"}),
    "a bundle signed by somebody else": unfetched("bundle_invalid", "bundle_invalid", {"kind": "bundle.bad_signature"}),
    "a page instead of the bundle": unfetched("bundle_invalid", "bundle_invalid", {"kind": "bundle.garbage"}),
    "nothing instead of the bundle": unfetched("bundle_unavailable", "bundle_built_in", {"kind": "bundle.empty"}),
    "a bundle that is too long": unfetched("bundle_invalid", "bundle_invalid", {"kind": "bundle.oversize"}),
    "a bundle without certificates": unfetched("bundle_invalid", "bundle_invalid", {"kind": "bundle.no_certificates"}),
    "the first bundle there ever was": passes({"kind": "bundle.stale"}),
}


def test_every_fault_has_a_row() -> None:
    assert {fault.kind for fault in (*endpoint_faults.FAULTS, *bundle_faults.FAULTS)} <= kinds(CASES)

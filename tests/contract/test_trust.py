"""A charger without its trust bundle: virtual time and real sockets must tell the same story."""

from collections.abc import Callable
from typing import Any

import pytest

from emulator.trace import Recorder
from tests.life import SERIAL, Life, live

QUICK = {
    "trust.timeout_s": 1.0,
    "trust.first_retry_s": 0.5,
    "network.connect_timeout_s": 0.6,
    "backoff.first_s": 0.1,
    "backoff.cap_without_car_s": 0.0,
}
"""The same waits everywhere, short enough for real time."""

FETCHES: dict[str, tuple[dict[str, Any] | None, str, str | None]] = {
    "nothing broken": (None, "passed", None),
    "unavailable": ({"kind": "bundle.unavailable"}, "degraded", "bundle_unavailable"),
    "silent": ({"kind": "bundle.silent"}, "degraded", "timed_out"),
    "empty": ({"kind": "bundle.empty"}, "degraded", "bundle_unavailable"),
    "wrong signature": ({"kind": "bundle.bad_signature"}, "degraded", "bundle_invalid"),
    "too long": ({"kind": "bundle.oversize"}, "degraded", "bundle_invalid"),
    "intercepted": ({"kind": "bundle.certificate", "bad": "intercepted"}, "degraded", "tls_unknown_ca"),
    "expired": ({"kind": "bundle.certificate", "bad": "expired"}, "degraded", "tls_unknown_ca"),
    "public root": ({"kind": "bundle.certificate", "bad": "public_root"}, "degraded", "tls_unknown_ca"),
    "blocked": ({"kind": "site.block", "host": "devices.zaptec.com"}, "degraded", "timed_out"),
}
"""What is broken, how the first fetch ends, and why. The vendor issues no expired certificate: it is a public CA's."""


@pytest.fixture(params=["sim", "loopback"])
def tell(request: pytest.FixtureRequest) -> Callable[..., Recorder]:
    """`live` in one of the worlds."""
    return lambda story: live(story, world=request.param, changes=QUICK)


@pytest.mark.parametrize("case", FETCHES)
def test_a_lost_bundle_is_fetched_at_boot_or_by_the_keeper_once_the_server_can_be_had(tell, case: str) -> None:
    fault, outcome, why = FETCHES[case]

    async def story(life: Life) -> None:
        life.charger.inject({"kind": "device.bundle_lost"})
        undo = await life.inject(**fault) if fault else lambda: None
        await life.until("device.online", within_s=20)
        undo()
        if fault:
            await life.until("trust.fetched", within_s=20)

    trace = tell(story)
    (first,) = [event.data for event in trace.where("boot.trust.*", SERIAL)]
    assert (first["outcome"], first.get("fetch")) == (outcome, why)
    assert [event.data["version"] for event in trace.where("trust.fetched")] == [8]


def test_a_root_change_is_told_alike(tell) -> None:
    async def story(life: Life) -> None:
        await life.inject(kind="hub.certificate", bad="new_root")
        life.world.publish_bundle("new")
        await life.until("device.online", within_s=20)

    trace = tell(story)
    rows = [(e.data["stage"], e.data["why"]) for e in trace.where("boot.*", SERIAL) if "outcome" in e.data]
    assert rows[4:] == [
        ("trust", None),
        ("hub", "tls_unknown_ca"),
        ("names", None),
        ("time", None),
        ("trust", None),
        ("hub", None),
        ("firmware", None),
    ]

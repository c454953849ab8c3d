"""An address that is lent while a machine of the site has it (RFC 2131 section 3.1 step 5): noticed, and declined."""

from functools import partial

import pytest

from emulator.trace import Recorder, TraceEvent
from tests.life import SERIAL, Life
from tests.life import live as live_anywhere

ROUTER, FIRST = "10.20.0.1", "10.20.16.1"
BUDGET_S = 70.0
live = partial(live_anywhere, local={"mode": "ethernet"})


def only(trace: Recorder, name: str) -> TraceEvent:
    (event,) = trace.where(name, SERIAL)
    return event


def test_an_address_that_somebody_has_is_declined_and_another_got() -> None:
    async def story(life: Life) -> None:
        await life.inject(kind="dhcp.conflict", count=1)
        await life.until("device.online")
        heard = [(seen["request"].split()[0], seen["reply"]) for seen in life.world.history("dhcp")]
        assert heard == [
            ("DISCOVER", f"OFFER {ROUTER}"),
            ("REQUEST", f"ACK {ROUTER}"),
            ("DECLINE", "declined"),
            ("DISCOVER", f"OFFER {FIRST}"),
            ("REQUEST", f"ACK {FIRST}"),
        ]

    trace = live(story)
    declined, address = only(trace, "lease.declined").data, only(trace, "boot.address.degraded").data
    assert declined == {"address": ROUTER, "server": ROUTER}
    assert (address["why"], address["address"]) == ("address_conflict", FIRST)
    assert address["detail"] == f"{ROUTER} in use by another machine; got {FIRST}"
    assert address["seconds"] == pytest.approx(10, abs=0.1), "the pause after a DECLINE"


def test_a_server_that_lends_nothing_but_taken_addresses_is_the_reason_of_the_failure() -> None:
    async def story(life: Life) -> None:
        healed = await life.inject(kind="dhcp.conflict")
        await life.until("boot.address.failed")
        healed()
        await life.until("boot.address.passed")

    trace = live(story)
    failed = only(trace, "boot.address.failed").data
    assert failed["why"] == "address_conflict"
    assert failed["detail"] == f"{ROUTER} in use by another machine; no other in state INIT"
    assert failed["seconds"] == pytest.approx(BUDGET_S) and len(trace.where("lease.declined")) == 7


def test_a_taken_address_that_was_declined_is_not_asked_for_after_a_reboot() -> None:
    async def story(life: Life) -> None:
        await life.inject(kind="dhcp.conflict", count=1)
        await life.until("lease.declined")
        life.charger.reboot("test")
        await life.until("boot.address.passed")
        requests = [seen["request"].split()[0] for seen in life.world.history("dhcp")]
        assert requests[-2:] == ["DISCOVER", "REQUEST"]

    assert only(live(story), "boot.address.passed").data["how"] == "discovered"

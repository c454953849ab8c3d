"""A lease whose gateway is nobody, or that has none: what a field engineer sees, and how it ends."""

import asyncio
from functools import partial
from typing import Any

import pytest

from emulator.trace import Recorder, TraceEvent
from tests.life import SERIAL, Life
from tests.life import live as live_anywhere

HOUR_S = 3600.0
LEASE_S = 12 * HOUR_S
NO_ROUTER = {"kind": "dhcp.option", "code": 3}
WRONG_ROUTER = {**NO_ROUTER, "hex": "0a140063"}  # 10.20.0.99, which nobody has
GO_ON = {"ntp.gate": "wait-then-go-on"}
live = partial(live_anywhere, local={"mode": "ethernet"})


def broken(fault: dict[str, Any]) -> Any:
    """For `before`: the fault is there from the start."""
    return lambda world: world.inject(fault, where="test")


def first(trace: Recorder, name: str) -> TraceEvent:
    return trace.where(name, SERIAL)[0]


@pytest.mark.parametrize(("fault", "router"), [(NO_ROUTER, None), (WRONG_ROUTER, "10.20.0.99")], ids=["none", "wrong"])
def test_without_a_way_out_the_site_s_own_name_server_is_all_there_is(fault: dict[str, Any], router: str) -> None:
    async def story(life: Life) -> None:
        await life.until("boot.time.failed", within_s=60)
        assert life.world.history("ntp") == []

    trace = live(story, before=broken(fault))
    assert first(trace, "boot.address.passed").data["router"] == router
    assert first(trace, "boot.names.passed").data["server"] == "10.20.0.53:53"
    assert first(trace, "boot.time.failed").data["why"] == "ntp_silent"


@pytest.mark.parametrize(
    ("fault", "why", "seconds"),
    [(NO_ROUTER, "unreachable", 0.0), (WRONG_ROUTER, "timed_out", 10.0)],
    ids=["none", "wrong"],
)
def test_at_the_hub_no_route_and_a_wrong_one_differ(fault: dict[str, Any], why: str, seconds: float) -> None:
    async def story(life: Life) -> None:
        await life.until("boot.hub.failed", within_s=300)

    failed = first(live(story, changes=GO_ON, before=broken(fault)), "boot.hub.failed").data
    assert (failed["why"], failed["seconds"]) == (why, pytest.approx(seconds, abs=0.01))


@pytest.mark.parametrize("mask", ["00000000", "fffffffe"], ids=["everything is near", "nothing is near"])
def test_a_mask_that_is_wrong_matters_only_if_it_is_too_wide(mask: str) -> None:
    async def story(life: Life) -> None:
        await life.until("boot.time.*", within_s=60)

    time = first(live(story, before=broken({"kind": "dhcp.option", "code": 1, "hex": mask})), "boot.time.*").data
    assert time["why"] == ("ntp_silent" if mask == "00000000" else None)


def test_a_gateway_that_a_renewal_makes_wrong_ends_the_session_and_the_watchdog_s_restart_brings_it_back() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        undo = await life.inject(**WRONG_ROUTER)
        await life.until("lease.renewed", within_s=LEASE_S, router="10.20.0.99")
        lost = await life.until("device.offline", within_s=1200)
        assert lost.data["why"] == "timed_out"
        undo()
        await life.until("device.reboot", within_s=2 * HOUR_S)
        await life.until("device.online", within_s=60)

    trace = live(story)
    renewed, lost = first(trace, "lease.renewed"), first(trace, "device.offline")
    assert renewed.t == pytest.approx(LEASE_S / 2, abs=1)
    assert lost.t - renewed.t < 1200, "a pulse that nobody acknowledges"
    reboot = first(trace, "device.reboot")
    assert reboot.t - lost.t == pytest.approx(3900, abs=2), "the watchdog, long before the next renewal"


def test_a_rogue_server_s_client_is_freed_by_a_restart() -> None:
    async def story(life: Life) -> None:
        failed = await life.until("boot.names.failed", within_s=60)
        assert failed.data["why"] == "dns_silent"
        undo[0]()
        life.charger.cut_power()
        await asyncio.sleep(1)
        life.charger.restore_power()
        await life.until("lease.forgotten", within_s=10, server="10.20.0.1", message="address not available")
        await life.until("device.online", within_s=30)

    undo: list[Any] = []
    trace = live(story, before=lambda world: undo.append(world.inject({"kind": "dhcp.rogue"}, where="test")))
    address = first(trace, "boot.address.passed").data
    assert (address["server"], address["router"], address["dns"]) == ("10.20.252.1", "10.20.252.2", ["10.20.252.3"])

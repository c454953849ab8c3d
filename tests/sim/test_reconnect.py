"""What a charger does about a connection that fails again and again: counts, restarts, watchdogs, and what it tells."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from cloud_stub.worlds import SimWorld
from emulator.device.car import Car
from emulator.trace import Recorder, TraceEvent
from emulator.world import World
from tests.life import SERIAL, Life, live

HOUR_S, DAY_S = 3600.0, 86_400.0
WATCHDOG_SLEEPS = {"watchdog.link_seen_s": 1e9, "watchdog.link_never_s": 1e9}
LTE = {"mode": "lte"}
BLOCKED = {"kind": "site.block", "protocol": "tcp", "port": 8883}
REJECTED = {**BLOCKED, "action": "reject"}


def broken(**fault: Any) -> Any:
    """For `before`: the fault is there from the start."""
    return lambda world: world.inject(fault, where="test")


def told(world: World, id_: int) -> str | None:
    """The last value of an observation that the cloud has heard."""
    assert isinstance(world, SimWorld)
    seen = world.cloud.store.device(SERIAL).observations.get(id_)
    return None if seen is None else seen.value


def seconds_between(trace: Recorder, first: str, then: str) -> float:
    return trace.where(then, SERIAL)[0].t - trace.where(first, SERIAL)[0].t


# Error counts


def test_errors_10_30_60_and_90_are_followed_by_a_try_without_a_wait() -> None:
    async def story(life: Life) -> None:
        for _ in range(4):
            await life.until("reconnect.forced", within_s=5 * HOUR_S)
        await asyncio.sleep(2 * HOUR_S)

    trace = live(story, changes=WATCHDOG_SLEEPS, before=lambda world: world.inject(REJECTED, where="test"))
    forced = trace.where("reconnect.forced")
    assert [(e.data["errors"], e.data["why"]) for e in forced] == [(n, "refused") for n in (10, 30, 60, 90)]
    failures = [e.t for e in trace.where("boot.hub.failed")]
    assert [failures[n] - failures[n - 1] < 1 for n in (10, 30, 60, 90)] == [True] * 4
    assert all(
        later - earlier > 10 for n, (earlier, later) in enumerate(pairwise(failures), 1) if n not in (10, 30, 60, 90)
    )


def test_wifi_without_an_address_is_restarted_at_these_counts() -> None:
    async def story(life: Life) -> None:
        for _ in range(2):
            await life.until("link.restart", within_s=5 * HOUR_S)

    trace = live(story, changes=WATCHDOG_SLEEPS, before=broken(kind="dhcp.silence"))
    restarts = trace.where("link.restart")
    assert [e.data for e in restarts] == [{"mode": "wifi", "why": "no_offer", "errors": n} for n in (10, 30)]
    assert len(trace.where("boot.address.failed")) == 30


def test_every_wait_is_told_with_its_reason_and_follows_the_formula() -> None:
    async def story(life: Life) -> None:
        for _ in range(5):
            await life.until("boot.hub.failed", within_s=HOUR_S)
        await asyncio.sleep(1)

    waits = live(story, before=lambda world: world.inject(REJECTED, where="test")).where("reconnect.wait")
    for number, wait in enumerate(waits, 1):
        assert (wait.data["errors"], wait.data["why"]) == (number, "refused")
        assert 10 + number**2 <= wait.data["after_s"] <= (10 + number**2) * 4 / 3


# LTE


def test_ppp_that_is_stuck_is_noticed_and_restarted_after_two_transport_failures() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await life.inject(kind="lte.ppp_stuck")
        lost = await life.until("device.offline", within_s=161)
        assert lost.data["why"] == "timed_out"
        await life.until("link.restart", within_s=60)
        await life.until("device.online", within_s=60)

    trace = live(story, local=LTE)
    (restart,) = trace.where("link.restart")
    assert (restart.data["mode"], restart.data["errors"]) == ("lte", 3)  # the session, and two that never began
    failed = [e for e in trace.where("boot.*.failed") if e.t <= restart.t]
    assert len(failed) == 2
    again = [e.name for e in trace.where("boot.*.passed") if e.t > restart.t]
    assert again[:2] == ["boot.link.passed", "boot.address.passed"]


def test_ppp_is_restarted_after_2_failures_then_7_then_12() -> None:
    async def story(life: Life) -> None:
        for _ in range(3):
            await life.until("link.restart", within_s=5 * HOUR_S)

    trace = live(story, local=LTE, changes=WATCHDOG_SLEEPS, before=broken(kind="hub.silent"))
    restarts, failures = trace.where("link.restart"), [e.t for e in trace.where("boot.hub.failed")]
    assert [sum(t <= e.t for t in failures) for e in restarts] == [2, 2 + 7, 2 + 7 + 12]
    assert {e.data["why"] for e in restarts} == {"timed_out"}


def test_a_modem_that_hangs_gets_a_power_cycle_after_three_timeouts() -> None:
    async def story(life: Life) -> None:
        await life.until("boot.link.failed", within_s=60)
        cycle = await life.until("modem.power_cycle", within_s=120)
        assert cycle.data == {"timeouts": 3, "why": "modem_silent", "errors": 3}
        await life.until("boot.link.passed", within_s=30)
        await life.until("device.online", within_s=30)

    trace = live(story, local=LTE, before=broken(kind="lte.modem_hung"))
    assert [e.data["why"] for e in trace.where("boot.link.failed")] == ["modem_silent"] * 3
    assert trace.where("device.reboot") == []


def test_a_modem_that_no_power_cycle_helps_restarts_the_charger_after_ten_and_the_cloud_hears_why() -> None:
    async def story(life: Life) -> None:
        hung = await life.inject(kind="lte.modem_hung")
        reboot = await life.until("device.reboot", within_s=HOUR_S)
        assert reboot.data["reason"] == "modem silent 10 times"
        hung()
        await life.until("device.online", within_s=60)
        assert told(life.world, 807) == "modem silent 10 times"
        assert told(life.world, 808) == "start: modem silent 10 times"
        assert life.charger.diagnostics_log.text is None

    trace = live(story, local=LTE, changes={"backoff.modem_timeouts": 99})
    reboot = trace.where("device.reboot")[0]
    failed = [e for e in trace.where("boot.link.failed") if e.t <= reboot.t]
    assert [e.data["why"] for e in failed] == ["modem_silent"] * 10
    assert failed[-1].t == reboot.t
    assert len(trace.where("device.twin")) == 1  # the new life greets as a first one


# Watchdogs


def test_an_hour_and_five_minutes_without_the_hub_restart_the_charger() -> None:
    async def story(life: Life) -> None:
        undo = await life.inject(**BLOCKED)
        bark = await life.until("device.watchdog", within_s=2 * HOUR_S)
        assert bark.t == pytest.approx(3900, abs=0.01)
        assert bark.data["link_seen"]
        undo()
        await life.until("device.online", within_s=60)
        assert told(life.world, 807) == "watchdog: no hub for 3900 s, no car for 3900 s, no charging for 3900 s"
        assert told(life.world, 811) == "3"
        await asyncio.sleep(3 * HOUR_S)

    trace = live(story)
    assert [e.data["reason"] for e in trace.where("device.power_on")] == ["power-on", "watchdog"]


def test_the_reason_is_told_once() -> None:
    async def story(life: Life) -> None:
        undo = await life.inject(**BLOCKED)
        await life.until("device.watchdog", within_s=2 * HOUR_S)
        undo()
        await life.until("device.online", within_s=60)
        life.charger.reboot("test")
        await life.until("device.online", within_s=60)
        assert life.charger.value(807) is None

    live(story)


def test_without_any_link_it_waits_a_day() -> None:
    async def story(life: Life) -> None:
        bark = await life.until("device.watchdog", within_s=2 * DAY_S)
        assert bark.t == pytest.approx(DAY_S, abs=0.01)
        assert not bark.data["link_seen"]

    live(story, before=broken(kind="link.down"))


def test_a_link_that_comes_after_two_hours_restarts_it_at_once() -> None:
    async def story(life: Life) -> None:
        undo = await life.inject(kind="link.down")
        await life.inject(**BLOCKED)
        await asyncio.sleep(2 * HOUR_S)
        undo()
        passed = await life.until("boot.link.passed", within_s=300)
        bark = await life.until("device.watchdog", within_s=1)
        assert bark.t == passed.t

    live(story, before=broken(kind="link.down", for_s=1))


def test_a_charge_is_not_broken_off_but_the_restart_comes_65_minutes_after_it() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        life.charger.plug_in(Car(energy_wanted_kwh=22.0))
        await life.until("device.charging", state="charging", within_s=60)
        await life.inject(**BLOCKED)
        await life.inject(kind="site.half_open")
        ended = await life.until("device.charging", before="charging", within_s=6 * HOUR_S)
        assert ended.t > 3900 + 400
        bark = await life.until("device.watchdog", within_s=2 * HOUR_S)
        assert bark.t - ended.t == pytest.approx(3900, abs=0.01)
        assert bark.data["no_car_s"] is None
        assert life.charger.snapshot().car_connected

    assert live(story).where("device.watchdog")[0].data["idle_s"] == pytest.approx(3900, abs=0.01)


def test_a_car_that_waits_does_not_hold_the_restart_up() -> None:
    async def story(life: Life) -> None:
        await life.inject(**BLOCKED)
        life.charger.plug_in(Car())
        bark = await life.until("device.watchdog", within_s=2 * HOUR_S)
        assert bark.t == pytest.approx(3900, abs=0.01)
        assert bark.data["no_car_s"] is None

    live(story)


def test_a_hub_that_came_back_in_time_calls_the_watchdog_off() -> None:
    async def story(life: Life) -> None:
        await life.inject(**BLOCKED, for_s=3600)
        await life.until("device.online", within_s=2 * HOUR_S)
        await asyncio.sleep(6 * HOUR_S)

    assert live(story).where("device.watchdog") == []


# Sessions


def test_a_hub_that_acknowledges_no_greeting_is_asked_less_and_less_often() -> None:
    async def story(life: Life) -> None:
        undo = await life.inject(kind="hub.drop_puback")
        for _ in range(6):
            failed = await life.until("device.greeting_failed", within_s=300)
            assert failed.data["why"] == "timed_out"
        assert not life.charger.snapshot().online
        undo()
        await life.until("device.online", within_s=300)
        await asyncio.sleep(60)
        assert told(life.world, 802) is not None
        assert life.charger.snapshot().outbox == 0

    trace = live(story)
    waits = [e.data["after_s"] for e in trace.where("reconnect.wait")]
    assert [10 + n * n <= wait <= (10 + n * n) * 4 / 3 for n, wait in enumerate(waits[:6], 1)] == [True] * 6
    assert len(trace.where("device.online")) == 1


def test_a_hub_that_acknowledges_nothing_is_no_fault_of_the_link() -> None:
    async def story(life: Life) -> None:
        for _ in range(6):
            await life.until("device.greeting_failed", within_s=300)

    trace = live(story, local=LTE, before=broken(kind="hub.drop_puback"))
    assert trace.where("link.restart") == []


def test_a_dead_path_is_noticed_by_the_ping_that_nobody_answers() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(700)  # the busy first ten minutes are over
        began = asyncio.get_running_loop().time()
        await life.inject(kind="site.half_open")
        lost = await life.until("device.offline", within_s=161)
        assert lost.data == {"why": "timed_out", "detail": "no_pingresp"}
        assert lost.t - began <= 300 / 2 + 10
        await life.until("device.online", within_s=20)

    live(story, changes={"telemetry.pulse_idle_s": 6000.0})


def test_a_dead_path_is_noticed_by_the_messages_that_nobody_acknowledges() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(1)
        await life.inject(kind="site.half_open")
        life.charger.plug_in(Car())
        stalled = await life.until("device.stalled", within_s=11)
        lost = await life.until("device.offline", within_s=60)
        assert lost.data == {"why": "timed_out", "detail": "no PUBACK, 3 times in a row"}
        assert lost.t - (stalled.t - 10) == pytest.approx(50, abs=0.1)
        await life.until("device.online", within_s=20)
        await life.until("device.charging", state="charging", within_s=60)

    live(story)


def test_a_link_that_eats_everything_is_a_dead_path_too() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        undo = await life.inject(kind="link.slow", delay_s=0.01, loss=0.999999)
        lost = await life.until("device.offline", within_s=161)
        assert lost.data["why"] == "timed_out"
        undo()
        await life.until("device.online", within_s=300)

    live(story)


def test_a_hub_that_only_accepts_tcp_is_given_up_after_the_time_for_tls() -> None:
    async def story(life: Life) -> None:
        failed = await life.until("boot.hub.failed", within_s=60)
        assert (failed.data["why"], failed.data["seconds"]) == ("timed_out", pytest.approx(15, abs=0.1))

    live(story, before=broken(kind="hub.silent"))


# The end


async def _end(life: Life) -> float:
    began = asyncio.get_running_loop().time()
    await life.charger.shut_down()
    return asyncio.get_running_loop().time() - began


def test_an_orderly_end_says_goodbye_gives_the_lease_back_and_takes_the_link_down() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(10)
        assert await _end(life) < 3
        assert life.charger.env.host.carrier is None
        assert not life.charger.snapshot().powered
        await asyncio.sleep(5)
        (closed,) = [row for row in life.world.history("hub") if row["data"].get("event") == "close"]
        assert closed["reply"] == "disconnect"
        assert life.world.history("dhcp")[-1]["request"].startswith("RELEASE")
        await life.charger.shut_down()  # nothing is left to end

    trace = live(story)
    last: list[TraceEvent] = trace.where("*", SERIAL)[-2:]
    assert [e.name for e in last] == ["lease.released", "device.shut_down"]
    assert last[-1].data["data"]["up"] > 0


@pytest.mark.parametrize("moment_s", [0.0, 0.5, 30.0], ids=["just on", "without a lease", "asking DHCP for ever"])
def test_it_ends_at_any_moment(moment_s: float) -> None:
    async def story(life: Life) -> None:
        await asyncio.sleep(moment_s)
        assert await _end(life) < 3

    live(story, before=broken(kind="dhcp.silence"))


def test_without_mains_there_is_nothing_to_end_in_order() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        life.charger.cut_power()
        await asyncio.sleep(5)
        assert await _end(life) == 0

    assert live(story).where("lease.released") == []

"""What broke while the charger was up is healed: it comes back by itself, and nothing is left behind."""

import asyncio
from itertools import pairwise

import pytest

from cloud_stub.worlds import SimWorld
from cloud_stub.zapcloud import Policy
from emulator.device.car import Car
from tests.life import SERIAL, Life, live

HOUR_S = 3600.0
WATCHDOG_SLEEPS = {"watchdog.link_seen_s": 1e9}
"""For stories of one life: a hub out of reach restarts the charger after 65 minutes."""


@pytest.mark.parametrize("down_s", [5.0, 120.0], ids=["before the first reconnect", "after two minutes"])
def test_a_lost_link_that_is_healed_ends_in_a_new_lease_and_a_new_session(down_s: float) -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        undo = await life.inject(kind="link.down")
        await life.until("device.offline")
        await asyncio.sleep(down_s)
        undo()
        await life.until("boot.link.passed", within_s=300)
        await life.until("boot.address.passed", within_s=1)
        await life.until("device.online", within_s=5)

    live(story)


def test_a_link_that_is_lost_while_the_lease_is_asked_for_is_brought_up_again() -> None:
    async def story(life: Life) -> None:
        silence = await life.inject(kind="dhcp.silence")
        await asyncio.sleep(1)
        link_down = await life.inject(kind="link.down")
        await asyncio.sleep(1)
        link_down()
        silence()
        await life.until("device.online", within_s=600)

    live(story)


def test_a_hub_that_lost_every_puback_for_an_hour_has_everything_minutes_after_it_is_healed() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        undo = await life.inject(kind="hub.drop_puback")
        life.charger.plug_in(Car(energy_wanted_kwh=1.0))
        given_up = await life.until("device.session_given_up")
        assert "PUBACK" in given_up.data["why"] or "answers" in given_up.data["why"]
        await life.until("device.offline", why="timed_out")
        await asyncio.sleep(HOUR_S)
        life.charger.unplug()
        await asyncio.sleep(60)
        undo()
        await asyncio.sleep(300)
        after = life.charger.snapshot()
        assert after.online
        assert (after.outbox, after.sessions_waiting, after.sessions_lost) == (0, 0, 0)
        status, _ = await life.world.command(SERIAL, 503)
        assert status == 200

    live(story)


def test_the_lease_is_renewed_although_the_hub_was_never_reached() -> None:
    async def story(life: Life) -> None:
        await life.until("boot.hub.failed")
        await asyncio.sleep(20 * HOUR_S)
        assert life.charger.snapshot().address is not None

    blocked = {"kind": "site.block", "protocol": "tcp", "port": 8883}
    trace = live(story, changes=WATCHDOG_SLEEPS, before=lambda world: world.inject(blocked, where="test"))
    assert len(trace.where("lease.renewed")) == 3  # at half of its twelve hours, again and again
    assert trace.where("lease.lost") == []
    assert len(trace.where("boot.address.*")) == 1


def test_a_lease_that_ran_out_while_the_hub_was_out_of_reach_is_asked_for_again() -> None:
    async def story(life: Life) -> None:
        await life.until("boot.address.passed")
        silence = await life.inject(kind="dhcp.silence")
        await life.until("lease.lost", within_s=30 * HOUR_S)
        await asyncio.sleep(HOUR_S)
        silence()
        await life.until("boot.address.passed", within_s=600)
        await asyncio.sleep(20 * HOUR_S)

    blocked = {"kind": "site.block", "protocol": "tcp", "port": 8883}
    trace = live(story, changes=WATCHDOG_SLEEPS, before=lambda world: world.inject(blocked, where="test"))
    assert trace.where("boot.address.failed", SERIAL)[0].data["why"] == "no_offer"
    assert len(trace.where("lease.renewed")) == 3


def test_a_car_whose_request_went_unheard_is_started_when_the_hub_is_back() -> None:
    async def story(life: Life) -> None:
        assert isinstance(life.world, SimWorld)
        zapcloud = life.world.cloud.zapcloud
        await life.until("device.online")
        await asyncio.sleep(30)
        zapcloud.policy = Policy(auto_start=False)
        life.charger.plug_in(Car())
        await life.until("device.charging", state="requesting")
        await asyncio.sleep(0.05)
        undo = await life.inject(kind="link.down")
        await asyncio.sleep(20)
        undo()
        zapcloud.policy = Policy()
        await life.until("device.online", within_s=120)
        await life.until("device.charging", state="charging", within_s=60)

    live(story)


def test_the_first_failure_of_a_stage_waits_as_a_first_failure_whatever_failed_before() -> None:
    async def story(life: Life) -> None:
        dark = await life.inject(kind="dns.silence")
        for _ in range(6):
            await life.until("boot.names.failed")
        await life.inject(kind="site.block", protocol="tcp", port=8883, action="reject")
        dark()
        for _ in range(3):
            await life.until("boot.hub.failed")

    failures = live(story).where("boot.hub.failed")
    waits = [later.t - earlier.t for earlier, later in pairwise(failures)]
    assert waits[0] < 16  # 10 s + 1² + jitter of at most a third
    assert waits[0] < waits[1] < 20

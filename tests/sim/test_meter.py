"""The data meter in whole lives: what a boot costs, what a day costs, and what the cloud is told of it."""

import asyncio
import json

import pytest

from cloud_stub.worlds import SimWorld
from emulator.device.car import Car
from emulator.device.usage import until_midnight_s
from emulator.net.meter import Usage
from tests.life import SERIAL, Life, live

DAY_S = 86_400.0
EXACT = ("dhcp", "dns", "ntp")
"""What is made of whole datagrams, whose number does not depend on the network."""


def boot_on(world: str) -> Usage:
    """What a charger has sent and received when it is online for the first time."""
    seen: list[Usage] = []

    async def story(life: Life) -> None:
        await life.until("device.online", within_s=30)
        seen.append(life.charger.data)

    live(story, world=world)
    return seen[0]


def test_a_boot_costs_about_the_same_in_every_world() -> None:
    sim, loopback = boot_on("sim"), boot_on("loopback")
    for purpose in EXACT:
        assert (sim.up[purpose], sim.down[purpose]) == (loopback.up[purpose], loopback.down[purpose])
    assert set(sim.up) == set(loopback.up) == {*EXACT, "handshake", "telemetry"}
    assert sim.up_bytes == pytest.approx(loopback.up_bytes, rel=0.1)
    assert sim.down_bytes == pytest.approx(loopback.down_bytes, rel=0.1)


def test_each_purpose_has_its_bytes() -> None:
    usage = boot_on("sim")
    assert usage.up["ntp"] == usage.down["ntp"] == 28 + 48
    assert usage.up["dhcp"] > 2 * (28 + 240)  # DISCOVER and REQUEST
    assert 1500 < usage.down["handshake"] < 6000  # the server's certificate chain is most of it
    assert usage.up["telemetry"] > usage.down["telemetry"]


def test_an_idle_day_is_told_at_midnight() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        rtc = life.charger.env.rtc
        await asyncio.sleep(until_midnight_s(rtc.now()) + 60)
        before = life.charger.data.total_bytes
        assert isinstance(life.world, SimWorld)
        told = json.loads(life.world.cloud.store.device(SERIAL).observations[822].value)
        yesterday, today = life.charger.data_days
        assert told == {"Date": "2026-06-01", "Up": yesterday.up_bytes, "Down": yesterday.down_bytes}
        assert yesterday.up_bytes + yesterday.down_bytes + today.up_bytes + today.down_bytes == before
        assert life.charger.snapshot().data == life.charger.data
        await asyncio.sleep(DAY_S)
        assert len(life.charger.data_days) == 3

    days = live(story).where("device.data_day")
    assert [e.data["day"] for e in days] == ["2026-06-01", "2026-06-02"]
    assert days[1].data["up"] + days[1].data["down"] == pytest.approx(180e3, rel=0.3)


def test_a_charge_costs_more_than_rest_and_stays_below_what_the_manual_says() -> None:
    async def story(life: Life) -> None:
        await asyncio.sleep(3600)
        life.charger.plug_in(Car(energy_wanted_kwh=20.0))
        before = life.charger.data
        await asyncio.sleep(4 * 3600)
        assert life.charger.data.since(before).total_bytes > 100_000
        await asyncio.sleep(19 * 3600)
        assert life.charger.data.total_bytes < 3e6

    live(story)


def test_the_record_of_days_outlives_a_restart() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(600)
        before = life.charger.data.total_bytes
        life.charger.reboot("test")
        await life.until("device.online")
        await asyncio.sleep(1)
        (today,) = life.charger.data_days
        assert before < today.up_bytes + today.down_bytes <= life.charger.data.total_bytes

    live(story)


def test_a_firmware_image_counts_as_firmware() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        life.world.offer_firmware("5.4.0.0")
        assert life.charger.update_now()
        manifest = await life.until("update.manifest")
        await life.until("update.installed")
        down = life.charger.data.down
        assert manifest.data["size_bytes"] < down["firmware"] < manifest.data["size_bytes"] * 1.1
        assert "https" not in down

    live(story)


def test_a_link_with_losses_costs_what_is_sent_again() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        assert "resent" not in life.charger.data.up
        await life.inject(kind="link.slow", delay_s=0.05, loss=0.3)
        await asyncio.sleep(3600)
        assert life.charger.data.up["resent"] > 0

    live(story)


def test_hours_without_a_hub_cost_little() -> None:
    async def story(life: Life) -> None:
        await asyncio.sleep(3600)
        assert life.charger.data.total_bytes < 15_000
        assert "telemetry" not in life.charger.data.up

    blocked = {"kind": "site.block", "protocol": "tcp", "port": 8883}
    live(story, before=lambda world: world.inject(blocked, where="test"))


def test_two_runs_of_one_seed_move_the_same_bytes() -> None:
    assert boot_on("sim") == boot_on("sim")

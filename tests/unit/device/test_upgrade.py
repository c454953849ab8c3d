"""Updates as a charger lives through them: orders that survive, trials, the way back, and what the cloud is told."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from emulator.boot.image_updates import ENTRIES_MAX, FAILED, ImageUpdates
from emulator.boot.image_updates import KEY as IMAGES_KEY
from emulator.device.car import Car
from emulator.device.light import LIGHTS, Light, light_of
from emulator.device.update import Installed, Rejected
from emulator.device.update_order import KEY, TRIES_MAX, UpdateOrder, When
from emulator.flash import MemoryFlash
from emulator.machines.charge_modes import State
from emulator.machines.updater import PassedOver
from emulator.wire.update_reason import UpdateReason
from tests.life import SERIAL, Life, live
from tests.trust import online
from tests.unit.device.bench import Bench, play

REFUSED = Rejected(UpdateReason.UNSIGNED, "there is no signature", "5.4.0.0")


def security(bench: Bench) -> list[tuple[str, str | None]]:
    """The words of observation 830, with the reasons."""
    return [(fields["Description"], fields.get("Reason")) for fields in map(json.loads, bench.told(830))]


# Orders


def test_a_second_order_in_the_instant_of_a_rejection_is_carried_out() -> None:
    async def story(bench: Bench) -> None:
        bench.update_result = REFUSED
        await asyncio.sleep(60)
        bench.hubs[-1].acknowledges = False  # so that telling of the rejection takes a while
        assert bench.command("201") == 200
        await asyncio.sleep(30.5)
        assert not bench.charger.snapshot().updating
        bench.update_result = Installed("5.4.0.0")
        bench.hubs[-1].on_message("$iothub/methods/POST/201/?$rid=7", b"null")
        assert bench.charger.snapshot().updating
        await asyncio.sleep(120)
        assert bench.charger.snapshot().firmware == "5.4.0.0"

    play(story)


@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_an_order_survives_a_reboot_in_the_middle_of_the_update(how: str) -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        assert bench.command("201") == 200
        await asyncio.sleep(10)
        if how == "reboot":
            bench.charger.reboot("test")
        else:
            bench.charger.inject({"kind": "device.power_cut", "for_s": 5})
        await asyncio.sleep(120)
        assert bench.charger.snapshot().firmware == "5.4.0.0"
        assert bench.flash.get(KEY) is None

    bench = play(story)
    assert len(bench.charger.power_ons) == 3


def test_an_update_that_waits_for_the_car_still_waits_after_a_power_cut() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.charger.plug_in(Car())
        assert bench.command("200") == 200
        bench.charger.inject({"kind": "device.power_cut", "for_s": 5})
        await asyncio.sleep(60)
        assert bench.charger.snapshot().online and not bench.charger.snapshot().updating
        bench.charger.unplug()
        assert bench.charger.snapshot().updating

    play(story)


def test_an_update_that_always_ends_in_the_dark_is_dropped_in_the_end() -> None:
    flash = MemoryFlash()
    order = UpdateOrder(flash)
    order.give(When.NOW)
    for _ in range(TRIES_MAX):
        order = UpdateOrder(flash)
        order.recall()
        assert order.when is When.NOW
        order.begin()
    order.recall()
    assert order.when is None and flash.get(KEY) is None


@pytest.mark.parametrize("stored", [b"", b"[]", b"{}", b"\xff", b'{"when": "later", "tries": 0}', b'{"when": "now"}'])
def test_an_order_that_is_damaged_is_none(stored: bytes) -> None:
    flash = MemoryFlash()
    flash.put(KEY, stored)
    order = UpdateOrder(flash)
    order.recall()
    assert order.when is None


# What is told


def test_every_refusal_is_told_with_its_reason_and_kept_while_the_hub_is_away() -> None:
    async def story(bench: Bench) -> None:
        passed = (PassedOver(UpdateReason.NOT_HTTPS, "api"), PassedOver(REFUSED.reason, REFUSED.detail))
        bench.update_result = Rejected(REFUSED.reason, REFUSED.detail, REFUSED.version, passed)
        await asyncio.sleep(60)
        bench.charger.update_now()
        bench.reachable.clear()
        bench.hubs[-1].lose()
        await asyncio.sleep(60)
        assert security(bench) == []
        bench.reachable.set()
        await asyncio.sleep(600)

    bench = play(story)
    assert security(bench) == [("PassedOver", "not_https"), ("Rejected", "unsigned")]
    (failed,) = json.loads(bench.told(931)[-1])
    assert (failed["Version"], failed["Reason"]) == ("5.4.0.0", "unsigned")


def test_the_light_is_purple_while_an_update_is_under_way() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        assert bench.charger.snapshot().light == Light.IDLE
        bench.command("201")
        assert bench.charger.snapshot().light == "purple"
        bench.charger.cut_power()
        await asyncio.sleep(1)
        assert bench.charger.snapshot().light == "off"

    play(story)


def test_every_state_has_its_light() -> None:
    lights = {state: light_of(state, updating=False, online=True) for state in State}
    assert lights == {**LIGHTS, State.DISCONNECTED: Light.IDLE}
    assert light_of(State.DISCONNECTED, updating=False, online=False) is Light.NO_NETWORK
    assert {light_of(state, updating=True, online=False) for state in State} == {Light.UPDATE}


def test_like_the_go_a_rejection_ends_in_a_reboot_too() -> None:
    async def story(bench: Bench) -> None:
        bench.update_result = REFUSED
        await asyncio.sleep(60)
        bench.command("201")
        await asyncio.sleep(60)
        assert [power_on.reason for power_on in bench.charger.power_ons] == ["power-on", "update"]
        assert not bench.charger.snapshot().updating and bench.charger.firmware == "5.3.0.3"

    bench = play(story, changes={"firmware.updater": "go"})
    assert security(bench) == [("Rejected", "unsigned")]


@pytest.mark.parametrize("stored", [b"[]", b"{", b'{"failed": 3}', b'{"failed": [3]}'])
def test_lists_of_images_that_are_damaged_begin_anew(stored: bytes) -> None:
    flash = MemoryFlash()
    flash.put(IMAGES_KEY, stored)
    images = ImageUpdates(flash)
    assert images.as_json(FAILED) is None
    for number in range(ENTRIES_MAX + 2):
        images.fail(f"5.{number}", datetime(2026, 1, 1, tzinfo=UTC), "unsigned")
    failed = json.loads(images.as_json(FAILED) or "")
    assert len(failed) == ENTRIES_MAX
    assert failed[-1] == {"Version": f"5.{ENTRIES_MAX + 1}", "Time": "2026-01-01T00:00:00Z", "Reason": "unsigned"}


# The way back


def test_command_202_goes_back_to_the_previous_image_and_to_that_of_production() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        for version in ("5.4.0.0", "5.5.0.0"):
            bench.update_result = Installed(version)
            assert bench.command("201") == 200
            await asyncio.sleep(120)
        assert bench.command("202") == 200
        await asyncio.sleep(60)
        assert bench.charger.snapshot().firmware == "5.4.0.0"
        assert bench.command("202", ["factory"]) == 200
        assert bench.command("201") == 400  # about to start again
        await asyncio.sleep(60)
        assert bench.charger.power_ons[-1].slot == "factory"
        assert bench.command("202", "factory") == 400  # it runs

    bench = play(story)
    assert bench.charger.firmware == "5.3.0.3"


def test_there_is_no_way_back_while_an_update_is_under_way() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.command("201")
        assert bench.command("202", "factory") == 400

    play(story)


# Trials


async def update(life: Life, version: str) -> None:
    life.world.offer_firmware(version)
    assert (await life.world.command(SERIAL, 201))[0] == 200
    await life.until("update.installed", within_s=600)


def test_an_image_is_confirmed_when_the_mainboard_is_in_step() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await update(life, "5.4.0.0")
        passed = await life.until("boot.firmware.passed", version="5.4.0.0", confirmed=True)
        assert passed.data["mainboard"] == life.charger.value(908) == "5.4.0.0"
        assert json.loads(life.charger.value(930) or "")[0]["Version"] == "5.4.0.0"
        await online(life)
        assert (await life.world.command(SERIAL, 202))[0] == 200
        await life.until("boot.firmware.passed", confirmed=True, within_s=120)
        assert life.charger.value(908) == "3.4.0.0"

    live(story)


def test_an_image_whose_mainboard_firmware_is_not_taken_is_given_up_and_the_next_try_completes() -> None:
    async def story(life: Life) -> None:
        await online(life)
        undo = life.charger.inject({"kind": "device.mainboard_stuck"})
        await update(life, "5.4.0.0")
        await life.until("boot.firmware.degraded", why="firmware_unconfirmed", within_s=120)
        await life.until("boot.firmware.degraded", why="firmware_rolled_back", within_s=120)
        await online(life)
        assert life.charger.firmware == "5.3.0.3"
        assert json.loads(life.charger.value(931) or "")[0]["Version"] == "5.4.0.0"
        undo()
        await update(life, "5.4.0.0")
        await life.until("boot.firmware.passed", version="5.4.0.0", confirmed=True)

    live(story)


def test_an_image_that_does_not_reach_the_hub_in_time_is_given_up() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await update(life, "5.4.0.0")
        undo = await life.inject(kind="link.down")
        tried = await life.until("device.power_on", within_s=60)
        given_up = await life.until("device.power_on", within_s=400)
        assert (tried.data["firmware"], given_up.data["firmware"]) == ("5.4.0.0", "5.3.0.3")
        assert given_up.data["reason"] == "firmware not confirmed"
        undo()
        await life.until("boot.firmware.degraded", why="firmware_rolled_back")
        await online(life)
        await update(life, "5.4.0.0")
        await life.until("boot.firmware.passed", version="5.4.0.0", confirmed=True)

    live(story, changes={"firmware.confirm_timeout_s": 300.0})

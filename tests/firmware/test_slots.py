"""Images that do not boot again: bits that have rotted in a slot, and a trial that ends in another process.

Whole chargers; what the boot loader decides is in `emulator.slots`.
"""

import asyncio
import json
from functools import partial
from pathlib import Path

import pytest

from emulator.errors import UsageError
from emulator.flash.store import file_flash
from emulator.slots import Slots
from emulator.wire.update_reason import UpdateReason
from tests.firmware.attack import NEW, RUNS, SMALL, TOLD_S, Heard, cloud_of, listen
from tests.life import SERIAL, Life, live
from tests.unit.device.bench import Bench, play

NEWER = "5.5.0.0"
DAMAGE = {"kind": "device.slot_damaged"}


async def installed(life: Life, version: str) -> None:
    """Order an update, up to where it boots next."""
    cloud_of(life).firmware.offer(version, size_bytes=SMALL)
    assert (await life.world.command(SERIAL, 201))[0] == 200
    await life.until("update.installed")


async def confirmed(life: Life, version: str) -> None:
    await life.until("boot.firmware.passed", version=version, confirmed=True)
    await life.until("device.online")
    await asyncio.sleep(TOLD_S)


def failed(life: Life) -> list[tuple[str, str]]:
    """Version and reason of each image of observation 931."""
    return [(entry["Version"], entry["Reason"]) for entry in json.loads(life.charger.value(931) or "[]")]


def told(heard: Heard, description: str, reason: UpdateReason) -> bool:
    return {"Name": "OTA", "Description": description, "Reason": reason.value} in heard.security()


def test_a_new_image_that_rots_before_it_boots_is_given_up_for_that_and_the_next_try_completes() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        heard = listen(life)
        await installed(life, NEW)
        life.charger.inject(DAMAGE)
        degraded = await life.until("boot.firmware.degraded", within_s=120)
        assert (degraded.data["why"], degraded.data["version"]) == ("firmware_damaged", RUNS)
        await life.until("device.online")
        await asyncio.sleep(TOLD_S)
        assert (life.charger.snapshot().firmware, failed(life)) == (RUNS, [(NEW, "damaged")])
        assert told(heard, "RolledBack", UpdateReason.DAMAGED)
        assert f"rolled back to {RUNS}: {NEW} damaged" in heard.warnings()[-1]
        await installed(life, NEW)
        await confirmed(life, NEW)
        assert life.charger.snapshot().firmware == NEW

    assert len(live(story).where("device.power_on")) == 3


def test_a_previous_image_that_has_rotted_is_not_gone_back_to_and_the_charger_says_so() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        for version in (NEW, NEWER):
            await installed(life, version)
            await confirmed(life, version)
        heard = listen(life)
        life.charger.inject(DAMAGE)
        assert (await life.world.command(SERIAL, 202))[0] == 400
        await asyncio.sleep(TOLD_S)
        assert (life.charger.snapshot().firmware, failed(life)) == (NEWER, [(NEW, "damaged")])
        assert heard.security() == [{"Name": "OTA", "Description": "Rejected", "Reason": "damaged"}]
        assert f" damaged: {NEW} in slot b is not what was installed" in heard.warnings()[-1]
        assert life.recorder.where("device.not_back")[-1].data["to"] == "previous"
        assert (await life.world.command(SERIAL, 202, "factory"))[0] == 200
        await life.until("boot.firmware.passed", version=RUNS, confirmed=True, within_s=120)

    assert len(live(story).where("device.power_on")) == 4


def test_a_previous_image_may_rot_after_the_command_too() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        for version in (NEW, NEWER):
            await installed(life, version)
            await confirmed(life, version)
        assert (await life.world.command(SERIAL, 202))[0] == 200
        life.charger.inject(DAMAGE)
        await life.until("boot.firmware.degraded", why="firmware_damaged", version=NEWER, within_s=120)
        assert failed(life) == [(NEW, "damaged")]

    live(story)


def test_only_what_was_written_to_flash_can_be_damaged() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        for slot in ("inactive", "a", "b"):
            with pytest.raises(UsageError, match=r"step 1: slot: there is no image in slot [ab]"):
                life.charger.inject({**DAMAGE, "slot": slot}, where="step 1")
        with pytest.raises(UsageError, match="slot"):
            life.charger.inject({**DAMAGE, "slot": "factory"}, where="step 1")
        await installed(life, NEW)
        life.charger.inject({"kind": "device.flash_worn"})
        with pytest.raises(UsageError, match="step 1: slot: worn"):
            life.charger.inject(DAMAGE, where="step 1")

    live(story)


def test_an_image_whose_trial_was_cut_in_another_process_is_named(tmp_path: Path) -> None:
    """Flash in a file outlives the process: the new one has never seen the image that it gives up."""

    async def tried(bench: Bench) -> None:
        await asyncio.sleep(60)
        assert bench.command("201") == 200
        bench.reachable.clear()  # so that it is never confirmed
        await asyncio.sleep(60)
        assert (bench.charger.firmware, bench.charger.snapshot().online) == (NEW, False)

    async def given_up(bench: Bench) -> None:
        await asyncio.sleep(60)
        assert bench.charger.snapshot().online and bench.charger.firmware == RUNS

    with file_flash(tmp_path) as flash:
        play(tried, flash=flash)
    with file_flash(tmp_path) as flash:
        bench = play(given_up, flash=flash)
        assert Slots(flash, bench.charger.spec.profile.firmware).boot().given_up is None  # it was told
    (entry,) = json.loads(bench.told(931)[-1])
    assert (entry["Version"], entry["Reason"]) == (NEW, "unconfirmed")
    assert json.loads(bench.told(830)[-1])["Reason"] == "unconfirmed"


@pytest.mark.parametrize("landed", [0.0, 1.0])
def test_whenever_the_power_fails_while_it_is_given_up_it_is_told_of(tmp_path: Path, landed: float) -> None:
    async def tried(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.command("201")
        bench.reachable.clear()
        await asyncio.sleep(60)
        bench.charger.cut_power()
        await asyncio.sleep(1)

    async def cut(bench: Bench, write: int) -> None:
        bench.charger.inject({"kind": "device.power_cut_at_write", "write": write, "landed": landed, "off_s": 5})
        await asyncio.sleep(600)
        assert bench.charger.snapshot().online and bench.charger.firmware == RUNS

    for write in range(1, 13):
        folder = tmp_path / str(write)
        with file_flash(folder) as flash:
            play(tried, flash=flash)
        with file_flash(folder) as flash:
            bench = play(partial(cut, write=write), flash=flash)
        entries = json.loads(bench.told(931)[-1])
        assert {(entry["Version"], entry["Reason"]) for entry in entries} == {(NEW, "unconfirmed")}, write
        assert next(json.loads(value)["Reason"] for value in bench.told(830)) == "unconfirmed", write

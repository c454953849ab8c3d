"""Flash that is full or worn out, and mains that fail in the middle of a write: the charger goes on, or comes back."""

import asyncio

import pytest

from emulator.device.car import Car
from emulator.device.outbox import PREFIX
from emulator.errors import UsageError
from emulator.flash import Flash, MemoryFlash
from emulator.flash.faulty import CutDevice
from tests.unit.device.bench import Bench, play

COMPLETED_SESSION, MAX_CURRENT = 723, "510"
GUIDS = ("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "bbbbbbbb-bbbb-cccc-dddd-eeeeeeeeeeee")


async def a_day(bench: Bench) -> None:
    """A setting changes, a car charges, the hub is out of reach for a while, and another car charges."""
    await asyncio.sleep(60)
    bench.desired({MAX_CURRENT: "20"})
    await a_charge(bench, GUIDS[0])
    bench.reachable.clear()
    bench.hubs[-1].lose()
    await asyncio.sleep(100)
    bench.charger.plug_in(Car())
    await asyncio.sleep(100)
    bench.charger.unplug()
    await asyncio.sleep(100)
    bench.reachable.set()
    await asyncio.sleep(600)
    await a_charge(bench, GUIDS[1])


async def a_charge(bench: Bench, guid: str) -> None:
    """A car charges for some minutes, and the cloud names the session again and again."""
    bench.charger.plug_in(Car())
    for _ in range(6):
        await asyncio.sleep(60)
        if bench.charger.snapshot().online:
            bench.hubs[-1].on_message("$iothub/methods/POST/504/?$rid=7", f'["{guid}"]'.encode())
            bench.hubs[-1].on_message("$iothub/methods/POST/501/?$rid=8", b'["16", "4"]')
    bench.charger.unplug()
    await asyncio.sleep(600)


def writes_of_a_day() -> int:
    flash = MemoryFlash()
    counter = flash.device = CutDevice(flash.device)
    play(a_day, flash=flash)
    return counter.writes


@pytest.mark.parametrize("landed", [0.0, 0.5, 1.0])
def test_the_charger_comes_back_from_a_cut_at_every_write_of_a_day(landed: float) -> None:
    writes = writes_of_a_day()
    assert writes > 20
    for write in range(1, writes + 1):

        async def story(bench: Bench, write: int = write) -> None:
            bench.charger.inject({"kind": "device.power_cut_at_write", "write": write, "landed": landed, "off_s": 30})
            await a_day(bench)
            snapshot = bench.charger.snapshot()
            assert snapshot.online and not snapshot.car_connected
            assert (snapshot.outbox, snapshot.sessions_waiting) == (0, 0)
            assert [power_on.reason for power_on in bench.charger.power_ons] == ["power-on", "power cut"]

        told = play(story).told(COMPLETED_SESSION)
        assert [any(guid in value for value in told) for guid in GUIDS] == [True, True], write
        assert len(set(told)) == len(GUIDS), write


def test_a_cut_that_was_taken_back_does_not_come() -> None:
    async def story(bench: Bench) -> None:
        undo = bench.charger.inject({"kind": "device.power_cut_at_write", "write": 5})
        undo()
        undo()
        await a_day(bench)

    assert len(play(story).charger.power_ons) == 1


@pytest.mark.parametrize("kind", ["device.flash_full", "device.flash_worn"])
def test_a_charger_whose_flash_takes_nothing_goes_on_and_keeps_what_it_has(kind: str) -> None:
    flash = MemoryFlash()
    flash.put("setting/805", b"0")

    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        undo = bench.charger.inject({"kind": kind})
        before = {key: flash.get(key) for key in flash.keys("")}
        await a_day(bench)
        snapshot = bench.charger.snapshot()
        assert snapshot.online and bench.charger.settings[510] == "20"
        assert snapshot.outbox_dropped > 0 and snapshot.sessions_lost == 2
        assert {key: flash.get(key) for key in flash.keys("")}.items() >= before.items()
        bench.charger.reboot("test")
        await asyncio.sleep(60)
        assert bench.charger.settings[510] == "32"
        undo()
        undo()
        bench.desired({MAX_CURRENT: "16"})
        assert flash.get(f"setting/{MAX_CURRENT}") == b"16"

    play(story, flash=flash)


def test_what_waits_in_flash_is_what_it_holds_after_a_cut_not_what_was_in_memory() -> None:
    flash = MemoryFlash()
    flash.put("key", b"opens a sector, so that the next write is that of a value")

    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.reachable.clear()
        bench.hubs[-1].lose()
        await asyncio.sleep(10)
        outbox = bench.charger.uplink.outbox
        bench.charger.inject({"kind": "device.power_cut_at_write", "write": 3, "landed": 1.0, "off_s": 30})
        bench.charger.plug_in(Car())  # two writes for the session, and then the first message
        await asyncio.sleep(20)
        assert (bench.charger.snapshot().powered, len(outbox), len(bench.flash.keys(PREFIX))) == (False, 0, 0)
        await asyncio.sleep(11)
        assert bench.charger.snapshot().powered
        assert len(outbox) == len(bench.flash.keys(PREFIX)) >= 1

    play(story, flash=flash)


def test_flash_that_is_no_chip_cannot_have_its_faults() -> None:
    class Elsewhere:
        """Flash of another make."""

        def __init__(self, flash: Flash) -> None:
            self.mount, self.get, self.put, self.delete, self.keys = (
                *(flash.mount, flash.get, flash.put),
                *(flash.delete, flash.keys),
            )

    async def story(bench: Bench) -> None:
        with pytest.raises(UsageError, match="step 1: this charger's flash is not on a chip"):
            bench.charger.inject({"kind": "device.flash_worn"}, where="step 1")

    play(story, flash=Elsewhere(MemoryFlash()))  # type: ignore[arg-type]

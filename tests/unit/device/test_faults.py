"""Faults of the device: each does its harm, and takes it back if it can."""

import asyncio
from datetime import timedelta

import pytest

from emulator.device.faults import FAULTS, PowerCut
from emulator.errors import UsageError
from tests.unit.device.bench import TRUE_TIME, Bench, play


def test_wrong_key_is_used_from_the_next_login_until_it_is_taken_back() -> None:
    async def story(bench: Bench) -> None:
        undo = bench.charger.inject({"kind": "device.wrong_key"})
        await asyncio.sleep(60)
        bench.hubs[-1].lose()
        await asyncio.sleep(60)
        undo()
        bench.hubs[-1].lose()
        await asyncio.sleep(60)

    bench = play(story)
    wrong, still_wrong, right = bench.keys
    assert wrong == still_wrong != right == bench.charger.spec.key
    assert len(wrong) == 32


def test_wrong_key_survives_a_reboot() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.charger.inject({"kind": "device.wrong_key"})
        assert bench.charger.reboot("test")
        await asyncio.sleep(60)

    bench = play(story)
    assert bench.keys[0] == bench.charger.spec.key != bench.keys[1]


def test_rtc_jump_moves_the_clock_unnoticed() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.charger.inject({"kind": "device.rtc_jump", "by_s": -86400.0})
        assert bench.rtc.trusted
        assert bench.rtc.now() == TRUE_TIME + timedelta(seconds=60) - timedelta(days=1)

    play(story)


def test_rtc_lost_is_back_at_the_build_time() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.charger.inject({"kind": "device.rtc_lost"})
        assert not bench.rtc.trusted
        assert bench.rtc.now() == bench.charger.spec.profile.firmware.built_at
        assert bench.charger.snapshot().clock_trusted is False

    play(story)


@pytest.mark.parametrize(("taken_back", "shown"), [(False, "2025-03-01T00:00"), (True, "2025-06-02T00:01")])
def test_a_flat_battery_loses_the_clock_at_the_next_power_cut_unless_it_is_replaced(
    taken_back: bool, shown: str
) -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        undo = bench.charger.inject({"kind": "device.rtc_battery"})
        assert bench.charger.reboot("test")
        await asyncio.sleep(1)
        assert bench.rtc.trusted and bench.rtc.source == "rtc"
        if taken_back:
            undo()
        bench.charger.inject(PowerCut(for_s=86400))
        await asyncio.sleep(86400 + 1)
        assert bench.rtc.trusted is taken_back
        assert f"{bench.rtc.now():%Y-%m-%dT%H:%M}" == shown

    play(story)


def test_rtc_drift_is_there_until_it_is_taken_back_and_drifts_add_up() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        undo = bench.charger.inject({"kind": "device.rtc_drift", "ppm": 1000.0})
        bench.charger.inject({"kind": "device.rtc_drift", "ppm": -100.0, "for_s": 1000.0})
        assert bench.rtc.drift_ppm == 900.0
        await asyncio.sleep(1000)
        assert bench.rtc.drift_ppm == 1000.0
        undo()
        undo()
        assert bench.rtc.drift_ppm == 0.0
        await asyncio.sleep(1000)
        assert bench.rtc.now() - TRUE_TIME == timedelta(seconds=2060 + 0.9)

    play(story)


def test_power_cuts_add_up() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.charger.inject(PowerCut(for_s=10))
        undo = bench.charger.inject(PowerCut())
        await asyncio.sleep(20)
        assert not bench.charger.snapshot().powered
        undo()
        await asyncio.sleep(20)
        assert bench.charger.snapshot().online

    bench = play(story)
    assert [event["kind"] for event in bench.events("device.fault")] == ["device.power_cut"] * 2


def test_a_cut_right_after_the_power_came_back_holds() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        undo = bench.charger.inject(PowerCut())
        await asyncio.sleep(1)
        undo()
        bench.charger.inject(PowerCut())
        await asyncio.sleep(60)
        assert not bench.charger.snapshot().powered

    play(story)


def test_a_power_cut_overtakes_a_restart() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        assert bench.command("102") == 200
        bench.charger.inject(PowerCut(for_s=10))
        await asyncio.sleep(60)

    assert [p.reason for p in play(story).charger.power_ons] == ["power-on", "power cut"]


def test_without_power_nothing_can_be_rebooted_or_updated() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.charger.inject(PowerCut())
        await asyncio.sleep(1)
        assert not bench.charger.reboot("test")
        assert not bench.charger.update_now()

    play(story)


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"kind": "device.moonlight"}, "kind"),
        ({"kind": "device.rtc_jump"}, "by_s"),
        ({"kind": "device.rtc_jump", "by_s": "far"}, "by_s"),
        ({"kind": "device.rtc_jump", "by_s": 1e300}, "by_s"),
        ({"kind": "device.rtc_jump", "by_s": -3e9}, "by_s"),
        ({"kind": "device.rtc_jump", "by_s": float("nan")}, "by_s"),
        ({"kind": "device.rtc_jump", "by_s": 1, "count": 2}, "count"),
        ({"kind": "device.rtc_drift"}, "ppm"),
        ({"kind": "device.rtc_drift", "ppm": 1e6}, "ppm"),
        ({"kind": "device.wrong_key", "who": "ZPR000009"}, "who"),
        ({"kind": "device.power_cut", "minutes": 3}, "minutes"),
    ],
)
def test_a_fault_that_does_not_exist_is_named(fault: dict[str, object], named: str) -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(UsageError, match=f"step 3: .*{named}"):
            bench.charger.inject(fault, where="step 3")

    play(story)


def test_every_fault_is_in_the_table_by_its_kind() -> None:
    clock = {"device.rtc_jump", "device.rtc_lost", "device.rtc_battery", "device.rtc_drift"}
    flash = {"device.bundle_lost", "device.bundle_damaged", "device.flash_full", "device.flash_worn"}
    power = {"device.power_cut", "device.power_cut_at_write"}
    image = {"device.mainboard_stuck", "device.slot_damaged"}
    assert set(FAULTS) == {"device.wrong_key", *image, *power, *clock, *flash}
    assert all(fault.kind == kind for kind, fault in FAULTS.items())


def test_the_clock_does_not_jump_out_of_the_years_it_can_show() -> None:
    async def story(bench: Bench) -> None:
        bench.charger.inject({"kind": "device.rtc_jump", "by_s": -1.5e9})
        shown = bench.rtc.now()
        with pytest.raises(UsageError, match="step 4: by_s: the clock would show the year 19"):
            bench.charger.inject({"kind": "device.rtc_jump", "by_s": -1.5e9}, where="step 4")
        assert bench.rtc.now() == shown

    play(story)

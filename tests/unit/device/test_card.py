"""RFID cards: shown, reported, judged by the cloud, and written into the record of the charge session."""

import asyncio

import pytest

from emulator.device.car import Car
from emulator.device.card import Shown, tag_of
from emulator.errors import UsageError
from emulator.flash import MemoryFlash
from emulator.wire.messages import parse_completed_session
from tests.unit.device.bench import Bench, play

UID, TAG = "04a1b2c3", "nfc-04A1B2C3"


async def with_a_car(bench: Bench, *, required: str = "1") -> None:
    await asyncio.sleep(60)
    bench.desired({"120": required})
    bench.charger.plug_in(Car(start_delay_s=0))
    await asyncio.sleep(1)


def tag_in_the_record(bench: Bench) -> str:
    (value,) = bench.told(723)
    return parse_completed_session(value).authentication_code


@pytest.mark.parametrize("uid", ["04A1B2C3", "04A1B2C3D4E5F6", "04A1B2C3D4E5F6071829"])
def test_a_card_of_each_size(uid: str) -> None:
    assert tag_of(uid) == f"nfc-{uid}"


@pytest.mark.parametrize(("uid", "why"), [("", "0 bytes"), ("04A1", "2 bytes"), ("04A", "hex"), ("nfc-04A1", "hex")])
def test_what_is_no_card(uid: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"^uid: .*{why}"):
        tag_of(uid)


def test_a_card_is_reported_and_waits_until_the_cloud_grants_it() -> None:
    async def story(bench: Bench) -> None:
        await with_a_car(bench)
        shown_s = asyncio.get_running_loop().time()
        assert bench.charger.show_card(UID) is Shown.WAITS
        await asyncio.sleep(1)
        told = [[o.id for o in sent.observations] for sent in bench.sent if sent.t >= shown_s]
        assert told == [[722], [714, 702, 710]]
        assert bench.charger.charge.cards.waits
        assert bench.command("601") == 200
        assert not bench.charger.charge.cards.waits
        assert bench.command("601") == 400  # nothing waits any more
        bench.command("501", ["16", "4"])
        await asyncio.sleep(600)
        bench.charger.unplug()
        await asyncio.sleep(10)

    bench = play(story)
    assert bench.told(722) == [TAG]
    assert tag_in_the_record(bench) == TAG
    assert bench.charger.value(722) == ""
    assert TAG not in str(bench.trace.events)


def test_a_denied_card_leaves_nothing() -> None:
    async def story(bench: Bench) -> None:
        await with_a_car(bench)
        bench.charger.show_card(UID)
        assert bench.command("602") == 200
        assert bench.command("602") == 400
        assert bench.charger.value(722) == ""
        assert bench.command("501", ["16", "4"]) == 200  # what the cloud grants all the same
        await asyncio.sleep(600)
        bench.charger.unplug()
        await asyncio.sleep(10)

    assert tag_in_the_record(play(story)) == ""


def test_where_no_card_is_required_it_is_reported_and_nobody_is_asked() -> None:
    async def story(bench: Bench) -> None:
        await with_a_car(bench, required="0")
        assert bench.charger.show_card(UID) is Shown.REPORTED
        await asyncio.sleep(1)
        assert bench.command("601") == 400

    assert play(story).told(722) == [TAG]


def test_without_a_car_or_without_power_a_card_is_nothing() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        assert bench.charger.show_card(UID) is Shown.NO_CAR
        bench.charger.cut_power()
        await asyncio.sleep(1)
        assert bench.charger.show_card(UID) is Shown.NO_POWER
        bench.charger.restore_power()
        await asyncio.sleep(60)

    bench = play(story)
    assert bench.told(722) == []
    assert bench.events("device.card") == [{"shown": "no_car"}, {"shown": "no_power"}]


def test_the_cloud_names_a_user_by_itself() -> None:
    async def story(bench: Bench) -> None:
        await with_a_car(bench)
        assert bench.command("505", [TAG]) == 200
        await asyncio.sleep(1)
        assert bench.told(722) == [TAG]
        assert bench.command("505", [""]) == 200  # another session, which nobody may charge in yet
        assert bench.charger.value(722) == ""

    play(story)


def test_a_reboot_forgets_a_card_that_waits_and_keeps_one_that_was_granted() -> None:
    flash = MemoryFlash()

    async def waits(bench: Bench) -> None:
        await with_a_car(bench)
        bench.charger.show_card(UID)
        bench.charger.reboot("test")
        await asyncio.sleep(30)
        assert bench.charger.value(722) == ""
        bench.charger.show_card(UID)
        bench.command("601")
        bench.charger.reboot("test")
        await asyncio.sleep(30)
        assert bench.charger.value(722) == TAG

    play(waits, flash=flash)

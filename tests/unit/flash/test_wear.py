"""Sectors wear evenly, and one that goes bad is given up without loss."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.flash import FlashError, FlashReason, FlashStore, MemoryFlash
from emulator.flash.device import MemoryDevice
from emulator.flash.faulty import WearingDevice
from emulator.flash.sectors import WEAR_SPREAD_MAX
from emulator.flash.store import Layout
from tests.unit.flash.stories import SMALL, Delete, Model, Put, Step, contents, play

LAYOUT = Layout(sector_bytes=512, log_sectors=24, slot_bytes=2048)


def wearing(layout: Layout = LAYOUT, endurance: int | None = None) -> WearingDevice:
    return WearingDevice(MemoryDevice(layout.sectors, sector_bytes=layout.sector_bytes), endurance=endurance)


def fill_with_what_never_changes(flash: FlashStore, values: int) -> dict[str, bytes]:
    cold = {f"setting/{number}": bytes((number,)) * 60 for number in range(values)}
    for key, value in cold.items():
        flash.put(key, value)
    return cold


@pytest.mark.parametrize("reboots", [False, True])
@pytest.mark.parametrize("cold", [0, 20, 50])
def test_wear_is_level_even_where_most_of_it_never_changes(cold: int, reboots: bool) -> None:
    device = wearing()
    flash = FlashStore(device, LAYOUT)
    kept = fill_with_what_never_changes(flash, cold)
    for number in range(6000):
        flash.put(f"outbox/{number % 7}", b"%06d" % number * 8)
        if reboots and number % 100 == 0:
            flash = FlashStore(device, LAYOUT)
    erases = [device.erases[sector] for sector in range(LAYOUT.log_sectors)]
    assert sum(erases) > 900
    assert max(erases) - min(erases) <= WEAR_SPREAD_MAX + 2
    assert [flash.log.sectors.erases(sector) for sector in range(LAYOUT.log_sectors)] == erases
    assert {key: flash.get(key) for key in kept} == kept


def test_an_update_erases_each_sector_of_its_slot_once() -> None:
    device = wearing()
    flash = FlashStore(device, LAYOUT)
    for turn in range(1, 5):
        flash.blob_erase("firmware.b")
        for offset in range(0, 2048, 300):
            flash.blob_write("firmware.b", offset, bytes((turn,)) * min(300, 2048 - offset))
    first = LAYOUT.start("firmware.b") // 512
    assert [device.erases[sector] for sector in range(first, first + 4)] == [3] * 4
    assert flash.blob_read("firmware.b", 0, 4096) == b"\x04" * 2048


def test_a_chip_that_wears_out_says_so_and_can_still_be_read() -> None:
    device = wearing(endurance=20)
    flash = FlashStore(device, LAYOUT)
    kept = fill_with_what_never_changes(flash, 20)
    number = 0
    with pytest.raises(FlashError) as worn:
        for number in range(100_000):
            flash.put("session.count", b"%d" % number)
    assert worn.value.reason is FlashReason.WORN
    assert number > 24 * 20 * 10  # ten puts and more for each erase
    for reopened in (flash, FlashStore(device, LAYOUT)):
        assert {key: reopened.get(key) for key in reopened.keys("")} == {**kept, "session.count": b"%d" % (number - 1)}
    assert sum(device.erases[sector] == 20 for sector in range(24)) >= 18


changes = st.lists(
    st.builds(Put, st.sampled_from("abcd"), st.binary(max_size=300)) | st.builds(Delete, st.sampled_from("abcd")),
    min_size=5,
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(changes, st.lists(st.tuples(st.integers(0, 59), st.integers(0, 11)), max_size=8))
def test_sectors_go_bad_at_any_time_and_nothing_is_lost(story: list[Step], failures: list[tuple[int, int]]) -> None:
    """A bad sector keeps what it holds and refuses even the mark that something in it is dead."""
    layout = Layout(sector_bytes=512, log_sectors=12, slot_bytes=512)
    device = wearing(layout)
    flash, model = FlashStore(device, layout), Model()
    for number, step in enumerate(story):
        device.bad = {sector for after, sector in failures if after <= number}
        play(flash, [step], model)
        assert contents(flash) == model
        assert contents(FlashStore(device, layout)) == model


@pytest.mark.parametrize("long", [False, True])
def test_what_a_bad_sector_still_holds_does_not_come_back(long: bool) -> None:
    device = wearing()
    flash = FlashStore(device, LAYOUT)
    for key in ("changed", "deleted", "deleted again", "put again"):
        flash.put(key, b"old" * (300 if long else 1))
    device.bad = range(6)
    flash.put("changed", b"new")
    flash.delete("deleted")
    flash.delete("deleted again")
    flash.delete("put again")
    flash.put("put again", b"new")
    for _ in range(3):
        flash = FlashStore(device, LAYOUT)
        assert {key: flash.get(key) for key in flash.keys("")} == {"changed": b"new", "put again": b"new"}
        flash.put("deleted again", b"newest")
        flash.delete("deleted again")
        for number in range(200):  # and the words about it are copied on like everything else
            flash.put("count", b"%d" % number)
        flash.delete("count")


def test_a_bad_sector_in_a_slot_fails_the_image_and_nothing_else() -> None:
    device = wearing()
    flash = FlashStore(device, LAYOUT)
    device.bad = {LAYOUT.start("firmware.b") // 512 + 1}
    flash.put("session.count", b"1")
    with pytest.raises(FlashError, match=r"worn: firmware\.b: sector 29 is bad"):
        flash.blob_write("firmware.b", 0, b"image" * 300)
    assert (flash.blob_size("firmware.b"), flash.get("session.count")) == (0, b"1")
    flash.blob_write("firmware.a", 0, b"image" * 300)


def test_room_that_something_else_takes() -> None:
    flash = MemoryFlash(SMALL)
    flash.put("key", b"old")
    flash.log.reserved = flash.log.room
    with pytest.raises(FlashError, match="full: "):
        flash.put("key", b"new")
    assert flash.get("key") == b"old"
    flash.log.reserved = 0
    flash.put("key", b"new")
    assert flash.get("key") == b"new"


def test_a_story_of_any_length_never_runs_out_of_sectors() -> None:
    rng, flash, model = Random(1), MemoryFlash(SMALL), Model()
    for _ in range(5000):
        key, size = f"k{rng.randrange(6)}", rng.choice((1, 5, 40, 120, 300))
        play(flash, [Delete(key) if rng.random() < 0.3 else Put(key, rng.randbytes(size))], model)
        assert contents(flash) == model

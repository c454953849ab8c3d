"""Two slots: a new image gets one boot to prove itself."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.flash import FlashError, FlashStore, MemoryFlash
from emulator.flash.device import MemoryDevice
from emulator.flash.faulty import Cut, CutDevice, PowerCut
from emulator.flash.store import Layout
from emulator.profile import load_profile
from emulator.slots import COUNTER_KEY, KEY, Booted, Image, Return, SlotError, Slots

COMPONENTS = {"computer": "6.0", "mainboard": "1.9", "fpga": "0.7", "plc": "2.2"}
FIRMWARE = load_profile().firmware
FACTORY = Booted(FIRMWARE.version, "a", rolled_back=False)


class CountingFlash(MemoryFlash):
    """Counts writes: flash wears out."""

    __slots__ = ("puts",)

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0

    def put(self, key: str, value: bytes) -> None:
        self.puts += 1
        super().put(key, value)


def power_on(flash: FlashStore) -> Slots:
    slots = Slots(flash, FIRMWARE)
    slots.boot()
    return slots


def test_a_new_charger_boots_the_factory_image_and_writes_nothing() -> None:
    flash = CountingFlash()
    slots = power_on(flash)
    assert slots.running == FACTORY
    assert (slots.inactive, slots.pending, slots.counter) == ("b", False, FIRMWARE.security_counter)
    slots.confirm()
    slots.discard()
    assert flash.puts == 0


def test_an_installed_image_boots_next_and_stays_once_confirmed() -> None:
    flash = CountingFlash()
    slots = power_on(flash)
    slots.install("6.0", 2)
    assert (slots.running, slots.pending, slots.counter) == (FACTORY, False, 1)
    slots = power_on(flash)
    assert (slots.running, slots.pending, slots.counter) == (Booted("6.0", "b", rolled_back=False), True, 1)
    slots.confirm()
    assert (slots.pending, slots.counter, slots.inactive) == (False, 2, "a")
    puts = flash.puts
    for _ in range(3):
        assert power_on(flash).running == Booted("6.0", "b", rolled_back=False)
    assert flash.puts == puts


def test_an_image_that_does_not_prove_itself_is_given_up() -> None:
    flash = MemoryFlash()
    power_on(flash).install("6.0", 2)
    assert power_on(flash).running.version == "6.0"
    slots = power_on(flash)
    assert slots.running == Booted(FIRMWARE.version, "a", rolled_back=True)
    assert slots.counter == 1
    assert power_on(flash).running == FACTORY


def test_the_good_image_is_never_overwritten_while_the_new_one_is_on_trial() -> None:
    flash = MemoryFlash()
    power_on(flash).install("6.0", 2)
    slots = power_on(flash)
    with pytest.raises(SlotError, match="not confirmed"):
        slots.install("7.0", 2)
    with pytest.raises(SlotError, match="not confirmed"):
        slots.discard()
    slots.confirm()
    slots.install("7.0", 2)
    assert power_on(flash).running == Booted("7.0", "a", rolled_back=False)


def test_an_image_that_is_about_to_be_overwritten_does_not_boot() -> None:
    flash = MemoryFlash()
    slots = power_on(flash)
    slots.install("6.0", 2)
    slots.discard()
    assert power_on(flash).running == FACTORY


def test_slots_have_blobs_of_their_own() -> None:
    slots = power_on(MemoryFlash())
    assert slots.blob("a") != slots.blob("b")


def updated(version: str = "6.0", counter: int = 2) -> tuple[MemoryFlash, Slots]:
    """A charger that has installed, tried and confirmed an image."""
    flash = MemoryFlash()
    power_on(flash).install(version, counter, COMPONENTS)
    slots = power_on(flash)
    slots.confirm()
    return flash, slots


def test_all_components_switch_together() -> None:
    flash = MemoryFlash()
    slots = power_on(flash)
    slots.install("6.0", 2, COMPONENTS)
    assert slots.running.components == {}
    assert power_on(flash).running.components == COMPONENTS
    assert power_on(flash).running == Booted(FIRMWARE.version, "a", rolled_back=True)


def test_the_previous_image_can_be_booted_again_and_has_to_prove_itself() -> None:
    flash, slots = updated()
    assert slots.previous == Image(FIRMWARE.version, FIRMWARE.security_counter)
    assert slots.go_back(Return.PREVIOUS).version == FIRMWARE.version
    slots = power_on(flash)
    assert (slots.running, slots.pending) == (FACTORY, True)
    slots.confirm()
    assert (slots.previous, slots.inactive) == (Image("6.0", 2, COMPONENTS), "b")
    assert power_on(flash).running == FACTORY


def test_a_previous_image_that_does_not_prove_itself_is_given_up() -> None:
    flash, slots = updated()
    slots.go_back(Return.PREVIOUS)
    power_on(flash)
    assert power_on(flash).running == Booted("6.0", "b", rolled_back=True, components=COMPONENTS)


def test_the_factory_image_is_there_after_any_number_of_updates() -> None:
    flash, slots = updated()
    for number in range(3):
        slots.install(f"7.{number}", 3)
        slots = power_on(flash)
        slots.confirm()
    assert slots.previous is not None and slots.previous.version == "7.1"
    slots.go_back(Return.FACTORY)
    slots = power_on(flash)
    assert slots.running == Booted(FIRMWARE.version, "factory", rolled_back=False)
    slots.confirm()
    assert (slots.previous, slots.inactive) == (Image("7.2", 3), "b")
    with pytest.raises(SlotError, match="factory image runs already"):
        slots.go_back(Return.FACTORY)
    slots.install("8.0", 3)
    slots = power_on(flash)
    assert (slots.running.version, slots.running.slot) == ("8.0", "b")
    slots.confirm()
    assert slots.previous == slots.factory


def test_the_counter_never_goes_down() -> None:
    flash, slots = updated(counter=9)
    for target in (Return.PREVIOUS, Return.FACTORY):
        slots.go_back(target)
        slots = power_on(flash)
        slots.confirm()
        assert slots.counter == 9
    flash.delete(KEY)
    assert power_on(flash).counter == 9
    flash.put(COUNTER_KEY, b"9" * 5000)
    assert power_on(flash).counter == FIRMWARE.security_counter


def test_an_image_on_trial_does_not_raise_the_counter() -> None:
    flash = MemoryFlash()
    power_on(flash).install("6.0", 9)
    assert power_on(flash).counter == FIRMWARE.security_counter
    assert power_on(flash).counter == FIRMWARE.security_counter


def test_there_is_no_way_back_to_an_image_that_is_overwritten() -> None:
    flash, slots = updated()
    slots.discard()
    assert slots.previous is None
    for _ in range(2):
        with pytest.raises(SlotError, match="no previous image"):
            slots.go_back(Return.PREVIOUS)
        slots = power_on(flash)
    slots.install("7.0", 2)
    slots = power_on(flash)
    with pytest.raises(SlotError, match=r"7\.0 in slot a is not confirmed"):
        slots.go_back(Return.FACTORY)


def test_flash_that_takes_nothing_changes_nothing() -> None:
    flash = MemoryFlash()
    slots = power_on(flash)
    slots.install("6.0", 2)
    flash.log.reserved = flash.log.room
    for change in (lambda: slots.install("7.0", 2), slots.discard, lambda: slots.go_back(Return.FACTORY)):
        with pytest.raises(FlashError):
            change()
    assert power_on(flash).running == Booted(FIRMWARE.version, "a", rolled_back=True)  # a trial must be remembered
    flash.log.reserved = 0
    slots = power_on(flash)
    assert slots.running.version == "6.0"
    flash.log.reserved = flash.log.room
    with pytest.raises(FlashError):
        slots.confirm()
    assert slots.pending


def a_life(flash: FlashStore) -> None:
    """An update and its confirmation, an update that fails, and the way back, a power-on between each."""
    power_on(flash).install("6.0", 5, COMPONENTS)
    power_on(flash).confirm()
    slots = power_on(flash)
    slots.discard()
    slots.install("7.0", 6)
    power_on(flash)
    power_on(flash).go_back(Return.FACTORY)
    power_on(flash).confirm()


@pytest.mark.parametrize("landed", [0.0, 0.5, 1.0])
def test_whenever_the_power_fails_an_image_boots_and_the_counter_stays(landed: float) -> None:
    layout = Layout(sector_bytes=1024, log_sectors=8, slot_bytes=1024)
    counter = CutDevice(MemoryDevice(layout.sectors, sector_bytes=1024))
    a_life(FlashStore(counter, layout))
    assert counter.writes > 12
    for write in range(1, counter.writes + 1):
        device = CutDevice(MemoryDevice(layout.sectors, sector_bytes=1024), Cut(write, landed))
        with pytest.raises(PowerCut):
            a_life(FlashStore(device, layout))
        flash = FlashStore(device.device, layout)
        slots = power_on(flash)
        assert slots.running.version in (FIRMWARE.version, "6.0", "7.0")
        assert slots.running.components == (COMPONENTS if slots.running.version == "6.0" else {})
        before = slots.counter
        assert before in (FIRMWARE.security_counter, 5)
        if slots.pending:
            slots.confirm()
        assert power_on(flash).counter >= before


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.sampled_from(["a", "b", "active", "images", "pending", "tried", "6.0"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["active", "images", "pending", "tried", "a", "b", "version"]), inner)
        ),
        max_leaves=9,
    ).map(lambda value: json.dumps(value).encode())
)
def test_a_damaged_record_means_factory_state(record: bytes) -> None:
    flash = MemoryFlash()
    flash.put(KEY, record)
    assert power_on(flash).running == FACTORY

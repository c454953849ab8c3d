"""Two slots: a new image gets one boot to prove itself."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.flash import FlashError, FlashStore, MemoryFlash
from emulator.flash.device import MemoryDevice
from emulator.flash.faulty import Cut, CutDevice, PowerCut
from emulator.flash.store import Layout
from emulator.profile import load_profile
from emulator.slots import COUNTER_KEY, KEY, Booted, DamagedError, GivenUp, Image, Return, SlotError, Slots
from emulator.wire.update_reason import UpdateReason

COMPONENTS = {"computer": "6.0", "mainboard": "1.9", "fpga": "0.7", "plc": "2.2"}
FIRMWARE = load_profile().firmware
FACTORY = Booted(FIRMWARE.version, "a")


class CountingFlash(MemoryFlash):
    """Counts writes, for flash wears out, and reads of images, for they take time."""

    __slots__ = ("puts", "reads")

    def __init__(self) -> None:
        super().__init__()
        self.puts = self.reads = 0

    def put(self, key: str, value: bytes) -> None:
        self.puts += 1
        super().put(key, value)

    def blob_read(self, name: str, offset: int, size: int) -> bytes:
        self.reads += 1
        return super().blob_read(name, offset, size)


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
    slots.install(Image("6.0", 2))
    assert (slots.running, slots.pending, slots.counter) == (FACTORY, False, 1)
    slots = power_on(flash)
    assert (slots.running, slots.pending, slots.counter) == (Booted("6.0", "b"), True, 1)
    slots.confirm()
    assert (slots.pending, slots.counter, slots.inactive) == (False, 2, "a")
    puts = flash.puts
    for _ in range(3):
        assert power_on(flash).running == Booted("6.0", "b")
    assert flash.puts == puts


def test_an_image_that_does_not_prove_itself_is_given_up() -> None:
    flash = MemoryFlash()
    power_on(flash).install(Image("6.0", 2))
    assert power_on(flash).running.version == "6.0"
    slots = power_on(flash)
    assert slots.running == Booted(FIRMWARE.version, "a", GivenUp("6.0", UpdateReason.UNCONFIRMED))
    assert slots.counter == 1
    slots.told()
    assert power_on(flash).running == FACTORY


def test_the_good_image_is_never_overwritten_while_the_new_one_is_on_trial() -> None:
    flash = MemoryFlash()
    power_on(flash).install(Image("6.0", 2))
    slots = power_on(flash)
    with pytest.raises(SlotError, match="not confirmed"):
        slots.install(Image("7.0", 2))
    with pytest.raises(SlotError, match="not confirmed"):
        slots.discard()
    slots.confirm()
    slots.install(Image("7.0", 2))
    assert power_on(flash).running == Booted("7.0", "a")


def test_an_image_that_is_about_to_be_overwritten_does_not_boot() -> None:
    flash = MemoryFlash()
    slots = power_on(flash)
    slots.install(Image("6.0", 2))
    slots.discard()
    assert power_on(flash).running == FACTORY


# What was given up


def test_what_was_given_up_is_spoken_of_until_it_is_told_whoever_boots() -> None:
    flash = CountingFlash()
    power_on(flash).install(Image("6.0", 2))
    slots, given_up = power_on(flash), GivenUp("6.0", UpdateReason.UNCONFIRMED)
    for _ in range(3):  # the power fails before anybody is told
        slots = power_on(flash)
        assert (slots.running.given_up, slots.running.rolled_back, slots.pending) == (given_up, True, False)
    slots.told()
    assert slots.running.given_up == given_up  # this boot still knows why it runs
    puts = flash.puts
    slots.told()
    assert (power_on(flash).running, flash.puts) == (FACTORY, puts)


def test_the_next_trial_does_not_make_it_forgotten() -> None:
    flash = MemoryFlash()
    power_on(flash).install(Image("6.0", 2))
    power_on(flash)
    power_on(flash).install(Image("7.0", 2))
    assert power_on(flash).running == Booted("7.0", "b", GivenUp("6.0", UpdateReason.UNCONFIRMED))


# Bits that rot


def laid(slots: Slots, flash: FlashStore, version: str) -> Image:
    """An image with its bytes in the inactive slot."""
    data, blob = version.encode() * 50_000, slots.blob(slots.inactive)
    flash.blob_erase(blob)
    flash.blob_write(blob, 0, data)
    return Image(version, 2, COMPONENTS, len(data), sha256(data).hexdigest())


def updated_twice() -> tuple[MemoryFlash, Slots]:
    """A charger that runs 7.0 from slot A, with 6.0 in slot B before it."""
    flash = MemoryFlash()
    slots = power_on(flash)
    for version in ("6.0", "7.0"):
        slots.install(laid(slots, flash, version))
        slots = power_on(flash)
        slots.confirm()
    return flash, slots


def rot(flash: FlashStore, slot: str, at: int) -> None:
    (byte,) = flash.blob_read(f"firmware.{slot}", at, 1)
    flash.blob_write(f"firmware.{slot}", at, bytes((byte ^ 0x10,)))


@pytest.mark.parametrize("at", [0, 70_000, 149_999])
def test_a_new_image_with_one_bit_that_has_rotted_does_not_boot(at: int) -> None:
    flash = MemoryFlash()
    slots = power_on(flash)
    slots.install(laid(slots, flash, "6.0"))
    rot(flash, "b", at)
    slots = power_on(flash)
    given_up = GivenUp("6.0", UpdateReason.DAMAGED)
    assert (slots.running, slots.pending) == (Booted(FIRMWARE.version, "a", given_up), False)
    slots.told()
    assert power_on(flash).running == FACTORY
    slots = power_on(flash)
    slots.install(laid(slots, flash, "6.0"))
    assert power_on(flash).running.version == "6.0"


@pytest.mark.parametrize("size_bytes", [0, 1, 149_999, 150_001])
def test_nor_does_one_of_another_length(size_bytes: int) -> None:
    flash = MemoryFlash()
    slots = power_on(flash)
    slots.install(laid(slots, flash, "6.0"))
    flash.blob_erase("firmware.b")
    flash.blob_write("firmware.b", 0, (b"6.0" * 50_001)[:size_bytes])
    assert power_on(flash).running.given_up == GivenUp("6.0", UpdateReason.DAMAGED)


def test_an_image_is_hashed_when_it_is_on_trial_and_at_no_other_boot() -> None:
    flash = CountingFlash()
    slots = power_on(flash)
    slots.install(laid(slots, flash, "6.0"))
    assert flash.reads == 0
    slots = power_on(flash)
    assert flash.reads == 3
    slots.confirm()
    rot(flash, "b", 9)
    flash.reads = puts = flash.puts = 0
    for _ in range(3):
        assert power_on(flash).running == Booted("6.0", "b", None, COMPONENTS)
    assert (flash.reads, flash.puts) == (0, puts)


def test_there_is_no_way_back_to_an_image_that_has_rotted() -> None:
    flash, slots = updated_twice()
    rot(flash, "b", 9)
    with pytest.raises(DamagedError, match=r"6\.0 in slot b is not what was installed"):
        slots.go_back(Return.PREVIOUS)
    assert power_on(flash).running.version == "7.0"
    assert slots.go_back(Return.FACTORY).version == FIRMWARE.version  # read-only, and always good


def test_it_may_rot_between_the_command_and_the_boot() -> None:
    flash, slots = updated_twice()
    slots.go_back(Return.PREVIOUS)
    rot(flash, "b", 9)
    assert power_on(flash).running == Booted("7.0", "a", GivenUp("6.0", UpdateReason.DAMAGED), COMPONENTS)


def test_slots_have_blobs_of_their_own() -> None:
    slots = power_on(MemoryFlash())
    assert slots.blob("a") != slots.blob("b")


def updated(version: str = "6.0", counter: int = 2) -> tuple[MemoryFlash, Slots]:
    """A charger that has installed, tried and confirmed an image."""
    flash = MemoryFlash()
    power_on(flash).install(Image(version, counter, COMPONENTS))
    slots = power_on(flash)
    slots.confirm()
    return flash, slots


def test_all_components_switch_together() -> None:
    flash = MemoryFlash()
    slots = power_on(flash)
    slots.install(Image("6.0", 2, COMPONENTS))
    assert slots.running.components == {}
    assert power_on(flash).running.components == COMPONENTS
    assert power_on(flash).running == Booted(FIRMWARE.version, "a", GivenUp("6.0", UpdateReason.UNCONFIRMED))


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
    assert power_on(flash).running == Booted(
        "6.0", "b", GivenUp(FIRMWARE.version, UpdateReason.UNCONFIRMED), COMPONENTS
    )


def test_the_factory_image_is_there_after_any_number_of_updates() -> None:
    flash, slots = updated()
    for number in range(3):
        slots.install(Image(f"7.{number}", 3))
        slots = power_on(flash)
        slots.confirm()
    assert slots.previous is not None and slots.previous.version == "7.1"
    slots.go_back(Return.FACTORY)
    slots = power_on(flash)
    assert slots.running == Booted(FIRMWARE.version, "factory")
    slots.confirm()
    assert (slots.previous, slots.inactive) == (Image("7.2", 3), "b")
    with pytest.raises(SlotError, match="factory image runs already"):
        slots.go_back(Return.FACTORY)
    slots.install(Image("8.0", 3))
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
    power_on(flash).install(Image("6.0", 9))
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
    slots.install(Image("7.0", 2))
    slots = power_on(flash)
    with pytest.raises(SlotError, match=r"7\.0 in slot a is not confirmed"):
        slots.go_back(Return.FACTORY)


def test_flash_that_takes_nothing_changes_nothing() -> None:
    flash = MemoryFlash()
    slots = power_on(flash)
    slots.install(Image("6.0", 2))
    flash.log.reserved = flash.log.room
    for change in (lambda: slots.install(Image("7.0", 2)), slots.discard, lambda: slots.go_back(Return.FACTORY)):
        with pytest.raises(FlashError):
            change()
    given_up = GivenUp("6.0", UpdateReason.FLASH)
    assert power_on(flash).running == Booted(FIRMWARE.version, "a", given_up)  # a trial must be remembered
    flash.log.reserved = 0
    slots = power_on(flash)
    assert slots.running.version == "6.0"
    flash.log.reserved = flash.log.room
    with pytest.raises(FlashError):
        slots.confirm()
    assert slots.pending


def a_life(flash: FlashStore) -> None:
    """An update and its confirmation, an update that fails, and the way back, a power-on between each."""
    power_on(flash).install(Image("6.0", 5, COMPONENTS))
    power_on(flash).confirm()
    slots = power_on(flash)
    slots.discard()
    slots.install(Image("7.0", 6))
    power_on(flash)
    slots = power_on(flash)
    slots.told()
    slots.go_back(Return.FACTORY)
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

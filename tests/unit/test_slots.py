"""Two slots: a new image gets one boot to prove itself."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.flash import MemoryFlash
from emulator.profile import load_profile
from emulator.slots import KEY, Booted, SlotError, Slots

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


def power_on(flash: MemoryFlash) -> Slots:
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

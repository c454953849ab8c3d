"""Both kinds of chip keep the same promises."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.flash import Flash, FlashError, FlashReason, FlashStore, MemoryFlash, kept
from emulator.flash.device import MemoryDevice
from emulator.flash.records import KEY_MAX_BYTES
from emulator.flash.store import STANDARD, Layout, file_flash
from emulator.remote import produced_flash

MakeFlash = Callable[[], Flash]
SLOTS = Layout(slot_bytes=100_000)


@pytest.fixture(params=["memory", "file"])
def make_flash(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeFlash]:
    """Opens the same storage each time, as a reboot does."""
    device = MemoryDevice(SLOTS.sectors)
    with ExitStack() as opened:

        def from_file() -> Flash:
            opened.pop_all().close()
            return opened.enter_context(file_flash(tmp_path / "flash", SLOTS))

        yield from_file if request.param == "file" else lambda: FlashStore(device, SLOTS)


def test_values_survive_a_reboot(make_flash: MakeFlash) -> None:
    make_flash().put("outbox/1", b"one")
    make_flash().put("outbox/2", b"two")
    make_flash().put("other", b"")
    make_flash().put("outbox/1", b"uno")
    flash = make_flash()
    assert flash.get("outbox/1") == b"uno"
    assert flash.get("other") == b""
    assert flash.keys("outbox/") == ["outbox/1", "outbox/2"]
    assert flash.keys() == ["other", "outbox/1", "outbox/2"]
    flash.delete("outbox/1")
    flash.delete("outbox/1")
    assert make_flash().get("outbox/1") is None
    assert make_flash().keys("outbox") == ["outbox/2"]


def test_a_value_may_take_many_sectors(make_flash: MakeFlash) -> None:
    value = bytes(range(256)) * 1024
    make_flash().put("manifest", value)
    assert make_flash().get("manifest") == value
    make_flash().put("manifest", value[1:])
    assert make_flash().get("manifest") == value[1:]


def test_a_blob_is_written_piece_by_piece(make_flash: MakeFlash) -> None:
    flash, slot = make_flash(), "firmware.b"
    assert (flash.blob_size(slot), flash.blob_read(slot, 0, 10)) == (0, b"")
    flash.blob_write(slot, 0, b"0123456789")
    flash.blob_write(slot, 4, b"xy")
    flash.blob_write(slot, 12, b"end")
    flash = make_flash()
    assert flash.blob_read(slot, 0, 100) == b"0123xy6789\0\0end"
    assert flash.blob_read(slot, 10, 3) == b"\0\0e"
    assert flash.blob_read(slot, 99, 3) == b""
    assert flash.blob_size(slot) == 15
    flash.blob_erase(slot)
    flash.blob_erase(slot)
    assert make_flash().blob_size(slot) == 0


class SeenDevice(MemoryDevice):
    """Remembers what it is told to write."""

    def __init__(self, sectors: int) -> None:
        super().__init__(sectors)
        self.seen: list[tuple[str, int]] = []

    def program(self, address: int, data: bytes) -> None:
        self.seen.append(("program", address // self.sector_bytes))
        super().program(address, data)

    def erase(self, sector: int) -> None:
        self.seen.append(("erase", sector))
        super().erase(sector)


def test_a_block_is_written_once_to_each_sector_in_order() -> None:
    device = SeenDevice(SLOTS.sectors)
    flash = FlashStore(device, SLOTS)
    first = SLOTS.start("firmware.b") // 4096
    flash.blob_write("firmware.b", 0, bytes(65_536))
    assert [write for write in device.seen if write[1] >= first] == [("program", first + n) for n in range(16)]
    assert device.seen.index(("program", first + 15)) < len(device.seen) - 1, "its size is told before it is there"
    flash.blob_erase("firmware.b")
    device.seen.clear()
    flash.blob_write("firmware.b", 0, b"new!" * 16_384)
    both = [(what, first + n) for n in range(16) for what in ("erase", "program")]
    assert [write for write in device.seen if write[1] >= first] == both


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 70_000])
def test_a_blob_goes_over_what_an_older_one_has_left(make_flash: MakeFlash, offset: int) -> None:
    flash = make_flash()
    flash.blob_write("firmware.a", 0, b"old" * 30_000)
    flash.blob_write("firmware.b", 0, b"other")
    flash.blob_erase("firmware.a")
    flash.blob_write("firmware.a", offset, b"new" * 5000)
    flash.blob_write("firmware.a", offset + 15_000, b"more" * 2000)
    flash = make_flash()
    assert flash.blob_read("firmware.a", 0, 200_000) == bytes(offset) + b"new" * 5000 + b"more" * 2000
    assert flash.blob_read("firmware.b", 0, 200_000) == b"other"


def test_values_and_blobs_do_not_share_names(make_flash: MakeFlash) -> None:
    flash = make_flash()
    flash.put("firmware.a", b"value")
    flash.blob_write("firmware.a", 0, b"blob")
    assert (flash.get("firmware.a"), flash.blob_read("firmware.a", 0, 9)) == (b"value", b"blob")
    assert flash.keys() == ["firmware.a"]


def test_a_blob_ends_where_its_partition_ends(make_flash: MakeFlash) -> None:
    flash = make_flash()
    flash.blob_write("firmware.a", 0, b"x" * 100_000)
    with pytest.raises(FlashError, match=r"full: firmware\.a: 100001 bytes; 100000 fit"):
        flash.blob_write("firmware.a", 100_000, b"x")
    assert flash.blob_size("firmware.a") == 100_000
    for unknown in ("firmware.c", ""):
        with pytest.raises(KeyError):
            flash.blob_write(unknown, 0, b"x")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=20, alphabet=st.characters(exclude_categories=["Cs"])), st.binary(max_size=9)))
def test_any_text_is_a_key(make_flash: MakeFlash, values: dict[str, bytes]) -> None:
    wanted = {key: value for key, value in values.items() if not key.startswith("\0")}
    flash = make_flash()
    for key in flash.keys(""):
        flash.delete(key)
    for key, value in wanted.items():
        flash.put(key, value)
    assert {key: flash.get(key) for key in flash.keys("")} == wanted


@pytest.mark.parametrize("key", ["k" * (KEY_MAX_BYTES + 1), "\0hidden"])
def test_a_key_that_cannot_be_is_a_mistake_of_the_caller(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        MemoryFlash().put(key, b"")


def test_full_flash_says_so_and_loses_nothing(make_flash: MakeFlash) -> None:
    flash, held = make_flash(), dict[str, bytes]()
    with pytest.raises(FlashError) as full:
        for number in range(10_000):
            flash.put(f"session/{number:08d}", value := b"%d" % number * 300)
            held[f"session/{number:08d}"] = value
    assert full.value.reason is FlashReason.FULL
    assert sum(map(len, held.values())) > 500_000
    assert not kept(flash, "setting/510", b"16" * 5000)
    for reopened in (flash, make_flash()):
        assert {key: reopened.get(key) for key in reopened.keys("")} == held
    flash = make_flash()
    for key in held:
        flash.delete(key)
    assert kept(flash, "setting/510", b"16" * 5000)


def test_what_is_full_can_be_emptied_and_filled_again_for_ever() -> None:
    small = Layout(sector_bytes=512, log_sectors=8, slot_bytes=512)
    flash = MemoryFlash(small)
    for turn in range(20):
        keys = [f"{turn}/{number}" for number in range(100)]
        fitted = [key for key in keys if kept(flash, key, b"v" * 50)]
        assert len(fitted) >= 24
        for key in fitted[turn % 2 :: 2] + fitted[1 - turn % 2 :: 2]:
            flash.delete(key)


def test_a_flipped_bit_costs_one_value() -> None:
    flash = MemoryFlash()
    for number in range(5):
        flash.put(str(number), b"value %d" % number)
    image = flash.image()
    spoiled = bytearray(image[0])
    spoiled[spoiled.index(b"value 2")] ^= 1
    after = MemoryFlash(shared={**image, 0: bytes(spoiled)})
    assert [after.get(str(number)) for number in range(5)] == [b"value 0", b"value 1", None, b"value 3", b"value 4"]
    after.put("2", b"again")
    assert MemoryFlash(shared=after.image()).keys() == ["0", "1", "2", "3", "4"]


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.integers(0, 5), st.binary(max_size=600)),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255))),
)
def test_whatever_is_on_the_chip_can_be_mounted_and_used(
    garbage: dict[int, bytes], flips: list[tuple[int, int]]
) -> None:
    layout = Layout(sector_bytes=512, log_sectors=6, slot_bytes=512)
    before = MemoryFlash(layout)
    for number in range(12):
        before.put(str(number % 5), b"%d" % number * 40)
    image = {sector: bytearray(held.ljust(512, b"\xff")) for sector, held in before.image().items()}
    for at, value in flips:
        if at // 512 in image:
            image[at // 512][at % 512] = value
    mixed = {number: bytes(held) for number, held in image.items()} | {n: held[:512] for n, held in garbage.items()}
    device = MemoryDevice(layout.sectors, sector_bytes=512, shared=mixed)
    flash = FlashStore(device, layout)
    for key in flash.keys(""):
        flash.delete(key)
    flash.put("new", b"value")
    assert FlashStore(device, layout).get("new") == b"value"
    assert FlashStore(device, layout).keys() == ["new"]


def test_an_empty_memory_flash_costs_next_to_nothing() -> None:
    tracemalloc.start()
    fleet = [MemoryFlash() for _ in range(1000)]
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / len(fleet) < 2048


def test_chargers_of_one_production_share_their_bundle() -> None:
    bundle = b"PEM" * 5000
    first = produced_flash(bundle)
    tracemalloc.start()
    fleet = [produced_flash(bundle) for _ in range(1000)]
    for flash in fleet:
        flash.put("lease", b'{"address": "10.20.30.40"}')
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / len(fleet) < 5000
    assert first.keys() == ["trust.bundle"] and fleet[0].keys() == ["lease", "trust.bundle"]
    assert fleet[-1].get("trust.bundle") == bundle
    fleet[0].delete("trust.bundle")
    assert (fleet[0].get("trust.bundle"), fleet[1].get("trust.bundle")) == (None, bundle)


def test_the_standard_chip_holds_three_images_of_a_slot() -> None:
    assert STANDARD.sectors * STANDARD.sector_bytes == 2**20 + 3 * 2**26

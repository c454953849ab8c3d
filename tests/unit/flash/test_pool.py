"""Chargers of one process that install the same image hold it once, and yet each has a chip of its own."""

import tracemalloc

from emulator.flash import MemoryFlash, SectorPool
from emulator.flash.device import MemoryDevice
from emulator.flash.faulty import Cut, CutDevice, until_cut
from emulator.flash.store import Layout

LAYOUT = Layout(slot_bytes=1 << 20)
IMAGE = b"".join(number.to_bytes(4, "little") for number in range(1 << 18))


def install(flash: MemoryFlash, image: bytes = IMAGE, name: str = "firmware.b") -> None:
    """Block by block, each from bytes of its own, as they come from the network."""
    for offset in range(0, len(image), 65_536):
        flash.blob_write(name, offset, bytes(bytearray(image[offset : offset + 65_536])))


def test_an_image_that_many_install_is_held_once() -> None:
    pool = SectorPool()
    fleet = [MemoryFlash(LAYOUT, pool=pool) for _ in range(20)]
    tracemalloc.start()
    for flash in fleet:
        install(flash)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 2 * len(IMAGE)
    assert all(flash.blob_read("firmware.b", 0, len(IMAGE)) == IMAGE for flash in fleet)


def test_what_one_charger_changes_is_its_own() -> None:
    pool = SectorPool()
    one, other = (MemoryFlash(LAYOUT, pool=pool) for _ in range(2))
    install(one)
    install(other)
    one.blob_write("firmware.b", 5000, b"changed")
    one.blob_erase("firmware.b")
    install(one, bytes(len(IMAGE)))
    assert other.blob_read("firmware.b", 0, len(IMAGE)) == IMAGE
    assert one.blob_read("firmware.b", 0, len(IMAGE)) == bytes(len(IMAGE))


def test_a_write_that_the_power_cuts_is_torn_on_one_chip_alone() -> None:
    pool = SectorPool()
    whole, chip = (MemoryDevice(4, pool=pool) for _ in range(2))
    whole.program(0, IMAGE[:4096])
    with until_cut():
        CutDevice(chip, Cut(1, 0.5)).program(0, IMAGE[:4096])
    assert chip.read(0, 4096) == IMAGE[:2048] + b"\xff" * 2048
    assert whole.read(0, 4096) == IMAGE[:4096]


def test_values_do_not_fill_the_pool() -> None:
    pool = SectorPool()
    flash = MemoryFlash(LAYOUT, pool=pool)
    for number in range(2000):
        flash.put(f"outbox/{number % 7}", b"%06d" % number * 8)
    assert len(pool) == 0


def test_of_too_many_sectors_those_go_that_nobody_asked_for() -> None:
    pool = SectorPool(sectors_max=2)
    first, second, third = (bytes((number,)) * 4096 for number in range(3))
    assert pool.one_of(first) is first
    pool.one_of(second)
    assert pool.one_of(bytes(bytearray(first))) is first
    pool.one_of(third)
    assert len(pool) == 2
    again = bytes(bytearray(second))
    assert pool.one_of(again) is again
    assert pool.one_of(bytes(bytearray(third))) is third

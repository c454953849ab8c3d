"""A world with many chargers: what they all install lies in memory once."""

import asyncio
import tracemalloc

from emulator.clock import SimLoop
from emulator.world import WorldOptions, load_world

IMAGE = b"".join(number.to_bytes(4, "little") for number in range(1 << 16))


def test_chargers_that_install_the_same_image_hold_it_once() -> None:
    async def tell() -> int:
        lab = load_world("sim", WorldOptions(seed=1))
        await lab.start()
        try:
            fleet = [lab.produce(f"ZPR{number:06}")[1].flash for number in range(8)]
            tracemalloc.start()
            for flash in fleet:
                flash.blob_write("firmware.b", 0, bytes(bytearray(IMAGE)))
            used, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert all(flash.blob_read("firmware.b", 0, len(IMAGE)) == IMAGE for flash in fleet)
            return used
        finally:
            await lab.close()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        assert runner.run(tell()) < 2 * len(IMAGE)

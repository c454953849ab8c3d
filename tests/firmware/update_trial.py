"""One update of a whole charger, in the whole simulated cloud, that is cut once and has to end well all the same."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from cloud_stub.firmware.offer import Offer
from cloud_stub.hub.methods import MethodError
from cloud_stub.worlds import SimWorld
from emulator.clock import SimLoop
from emulator.device.charger import Charger
from emulator.flash import MemoryFlash
from emulator.flash.faulty import Cut, CutDevice
from emulator.flash.store import Layout
from emulator.slots import Slots
from emulator.trace import TraceEvent
from emulator.wire.firmware_keys import FirmwareKeys, sign, verify
from emulator.wire.payload import check_image
from emulator.wire.update_reason import FirmwareError
from emulator.world import WorldOptions, load_world
from tests.firmware.cut_host import CutHost

SERIAL = "ZPR000001"
OLD, NEW = "5.4.0.0", "5.5.0.0"
IMAGE_BYTES = 4 * 65_536 + 17
CHANGES: Mapping[str, Any] = {"firmware.range_blocks": 2}
"""Two ranges for so small an image."""
OFF_S = 10.0
ORDER_AGAIN_S = 120.0
WITHIN_S = 7200.0


@dataclass
class Trial:
    """A charger whose flash holds OLD, installed and confirmed, and a cloud that offers NEW."""

    world: SimWorld
    charger: Charger
    host: CutHost
    boots: list[tuple[str, bool]] = field(default_factory=list)
    """Version of each boot, and whether its slot holds that release: see `genuine`."""
    orders: int = 0

    @property
    def flash(self) -> MemoryFlash:
        flash = self.charger.env.flash
        assert isinstance(flash, MemoryFlash)
        return flash

    @property
    def done(self) -> bool:
        """NEW runs, is relied on, and the charger is online."""
        snapshot = self.charger.snapshot()
        return snapshot.online and snapshot.firmware == NEW and not snapshot.updating and self.relied_on() == NEW

    def relied_on(self) -> str:
        return Slots(self.flash, self.charger.spec.profile.firmware).running.version

    async def order(self) -> None:
        """Command 201. A call that is lost on the way is no answer."""
        self.orders += 1
        with suppress(MethodError):
            await self.world.command(SERIAL, 201)

    async def until_online(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not self.charger.snapshot().online:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.1)

    async def finish(self, within_s: float = WITHIN_S) -> None:
        """Order the update, and once more whenever nothing goes on any more, until NEW is confirmed."""
        loop = asyncio.get_running_loop()
        again = 0.0
        async with asyncio.timeout(within_s):
            while not self.done:
                if loop.time() >= again:
                    again = loop.time() + ORDER_AGAIN_S
                    await self.order()
                await asyncio.sleep(1.0)

    def see(self, event: TraceEvent) -> None:
        if event.name == "device.power_on":
            version = event.data["firmware"]
            self.boots.append((version, self.genuine(version, f"firmware.{event.data['slot']}")))

    def genuine(self, version: str, blob: str) -> bool:
        """Whether these bytes, no more and no fewer, are the image of a manifest of this version whose signature holds
        by the key that the charger was born with."""
        if version not in papers():
            return False
        keys, size = FirmwareKeys((self.charger.spec.firmware_key_pem,)), self.flash.blob_size(blob)
        try:
            manifest = verify(*papers()[version], keys)
            blocks = range(0, size, manifest.block_bytes)
            check_image(manifest, (self.flash.blob_read(blob, at, manifest.block_bytes) for at in blocks))
        except FirmwareError:
            return False
        return (manifest.version, manifest.size_bytes) == (version, size)


@cache
def papers() -> Mapping[str, tuple[bytes, bytes]]:
    """Manifest and signature of OLD and NEW, as the cloud hands them out."""
    found: dict[str, tuple[bytes, bytes]] = {}

    async def story(trial: Trial) -> None:
        shelf = trial.world.cloud.firmware.shelf
        for version in (OLD, NEW):
            stock = shelf.get(Offer(version, size_bytes=IMAGE_BYTES))
            found[version] = (stock.manifest, sign(stock.manifest, shelf.signers[stock.signer]))

    _play(story, None, None, lambda trial: False)
    return found


@cache
def _flash_with_the_old_image() -> dict[int, bytes]:
    """What the chip holds after a first update to OLD."""
    held: dict[int, bytes] = {}

    async def story(trial: Trial) -> None:
        trial.world.cloud.firmware.offer(OLD, size_bytes=IMAGE_BYTES)
        await trial.until_online()
        await trial.order()
        async with asyncio.timeout(WITHIN_S):
            while trial.relied_on() != OLD or not trial.charger.snapshot().online:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(1.0)
        held.update(trial.flash.image())

    _play(story, None, None, lambda trial: False)
    return held


def play(
    story: Callable[[Trial], Awaitable[None]],
    at_event: int | None = None,
    on_event: Callable[[Trial], bool] = lambda trial: False,
) -> Trial:
    """Tell a story of the update from OLD to NEW; `at_event` and `on_event` are of the `CutHost`."""

    async def offered(trial: Trial) -> None:
        trial.world.cloud.firmware.offer(NEW, size_bytes=IMAGE_BYTES)
        await trial.until_online()
        await story(trial)

    papers()
    return _play(offered, _flash_with_the_old_image(), at_event, on_event)


def _play(
    story: Callable[[Trial], Awaitable[None]],
    held: dict[int, bytes] | None,
    at_event: int | None,
    on_event: Callable[[Trial], bool],
) -> Trial:
    made: list[Trial] = []

    def see(event: TraceEvent) -> None:
        if made and held is not None:
            made[0].see(event)

    lab = load_world("sim", WorldOptions(seed=1, sinks=(see,)))
    assert isinstance(lab, SimWorld)

    async def tell() -> None:
        try:
            await lab.start()
            spec, env = lab.produce(SERIAL, CHANGES)
            if held is not None:
                env = replace(env, flash=MemoryFlash(Layout(slot_bytes=spec.profile.firmware.slot_bytes), shared=held))
            host = CutHost(env.host, at_event, lambda: on_event(made[0]))
            trial = Trial(lab, Charger(spec, replace(env, host=host)), host)
            made.append(trial)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(trial.charger.run())
                try:
                    await story(trial)
                finally:
                    running.cancel()
        finally:
            await lab.close()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(tell())
    return made[0]


def lose_power(trial: Trial) -> bool:
    """The mains are gone for `OFF_S`."""

    def restore() -> None:
        trial.host.revive()
        trial.charger.restore_power()

    trial.charger.cut_power()
    asyncio.get_running_loop().call_later(OFF_S, restore)
    return True


def lose_power_at_write(trial: Trial, cut: Cut) -> CutDevice:
    """The mains are gone for `OFF_S` in the middle of a write to flash. The chip counts the writes up to there."""
    chip = trial.flash.device

    def revive() -> None:
        trial.flash.device = chip
        trial.charger.restore_power()

    def die() -> None:
        trial.charger.cut_power()
        asyncio.get_running_loop().call_later(OFF_S, revive)

    dying = trial.flash.device = CutDevice(chip, cut, die)
    return dying

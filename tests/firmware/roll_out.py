"""Whole chargers that are online in the simulated cloud, and campaigns about them. All of it in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from cloud_stub.firmware.campaign import State
from cloud_stub.firmware.campaigns import Campaigns
from cloud_stub.firmware.member import Member, Standing
from cloud_stub.worlds import SimWorld
from emulator.clock import SimLoop
from emulator.device.charger import Charger
from emulator.world import WorldOptions, load_world

CAMPAIGN = "roll-out"
ONLINE_S = 120.0
EVERYBODY = 1_000


@dataclass(frozen=True)
class Site:
    """What a story is about."""

    world: SimWorld
    chargers: dict[str, Charger]
    campaigns: Campaigns

    def members(self, standing: Standing | None = None) -> list[Member]:
        """The chargers of the campaign that stand so."""
        return self.campaigns.page(CAMPAIGN, after="", standing=standing, limit=EVERYBODY)

    def standing(self, standing: Standing) -> set[str]:
        """Their serials."""
        return {member.serial for member in self.members(standing)}

    @property
    def state(self) -> State:
        """How the campaign is."""
        return self.campaigns.get(CAMPAIGN).course.state


def serials(count: int) -> tuple[str, ...]:
    """The first of the production."""
    return tuple(f"ZPR{number:06}" for number in range(1, count + 1))


def with_chargers(
    story: Callable[[Site], Awaitable[None]], produced: Sequence[str], *, worn: Collection[str] = ()
) -> None:
    """Tell a story of chargers that are online, those of `worn` with flash that takes nothing any more."""
    world = load_world("sim", WorldOptions(seed=1))
    assert isinstance(world, SimWorld)

    async def tell() -> None:
        try:
            await world.start()
            chargers = {serial: Charger(*world.produce(serial)) for serial in produced}
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(charger.run()) for charger in chargers.values()]
                try:
                    await asyncio.sleep(ONLINE_S)
                    for serial in worn:
                        chargers[serial].inject({"kind": "device.flash_worn"})
                    await story(Site(world, chargers, world.cloud.campaigns))
                finally:
                    for task in running:
                        task.cancel()
        finally:
            await world.close()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(tell())

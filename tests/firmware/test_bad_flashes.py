"""A campaign over whole chargers, some of which cannot write their flash: it halts, and the others run on."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from cloud_stub.firmware.campaign import Action, Limit, Plan, State, Targets
from cloud_stub.firmware.campaigns import Campaigns
from cloud_stub.firmware.member import Standing
from cloud_stub.firmware.offer import Offer
from cloud_stub.worlds import SimWorld
from emulator.clock import SimLoop
from emulator.device.charger import Charger
from emulator.world import WorldOptions, load_world
from tests.firmware.attack import NEW, RUNS, SMALL

SERIALS = tuple(f"ZPR{number:06}" for number in range(1, 31))
WORN = SERIALS[::5]
LIMIT = Limit(failure_share=0.1, count_min=5)
CAMPAIGN = "roll-out"
UPDATE_S = 60.0

Story = Callable[[Campaigns, dict[str, Charger]], Awaitable[None]]


def with_chargers(story: Story, worn: Collection[str]) -> None:
    """Tell a story of thirty chargers that are online, those of `worn` with flash that takes nothing any more."""
    lab = load_world("sim", WorldOptions(seed=1))
    assert isinstance(lab, SimWorld)

    async def tell() -> None:
        try:
            await lab.start()
            chargers = {serial: Charger(*lab.produce(serial)) for serial in SERIALS}
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(charger.run()) for charger in chargers.values()]
                try:
                    await asyncio.sleep(120)
                    for serial in worn:
                        chargers[serial].inject({"kind": "device.flash_worn"})
                    await story(lab.cloud.campaigns, chargers)
                finally:
                    for task in running:
                        task.cancel()
        finally:
            await lab.close()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(tell())


def standing(campaigns: Campaigns, wanted: Standing) -> list[str]:
    return [member.serial for member in campaigns.page(CAMPAIGN, after="", standing=wanted, limit=100)]


PLAN = Plan(Offer(NEW, size_bytes=SMALL), Targets(SERIALS), limit=LIMIT, command=201, calls_per_s=0.1)


def test_a_campaign_over_chargers_with_bad_flash_halts_and_leaves_the_rest_alone() -> None:
    async def story(campaigns: Campaigns, chargers: dict[str, Charger]) -> None:
        await campaigns.begin(PLAN, CAMPAIGN)
        await asyncio.sleep(len(SERIALS) / PLAN.calls_per_s + UPDATE_S)
        assert campaigns.get(CAMPAIGN).course.state is State.HALTED
        failed, installed = standing(campaigns, Standing.FAILED), standing(campaigns, Standing.INSTALLED)
        untouched = standing(campaigns, Standing.OFFERED)
        assert failed and set(failed) <= set(WORN)
        assert len(failed) + len(installed) >= LIMIT.count_min
        assert len(untouched) == len(SERIALS) - len(failed) - len(installed) > 0
        members = campaigns.page(CAMPAIGN, after="", standing=Standing.FAILED, limit=100)
        assert {member.reason for member in members} == {"flash"}
        for serial, charger in chargers.items():
            assert charger.snapshot().online, serial
            assert charger.snapshot().firmware == (NEW if serial in installed else RUNS), serial

        for _ in range(len(SERIALS)):
            if campaigns.get(CAMPAIGN).course.state is State.HALTED:
                campaigns.act(CAMPAIGN, Action.RESUME)
            await asyncio.sleep(UPDATE_S)
        assert campaigns.get(CAMPAIGN).course.state is State.COMPLETED
        assert set(standing(campaigns, Standing.FAILED)) == set(WORN)
        assert all(charger.snapshot().online for charger in chargers.values())

    with_chargers(story, WORN)


def test_a_campaign_over_good_chargers_completes() -> None:
    async def story(campaigns: Campaigns, chargers: dict[str, Charger]) -> None:
        await campaigns.begin(PLAN, CAMPAIGN)
        await asyncio.sleep(len(SERIALS) / PLAN.calls_per_s + UPDATE_S)
        assert campaigns.get(CAMPAIGN).course.state is State.COMPLETED
        assert {charger.snapshot().firmware for charger in chargers.values()} == {NEW}

    with_chargers(story, ())

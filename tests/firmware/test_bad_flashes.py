"""A campaign over 200 whole chargers, 2 % of which cannot write their flash: it halts, and the others run on."""

import asyncio
from collections.abc import Collection
from dataclasses import replace

from cloud_stub.firmware.campaign import Action, Limit, Plan, State
from cloud_stub.firmware.member import Standing
from cloud_stub.firmware.offer import Offer
from tests.firmware.attack import NEW, RUNS, SMALL
from tests.firmware.roll_out import CAMPAIGN, Site, serials, with_chargers

CHARGERS = 200
SERIALS = serials(CHARGERS)
WORN = frozenset(SERIALS[25::50])
LIMIT = Limit(failure_share=0.02, count_min=50)
AT_ONCE = Plan(Offer(NEW, size_bytes=SMALL), limit=LIMIT, command=201, calls_per_s=1_000)
UPDATE_S = 60.0
"""More than an update takes, reboot included, however many there are."""


def test_two_hundred_at_once_halt_as_configured_and_all_end() -> None:
    """Bad flash fails at once and good flash takes its time, so all four have failed when the 50th charger is done."""

    async def story(site: Site) -> None:
        await site.campaigns.begin(AT_ONCE, CAMPAIGN)
        await asyncio.sleep(UPDATE_S)
        course = site.campaigns.get(CAMPAIGN).course
        assert (course.state, course.reason) == (State.HALTED, "4 of 50 chargers failed")
        assert site.standing(Standing.FAILED) == WORN, "what had begun was left to end"
        assert site.standing(Standing.INSTALLED) == set(SERIALS) - WORN
        assert {member.reason for member in site.members(Standing.FAILED)} == {"flash"}
        assert_online(site, new=set(SERIALS) - WORN)
        site.campaigns.act(CAMPAIGN, Action.RESUME)
        assert site.state is State.COMPLETED, "the failures are forgiven, and nobody is left"

    with_chargers(story, SERIALS, worn=WORN)


def test_one_after_the_other_it_halts_and_leaves_the_rest_alone() -> None:
    async def story(site: Site) -> None:
        await site.campaigns.begin(replace(AT_ONCE, calls_per_s=2.0), CAMPAIGN)
        await asyncio.sleep(CHARGERS)
        failed, installed, untouched = map(site.standing, (Standing.FAILED, Standing.INSTALLED, Standing.OFFERED))
        assert site.state is State.HALTED
        assert failed and failed < WORN
        assert len(failed) + len(installed) >= LIMIT.count_min
        assert len(untouched) == CHARGERS - len(failed) - len(installed) > CHARGERS / 3
        assert_online(site, new=installed)

        while site.state is State.HALTED:
            site.campaigns.act(CAMPAIGN, Action.RESUME)
            await asyncio.sleep(CHARGERS)
        assert site.state is State.COMPLETED
        assert site.standing(Standing.FAILED) == WORN
        assert_online(site, new=set(SERIALS) - WORN)

    with_chargers(story, SERIALS, worn=WORN)


def test_a_campaign_over_good_chargers_completes() -> None:
    few = SERIALS[:30]

    async def story(site: Site) -> None:
        await site.campaigns.begin(AT_ONCE, CAMPAIGN)
        await asyncio.sleep(UPDATE_S)
        assert site.state is State.COMPLETED
        assert_online(site, new=few)

    with_chargers(story, few)


def assert_online(site: Site, *, new: Collection[str]) -> None:
    """Everybody is online, those with the new firmware and the others."""
    for serial, charger in site.chargers.items():
        seen = charger.snapshot()
        assert (seen.online, seen.firmware) == (True, NEW if serial in new else RUNS), serial

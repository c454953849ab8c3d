"""What people do to a campaign over whole chargers at the worst moment, and campaigns that are not where the hub is."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from cloud_stub.campaigns_afar import CampaignsAfar, methods_afar
from cloud_stub.firmware.campaign import Action, Plan, State
from cloud_stub.firmware.campaign_table import CampaignTable
from cloud_stub.firmware.campaigns import Campaigns
from cloud_stub.firmware.member import Number, Standing
from cloud_stub.firmware.offer import Offer
from cloud_stub.firmware.targets import serials_for
from cloud_stub.hearing import Hearing
from cloud_stub.store import Store
from cloud_stub.worlds import SIM_EPOCH, SimWorld
from tests.firmware.attack import NEW, OVER_A_RANGE, RUNS, SMALL
from tests.firmware.roll_out import CAMPAIGN, Site, serials, with_chargers

FEW = serials(10)
PLAN = Plan(Offer(NEW, size_bytes=SMALL), command=201, calls_per_s=1_000)
UPDATE_S = 60.0


def test_who_was_called_and_asks_while_it_is_paused_has_not_failed() -> None:
    """It is told that there is nothing, and says that its update was refused; that is not the release's fault."""

    async def story(site: Site) -> None:
        await site.campaigns.begin(PLAN, CAMPAIGN)
        await asyncio.sleep(0.02)
        site.campaigns.act(CAMPAIGN, Action.PAUSE)
        await asyncio.sleep(2 * UPDATE_S)
        in_vain = {each["data"]["serial"] for each in site.world.history("firmware") if each["reply"].startswith("404")}
        assert in_vain and in_vain <= site.standing(Standing.OFFERED)
        assert site.standing(Standing.FAILED) == set()
        site.campaigns.act(CAMPAIGN, Action.RESUME)
        await asyncio.sleep(2 * UPDATE_S)
        assert (site.state, site.standing(Standing.INSTALLED)) == (State.COMPLETED, set(FEW))

    with_chargers(story, FEW)


def test_who_downloads_when_it_is_aborted_stays_as_it_is_and_takes_the_next() -> None:
    large = replace(PLAN, offer=Offer(NEW, size_bytes=OVER_A_RANGE))

    async def story(site: Site) -> None:
        await site.campaigns.begin(large, CAMPAIGN)
        await asyncio.sleep(0.2)
        assert site.standing(Standing.DOWNLOADING) == set(FEW)
        site.campaigns.act(CAMPAIGN, Action.ABORT)
        await asyncio.sleep(2 * UPDATE_S)
        assert {charger.snapshot().firmware for charger in site.chargers.values()} == {RUNS}
        assert all(charger.snapshot().online for charger in site.chargers.values())
        site.campaigns.remove(CAMPAIGN)
        await site.campaigns.begin(large, CAMPAIGN)
        await asyncio.sleep(2 * UPDATE_S)
        assert (site.state, site.standing(Standing.INSTALLED)) == (State.COMPLETED, set(FEW))

    with_chargers(story, FEW)


def test_a_failure_in_a_newer_campaign_is_none_of_an_older_one() -> None:
    async def story(site: Site) -> None:
        await site.campaigns.begin(replace(PLAN, command=None), "older")
        await site.campaigns.begin(replace(PLAN, offer=Offer("5.5.0.0", signer="foreign", size_bytes=SMALL)), CAMPAIGN)
        await asyncio.sleep(UPDATE_S)
        assert site.standing(Standing.FAILED) == set(FEW)
        assert {of for _, of in site.campaigns.counts("older")} == {Standing.OFFERED}

    with_chargers(story, FEW)


def afar(world: SimWorld) -> tuple[CampaignsAfar, Campaigns]:
    """Campaigns as a firmware server has them whose hub is another process: on its bus and its state, and that is all.

    They come later than the chargers, which are connected.
    """
    cloud, bus, store = world.cloud, world.cloud.zapcloud.hearing.bus, Store()
    methods, hearing = methods_afar(bus, cloud.memory.sessions, caller="afar"), Hearing(bus, store)
    campaigns = Campaigns(
        CampaignTable(cloud.memory.state),
        methods,
        lambda: SIM_EPOCH + timedelta(seconds=asyncio.get_running_loop().time()),
        find=lambda targets: serials_for(targets, cloud.registry, cloud.memory.twins),
        runs=lambda serial: store.last(serial, Number.COMPUTER_VERSION),
        check=cloud.firmware.shelf.renew,
    )
    hearing.listeners.append(campaigns.heard)
    cloud.firmware.roster = campaigns
    return CampaignsAfar(bus, methods, hearing, campaigns), campaigns


def test_a_campaign_goes_over_the_bus_where_the_hub_is_another_process() -> None:
    async def story(site: Site) -> None:
        place, campaigns = afar(site.world)
        await place.start()
        await campaigns.begin(PLAN, CAMPAIGN)
        await asyncio.sleep(UPDATE_S)
        assert campaigns.get(CAMPAIGN).course.state is State.COMPLETED
        assert {charger.snapshot().firmware for charger in site.chargers.values()} == {NEW}

    with_chargers(story, FEW)

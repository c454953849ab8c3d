"""Campaigns from their begin to their end, in virtual time."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_stub.firmware.calls import CALLS_AT_ONCE, REFUSED_AGAIN_S
from cloud_stub.firmware.campaign import Action, Limit, Plan, Stage, Targets
from cloud_stub.firmware.campaigns import ASKED_AFTER_S, CAMPAIGNS_MAX, LIVE_MAX, UnknownCampaign
from cloud_stub.firmware.member import Standing
from cloud_stub.firmware.offer import Offer
from cloud_stub.state.errors import ErrorCode
from cloud_stub.state.registry import UnknownDevice
from emulator.errors import UsageError
from tests.unit.cloud_stub.firmware.roll_out import NEW, OLD, UPDATE_S, Charger, RollOut

SERIAL = "ZPR000001"
PLAN = Plan(Offer(NEW), command=201, calls_per_s=2.0)
STAGES = (Stage(1, 3_600, 1.0), Stage(10, 600, 0.9), Stage())


def test_a_release_goes_to_more_and_more_chargers() -> None:
    site = RollOut(200)

    async def story() -> None:
        await site.campaigns.begin(replace(PLAN, stages=STAGES), "c")
        assert (site.count(Standing.OFFERED), site.count(Standing.WAITING)) == (2, 198)
        await asyncio.sleep(UPDATE_S + 60)
        assert (site.count(Standing.INSTALLED), len(site.calls)) == (2, 2)
        await asyncio.sleep(3_500)
        assert len(site.calls) == 2
        await asyncio.sleep(200)
        assert site.count(Standing.WAITING) == 180
        await asyncio.sleep(3_600)
        assert (site.state(), site.count(Standing.INSTALLED), len(site.calls)) == ("completed", 200, 200)
        first, last = site.calls[20][0], site.calls[-1][0]
        assert 89 <= last - first <= 92, "2 calls per second"
        assert {name for _, _, name in site.calls} == {"201"}
        assert site.campaigns.offered(SERIAL) is None

    site.run(story)


def test_too_many_bad_chargers_halt_it_and_nobody_else_is_touched() -> None:
    site = RollOut(200)
    site.site = {serial: Charger(refuses="flash") for serial in site.serials[::20]}

    async def story() -> None:
        plan = replace(PLAN, limit=Limit(0.02, 50), calls_per_s=0.1)
        await site.campaigns.begin(plan, "c")
        await asyncio.sleep(3_600)
        done = site.count(Standing.INSTALLED) + site.count(Standing.FAILED)
        assert site.state() == "halted" and 50 <= done < 200
        assert site.campaigns.get("c").course.reason.endswith("chargers failed")
        assert {(each.reason, each.detail) for each in site.members(standing=Standing.FAILED)} == {
            ("flash", "so it is")
        }
        idle = site.members(standing=Standing.OFFERED)
        assert idle and all(site.campaigns.offered(each.serial) is None for each in idle)
        assert not any(each.called for each in idle), "not even the one that was called when it halted"
        site.campaigns.act("c", Action.RESUME)
        await asyncio.sleep(7_200)
        assert site.count(Standing.OFFERED) < len(idle)

    site.run(story)


def test_what_has_begun_goes_on_while_it_is_paused() -> None:
    site = RollOut(20)

    async def story() -> None:
        await site.campaigns.begin(replace(PLAN, calls_per_s=0.1), "c")
        await asyncio.sleep(95)
        site.campaigns.act("c", Action.PAUSE)
        assert site.count(Standing.DOWNLOADING) == 10
        busy = site.members(standing=Standing.DOWNLOADING)[0].serial
        assert site.campaigns.offered(busy) == PLAN.offer, "it asks again after a reboot"
        await asyncio.sleep(1_000)
        assert (site.state(), len(site.calls), site.count(Standing.INSTALLED)) == ("paused", 10, 10)
        site.campaigns.act("c", Action.RESUME)
        await asyncio.sleep(1_000)
        assert (site.state(), len(site.calls)) == ("completed", 20)

    site.run(story)


@pytest.mark.parametrize("end", ["remove", "abort", "pause"])
def test_nobody_is_called_any_more_once_it_is_gone_or_held(end: str) -> None:
    """Not even because of an answer that was under way."""
    site = RollOut(50)

    async def story() -> None:
        await site.campaigns.begin(replace(PLAN, calls_per_s=10.0), "c")
        await asyncio.sleep(1.05)
        if end == "remove":
            site.campaigns.remove("c")
        else:
            site.campaigns.act("c", Action(end))
        called = len(site.calls)
        await asyncio.sleep(1_000)
        assert len(site.calls) == called == 11
        assert site.campaigns.failures == 0, "nothing was to be saved about what is gone"

    site.run(story)


def test_who_is_called_at_a_bad_moment_is_called_again_before_it_counts_as_a_failure() -> None:
    """An update or a reboot is under way, and a little later it is not."""
    site = RollOut(2)
    site.site = {SERIAL: Charger(answer=400)}

    async def story() -> None:
        await site.campaigns.begin(PLAN, "c")
        await asyncio.sleep(REFUSED_AGAIN_S * 2 - 5)
        assert site.members()[0].standing is Standing.OFFERED
        site.site[SERIAL].answer = 200
        await asyncio.sleep(UPDATE_S + 100)
        assert [member.standing for member in site.members()] == [Standing.INSTALLED] * 2
        assert [serial for _, serial, _ in site.calls].count(SERIAL) == 3

    site.run(story)


def test_many_calls_are_not_held_up_by_a_limit_once_there_is_room() -> None:
    site = RollOut(200)

    async def story() -> None:
        await site.campaigns.begin(replace(PLAN, calls_per_s=1_000.0), "c")
        await asyncio.sleep(0.1)
        seen = site.campaigns.calls("c")
        assert seen is not None and (seen.under_way, seen.waiting) == (CALLS_AT_ONCE, 200 - CALLS_AT_ONCE)
        await asyncio.sleep(1.4)
        assert len(site.calls) == 200

    site.run(story)


def test_it_says_why_nobody_is_reached() -> None:
    site = RollOut(2)
    site.site = {SERIAL: Charger(answer=ErrorCode.TIMED_OUT), "ZPR000002": Charger(online=False)}

    async def story() -> None:
        await site.campaigns.begin(PLAN, "c")
        await asyncio.sleep(2)
        seen = site.campaigns.calls("c")
        assert seen is not None and (seen.waiting, seen.under_way) == (2, 0)
        assert SERIAL in seen.trouble and "\n" not in seen.trouble
        site.site = {serial: Charger() for serial in site.serials}
        await asyncio.sleep(1_000)
        assert site.state() == "completed" and site.campaigns.calls("c") is None

    site.run(story)


def test_an_aborted_campaign_takes_its_images_back() -> None:
    site = RollOut(3)

    async def story() -> None:
        await site.campaigns.begin(PLAN, "c")
        await asyncio.sleep(10)
        assert site.campaigns.handed_out(SERIAL, NEW) == PLAN.offer
        assert site.campaigns.handed_out(SERIAL, OLD) is None
        site.campaigns.act("c", Action.ABORT)
        assert site.campaigns.handed_out(SERIAL, NEW) is None and site.campaigns.offered(SERIAL) is None
        with pytest.raises(UsageError, match="aborted"):
            site.campaigns.act("c", Action.RESUME)
        await asyncio.sleep(1_000)
        assert (site.state(), site.count(Standing.DOWNLOADING)) == ("aborted", 3)

    site.run(story)


def test_each_way_to_fail_has_its_reason() -> None:
    site = RollOut(7)
    ways = [
        Charger(answer=400),
        Charger(refuses="bad_signature"),
        Charger(falls_back=True),
        Charger(silent=True),
        Charger(answer=ErrorCode.TIMED_OUT),
        Charger(online=False),
        Charger(),
    ]
    site.site = dict(zip(site.serials, ways, strict=True))

    async def story() -> None:
        await site.campaigns.begin(replace(PLAN, deadline_s=1_800.0), "c")
        await asyncio.sleep(2_000)
        assert [(each.standing.value, each.reason) for each in site.members()] == [
            ("failed", "call_refused"),
            ("failed", "bad_signature"),
            ("failed", "rolled_back"),
            ("failed", "silent"),
            ("offered", ""),
            ("offered", ""),
            ("installed", ""),
        ]
        called = [serial for _, serial, _ in site.calls]
        assert called.count(site.serials[4]) > 5 and site.serials[5] not in called
        site.site[site.serials[4]].answer, site.site[site.serials[5]].online = 200, True
        await asyncio.sleep(1_000)
        assert (site.state(), site.count(Standing.INSTALLED)) == ("completed", 3)

    site.run(story)


def test_chargers_come_by_themselves_where_nobody_calls_them() -> None:
    site = RollOut(2)

    async def story() -> None:
        await site.campaigns.begin(replace(PLAN, command=None), "c")
        await asyncio.sleep(100)
        assert site.calls == [] and site.count(Standing.OFFERED) == 2
        await asyncio.gather(*(site.update(serial) for serial in site.serials))
        assert site.state() == "completed"

    site.run(story)


def test_who_runs_the_release_already_is_left_alone() -> None:
    site = RollOut(3)
    site.known = {SERIAL: NEW, "ZPR000002": OLD}

    async def story() -> None:
        await site.campaigns.begin(PLAN, "c")
        assert site.members()[0].standing is Standing.INSTALLED
        await asyncio.sleep(1_000)
        assert site.state() == "completed" and SERIAL not in {serial for _, serial, _ in site.calls}

    site.run(story)


def test_a_cloud_that_was_ended_goes_on_where_it_was(tmp_path: Path) -> None:
    site = RollOut(20, path=tmp_path / "hub.sqlite")

    async def before() -> None:
        await site.campaigns.begin(replace(PLAN, stages=(Stage(50, 600), Stage()), calls_per_s=0.1), "c")
        await site.campaigns.begin(PLAN, "other")
        site.campaigns.act("other", Action.ABORT)
        await asyncio.sleep(45)

    async def after() -> None:
        assert [kept.campaign_id for kept in site.campaigns] == ["c", "other"] and site.state("other") == "aborted"
        assert (site.count(Standing.DOWNLOADING), site.count(Standing.OFFERED)) == (5, 5)
        for member in site.members(standing=Standing.DOWNLOADING):
            site.observe(member.serial, 911, NEW)
        await asyncio.sleep(3_000)
        assert (site.state(), len(site.calls)) == ("completed", 15 + 5)

    site.run(before, after)


def test_who_reported_while_nobody_listened_is_asked_what_runs(tmp_path: Path) -> None:
    site = RollOut(4, path=tmp_path / "hub.sqlite")
    asked: list[str] = []

    async def before() -> None:
        await site.campaigns.begin(PLAN, "c")
        await asyncio.sleep(60)
        assert site.count(Standing.DOWNLOADING) == 4

    async def after() -> None:
        site.reports = lambda serial: asked.append(serial) or NEW  # type: ignore[func-returns-value]
        site.observe(SERIAL, 911, NEW)
        assert site.count(Standing.INSTALLED) == 1
        await asyncio.sleep(ASKED_AFTER_S + 10)
        assert sorted(asked) == site.serials[1:]
        assert site.state() == "completed"
        assert [name for _, _, name in site.calls].count("201") == 4, "nobody updates twice"

    site.run(before, after)


def test_how_long_the_cloud_was_away_is_nobodys_silence(tmp_path: Path) -> None:
    site = RollOut(4, path=tmp_path / "hub.sqlite")
    site.site = {serial: Charger(silent=True) for serial in site.serials}

    async def before() -> None:
        await site.campaigns.begin(PLAN, "c")
        await asyncio.sleep(60)
        site.now_s += 86_400

    async def after() -> None:
        await asyncio.sleep(PLAN.deadline_s - 60)
        assert site.count(Standing.DOWNLOADING) == 4
        await asyncio.sleep(120)
        assert {(each.standing.value, each.reason) for each in site.members()} == {("failed", "silent")}

    site.run(before, after)


def test_targets_are_serials_installations_and_a_share_of_them() -> None:
    site = RollOut(40)

    async def begun(name: str, **targets: object) -> set[str]:
        plan = replace(PLAN, targets=Targets(**targets))  # type: ignore[arg-type]
        await site.campaigns.begin(plan, name)
        found = {member.serial for member in site.members(name)}
        site.campaigns.act(name, Action.ABORT)
        return found

    async def story() -> None:
        site.memory.twins.desire("ZPR000007", {"Settings": {"800": "garage"}})
        assert await begun("all") == set(site.serials)
        assert await begun("one", serials=(SERIAL,)) == {SERIAL}
        assert await begun("garage", installations=("garage",)) == {"ZPR000007"}
        assert await begun("both", serials=(SERIAL,), installations=("garage",)) == {SERIAL, "ZPR000007"}
        some, others = await begun("some", percent=10.0), await begun("others", percent=10.0)
        assert len(some) == len(others) == 4 and some != others
        with pytest.raises(UnknownDevice):
            await begun("x", serials=("nobody",))
        with pytest.raises(UsageError, match="targets"):
            await begun("x", installations=("nowhere",))

    site.run(story)


def test_the_newest_campaign_about_a_charger_counts() -> None:
    site = RollOut(1)

    async def story() -> None:
        await site.campaigns.begin(replace(PLAN, command=None), "c")
        newer = Offer("5.5.0.0")
        await site.campaigns.begin(replace(PLAN, command=None, offer=newer), "newer")
        assert site.campaigns.offered(SERIAL) == newer
        assert site.campaigns.handed_out(SERIAL, NEW) == PLAN.offer
        site.campaigns.asked(SERIAL)
        assert (site.count(Standing.OFFERED, "c"), site.count(Standing.DOWNLOADING, "newer")) == (1, 1)
        site.campaigns.remove("newer")
        assert site.campaigns.offered(SERIAL) == PLAN.offer
        with pytest.raises(UnknownCampaign):
            site.campaigns.get("newer")

    site.run(story)


@pytest.mark.parametrize("campaign_id", ["c", "", "a/b", "x" * 65, "-x"])
def test_an_id_is_free_and_short(campaign_id: str) -> None:
    site = RollOut(1)

    async def story() -> None:
        await site.campaigns.begin(PLAN, "c")
        with pytest.raises(UsageError, match="id"):
            await site.campaigns.begin(PLAN, campaign_id)
        assert (await site.campaigns.begin(PLAN)).campaign_id == "campaign-2"

    site.run(story)


def test_a_campaign_for_what_cannot_be_made_is_refused() -> None:
    site = RollOut(1)

    async def story() -> None:
        with pytest.raises(UsageError, match="nonsense"):
            await site.campaigns.begin(replace(PLAN, offer=Offer("nonsense")))
        assert list(site.campaigns) == []

    site.run(story)


def test_the_oldest_that_is_over_is_forgotten_when_there_are_too_many() -> None:
    site = RollOut(1)

    async def story() -> None:
        for _ in range(LIVE_MAX):
            await site.campaigns.begin(PLAN)
        with pytest.raises(UsageError, match="not over"):
            await site.campaigns.begin(PLAN)
        for kept in list(site.campaigns)[1:]:
            site.campaigns.act(kept.campaign_id, Action.ABORT)
        for number in range(CAMPAIGNS_MAX):
            await site.campaigns.begin(PLAN, f"later-{number}")
            site.campaigns.act(f"later-{number}", Action.ABORT)
        names = [kept.campaign_id for kept in site.campaigns]
        assert len(names) == CAMPAIGNS_MAX and names[:2] == ["campaign-1", "later-1"]

    site.run(story)


def test_messages_of_strangers_and_about_other_things_change_nothing() -> None:
    site = RollOut(1)

    async def story() -> None:
        await site.campaigns.begin(replace(PLAN, command=None), "c")
        site.observe("stranger", 911, NEW)
        site.observe(SERIAL, 710, "1")
        assert site.campaigns.offered("stranger") is None
        site.campaigns.asked("stranger")
        assert site.count(Standing.OFFERED) == 1

    site.run(story)

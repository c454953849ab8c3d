"""Where a charger has its roots from, and what it does without a bundle (M4, zaptec.md section 5)."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from emulator.boot.roots import BUNDLE_KEY
from emulator.errors import UsageError
from emulator.trace import Recorder
from tests.life import SERIAL, Life, live
from tests.trust import HOUR_S, asked, breaking, lost, online, told_version


def failures(trace: Recorder) -> list[tuple[str, float]]:
    """(why, wait until the next fetch) of every fetch that failed."""
    return [(event.data["why"], event.data["retry_s"]) for event in trace.where("trust.fetch_failed")]


# The stored bundle


def test_a_charger_fresh_from_production_asks_nobody_and_tells_its_version() -> None:
    async def story(life: Life) -> None:
        await online(life)
        assert life.world.history("bundle") == []
        assert told_version(life) == "8"

    trace = live(story)
    (trust,) = trace.where("boot.trust.passed")
    assert (trust.data["version"], trust.data["source"], trust.data["seconds"]) == (8, "flash", 0.0)


def test_an_empty_flash_is_filled_at_the_first_boot_and_used_at_the_next() -> None:
    async def story(life: Life) -> None:
        lost(life)
        await online(life)
        assert asked(life) == [{"serial": SERIAL, "version": 0, "error": "no bundle"}]
        life.charger.reboot("test")
        await online(life)
        assert len(asked(life)) == 1

    first, second = live(story).where("boot.trust.passed")
    assert (first.data["version"], first.data["source"]) == (8, "fetched")
    assert 0 < first.data["seconds"] < 0.2
    assert (second.data["version"], second.data["source"]) == (8, "flash")


def test_a_flipped_bit_in_flash_is_found_at_boot_and_the_bundle_fetched_anew() -> None:
    async def story(life: Life) -> None:
        life.charger.inject({"kind": "device.bundle_damaged"})
        await online(life)
        (request,) = asked(life)
        assert request["version"] == 0 and request["error"].startswith("bundle ")

    (trust,) = live(story).where("boot.trust.passed")
    assert (trust.data["version"], trust.data["source"]) == (8, "fetched")


def test_flash_that_says_nothing_newer_holds_no_bundle() -> None:
    async def story(life: Life) -> None:
        life.charger.env.flash.put(BUNDLE_KEY, b'{"ver":8}')
        await online(life)

    (trust,) = live(story).where("boot.trust.passed")
    assert trust.data["source"] == "fetched"


# Without one


@pytest.mark.parametrize(
    ("fault", "fetch", "seconds"),
    [
        ({"kind": "bundle.unavailable"}, "bundle_unavailable", 0.0),
        ({"kind": "bundle.unavailable", "status": 302}, "bundle_unavailable", 0.0),
        ({"kind": "bundle.empty"}, "bundle_unavailable", 0.0),
        ({"kind": "bundle.silent"}, "timed_out", 20.0),
        ({"kind": "bundle.certificate", "bad": "intercepted"}, "tls_unknown_ca", 0.0),
        ({"kind": "bundle.certificate", "bad": "public_root"}, "tls_unknown_ca", 0.0),
        ({"kind": "site.block", "host": "devices.zaptec.com"}, "timed_out", 20.0),
        ({"kind": "site.block", "host": "devices.zaptec.com", "action": "reject"}, "refused", 0.0),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_the_built_in_roots_do_while_the_server_cannot_be_had(
    fault: dict[str, Any], fetch: str, seconds: float
) -> None:
    async def story(life: Life) -> None:
        lost(life)
        await online(life)
        assert told_version(life) == "1"

    trace = live(story, before=breaking(**fault))
    (trust,) = trace.where("boot.trust.degraded")
    assert (trust.data["why"], trust.data["fetch"]) == ("bundle_built_in", fetch)
    assert (trust.data["version"], trust.data["source"]) == (1, "built_in")
    assert seconds <= trust.data["seconds"] < seconds + 0.5
    assert failures(trace)[0] == (fetch, 10.0)


@pytest.mark.parametrize("kind", ["bad_signature", "garbage", "oversize", "no_certificates"])
def test_a_reply_that_must_not_be_used_has_a_reason_of_its_own(kind: str) -> None:
    async def story(life: Life) -> None:
        lost(life)
        await online(life)
        assert life.charger.env.flash.get(BUNDLE_KEY) is None
        await asyncio.sleep(300)

    trace = live(story, before=breaking(kind=f"bundle.{kind}"))
    (trust,) = trace.where("boot.trust.degraded")
    assert (trust.data["why"], trust.data["source"]) == ("bundle_invalid", "built_in")
    assert failures(trace) == [("bundle_invalid", wait) for wait in (10.0, 70.0, 130.0, 190.0)]


def test_the_keeper_asks_again_with_growing_waits_and_the_new_version_is_told_at_once() -> None:
    async def story(life: Life) -> None:
        lost(life)
        down = await life.inject(kind="bundle.unavailable")
        await online(life)
        await asyncio.sleep(65)
        assert len(asked(life)) == 4
        down()
        await life.until("trust.fetched", within_s=40)
        await asyncio.sleep(1)
        assert told_version(life) == "8"
        await asyncio.sleep(HOUR_S)
        assert len(asked(life)) == 5

    trace = live(story)
    times = [event.t for event in trace.where("trust.fetch*")]
    assert [round(later - earlier) for earlier, later in pairwise(times)] == [10, 20, 30, 40]
    assert trace.where("device.offline") == []


def test_the_waits_of_the_keeper_end_at_six_hours() -> None:
    async def story(life: Life) -> None:
        lost(life)
        await online(life)
        await asyncio.sleep(2 * 24 * HOUR_S)

    trace = live(
        story, changes={"trust.invalid_step_s": HOUR_S}, before=breaking(kind="bundle.garbage")
    )  # with the step of a minute it takes two months
    waits = [wait for _, wait in failures(trace)]
    assert waits[:3] == [10.0, HOUR_S + 10, 2 * HOUR_S + 10]
    assert max(waits) == waits[-1] == 6 * HOUR_S


def test_a_charger_set_to_wait_does_not_log_in_without_a_bundle() -> None:
    async def story(life: Life) -> None:
        lost(life)
        down = await life.inject(kind="bundle.unavailable")
        for _ in range(3):
            await life.until("boot.trust.failed", why="bundle_unavailable")
        down()
        await life.until("trust.fetched", within_s=60)
        await online(life)

    trace = live(story, changes={"trust.without_bundle": "wait"})
    fetched = trace.where("trust.fetched")[0].t
    assert all(event.t > fetched for event in trace.where("boot.hub.*"))
    assert trace.where("boot.trust.passed")[-1].data["version"] == 8


# The faults


@pytest.mark.parametrize("family", ["bundle", "firmware"])
def test_a_certificate_is_wrong_for_all_or_for_nobody(family: str) -> None:
    async def story(life: Life) -> None:
        with pytest.raises(UsageError, match=f"test: who: {family}.certificate strikes before"):
            await life.inject(kind=f"{family}.certificate", bad="expired", who=SERIAL)
        with pytest.raises(UsageError, match="bundle none: not known; known are both, new, old"):
            life.world.publish_bundle("none")

    live(story)


def test_a_bundle_that_is_not_there_cannot_be_damaged() -> None:
    async def story(life: Life) -> None:
        lost(life)
        with pytest.raises(UsageError, match="no trust bundle in flash"):
            life.charger.inject({"kind": "device.bundle_damaged"})

    live(story)

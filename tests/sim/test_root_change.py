"""What a TLS error sets off, and how a change of roots looks from the charger (M4, zaptec.md section 5)."""

import asyncio

import pytest

from emulator.boot.roots import BUNDLE_KEY
from tests.life import SERIAL, Life, live
from tests.trust import HOUR_S, asked, breaking, lose_the_session, lost, online, told_version

RECONNECT_S = 16.0
"""The wait after the first failure of the login is shorter than this: 10 s + 1² + a third."""


# After a TLS error


def test_a_root_change_leaves_sessions_alone_and_costs_the_next_login_one_refusal() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await life.inject(kind="hub.certificate", bad="new_root")
        assert life.world.publish_bundle("new") == 9
        await asyncio.sleep(2 * HOUR_S)
        assert (await life.world.command(SERIAL, 503))[0] == 200
        assert asked(life) == []
        await lose_the_session(life)
        refused = await life.until("boot.hub.failed")
        assert refused.data["why"] == "tls_unknown_ca"
        await life.until("boot.trust.passed", version=9, source="fetched", within_s=RECONNECT_S)
        await online(life)
        assert asked(life) == [{"serial": SERIAL, "version": 8, "error": "tls_unknown_ca"}]
        await asyncio.sleep(1)
        assert told_version(life) == "9"
        await lose_the_session(life)
        await online(life)

    trace = live(story)
    assert len(trace.where("boot.hub.failed")) == 1
    assert len(trace.where("trust.fetched")) == 1


def test_until_there_is_a_bundle_for_the_new_root_every_login_fails() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await life.inject(kind="hub.certificate", bad="new_root")
        await lose_the_session(life)
        for _ in range(4):
            assert (await life.until("boot.hub.failed")).data["why"] == "tls_unknown_ca"
        life.world.publish_bundle("both")
        await online(life)
        assert len(asked(life)) >= 4  # every TLS error asks

    trace = live(story)
    assert len(trace.where("trust.current")) >= 3
    assert trace.where("boot.trust.degraded") == []


def test_a_bundle_with_both_roots_that_came_in_time_hides_the_change() -> None:
    async def story(life: Life) -> None:
        await online(life)
        life.world.publish_bundle("both")
        assert (await life.world.command(SERIAL, 800, ["Update certificate"]))[0] == 200
        await life.until("trust.fetched", version=9, within_s=1)
        await life.inject(kind="hub.certificate", bad="new_root")
        await lose_the_session(life)
        await online(life)

    assert live(story).where("boot.hub.failed") == []


def test_the_hub_goes_back_to_the_old_root() -> None:
    async def story(life: Life) -> None:
        moved = await life.inject(kind="hub.certificate", bad="new_root")
        life.world.publish_bundle("new")
        await online(life)
        moved()
        life.world.publish_bundle("old")
        await lose_the_session(life)
        await life.until("boot.hub.failed", why="tls_unknown_ca")
        await life.until("boot.trust.passed", version=10, within_s=RECONNECT_S)
        await online(life)

    live(story)


def test_an_older_version_comes_back_only_when_it_is_ordered() -> None:
    async def story(life: Life) -> None:
        life.world.publish_bundle("new")
        await online(life)
        await life.world.command(SERIAL, 800, ["Update certificate"])
        await life.until("trust.fetched", version=9)
        await life.inject(kind="bundle.stale", count=1)
        await life.world.command(SERIAL, 800, ["Update certificate"])
        refused = await life.until("trust.fetch_failed")
        assert (refused.data["why"], refused.data["detail"]) == ("bundle_invalid", "version 8, this charger has 9")
        await life.world.command(SERIAL, 800, ["Update certificate 8"])
        await life.until("trust.fetched", version=8, within_s=1)
        await asyncio.sleep(1)
        assert told_version(life) == "8"

    live(story)


def test_a_stale_server_does_not_take_a_newer_bundle_away() -> None:
    async def story(life: Life) -> None:
        life.world.publish_bundle("both")
        await online(life)
        await life.world.command(SERIAL, 800, ["Update certificate"])
        await life.until("trust.fetched", version=9)
        await life.inject(kind="bundle.stale")
        await life.inject(kind="hub.certificate", bad="unknown_root", count=1)
        await lose_the_session(life)
        degraded = await life.until("boot.trust.degraded")
        assert (degraded.data["why"], degraded.data["version"]) == ("bundle_invalid", 9)
        await online(life)

    live(story)


def test_a_site_proxy_that_intercepts_both_hosts_keeps_the_charger_away_and_its_bundle_whole() -> None:
    async def story(life: Life) -> None:
        await online(life)
        hub, bundle = [await life.inject(kind=f"{name}.certificate", bad="intercepted") for name in ("hub", "bundle")]
        stored = life.charger.env.flash.get(BUNDLE_KEY)
        await lose_the_session(life)
        await life.until("boot.hub.failed", why="tls_unknown_ca")
        degraded = await life.until("boot.trust.degraded")
        assert (degraded.data["why"], degraded.data["source"]) == ("tls_unknown_ca", "flash")
        assert "goes on with bundle 8" in degraded.data["detail"]
        await life.until("boot.hub.failed", why="tls_unknown_ca")
        await asyncio.sleep(HOUR_S)
        assert not life.charger.snapshot().online
        assert life.charger.env.flash.get(BUNDLE_KEY) == stored
        assert "TLS" in [seen["request"] for seen in life.world.history("bundle")]
        hub()
        bundle()
        await life.until("device.online", within_s=300)

    live(story)


def test_a_charger_set_to_wait_stays_away_after_a_tls_error_until_the_server_answers() -> None:
    async def story(life: Life) -> None:
        await online(life)
        down = await life.inject(kind="bundle.unavailable")
        await life.inject(kind="hub.certificate", bad="expired", count=1)
        await lose_the_session(life)
        await life.until("boot.hub.failed", why="tls_expired")
        for _ in range(3):
            await life.until("boot.trust.failed", why="bundle_unavailable")
        down()
        await online(life)

    trace = live(story, changes={"trust.without_bundle": "wait"})
    assert len(trace.where("boot.hub.failed")) == 1  # the bundle in flash was good all the time


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("expired", "tls_expired"),
        ("wrong_host", "tls_wrong_host"),
        ("not_yet_valid", "tls_not_yet_valid"),
        ("unknown_root", "tls_unknown_ca"),
    ],
)
def test_every_tls_error_asks_and_nothing_newer_lets_the_login_go_on(bad: str, why: str) -> None:
    async def story(life: Life) -> None:
        await online(life)
        assert asked(life) == [{"serial": SERIAL, "version": 8, "error": why}]

    trace = live(story, before=breaking(kind="hub.certificate", bad=bad, count=1))
    assert [event.data["why"] for event in trace.where("boot.hub.failed")] == [why]
    assert [event.data["version"] for event in trace.where("trust.current")] == [8]
    assert trace.where("device.online")[0].t < 2 + RECONNECT_S


def test_errors_below_and_above_tls_ask_for_no_bundle() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await life.inject(kind="site.block", protocol="tcp", port=8883, action="reject", for_s=20.0)
        await life.inject(kind="hub.connack", code=5, count=1)
        await lose_the_session(life)
        await online(life)
        assert life.world.history("bundle") == []

    live(story)


def test_a_clock_far_off_fails_the_pinned_fetch_by_its_dates() -> None:
    async def story(life: Life) -> None:
        lost(life)
        degraded = await life.until("boot.trust.degraded")
        assert (degraded.data["why"], degraded.data["fetch"]) == ("bundle_built_in", "tls_not_yet_valid")
        await life.until("boot.hub.failed", why="tls_not_yet_valid")

    ten_years_s = 10 * 365 * 24 * HOUR_S
    live(story, before=breaking(kind="ntp.offset", offset_s=-ten_years_s))


# Firmware


def test_a_root_change_of_the_api_is_survived_by_an_update_that_fetches_the_bundle_meanwhile() -> None:
    async def story(life: Life) -> None:
        await online(life)
        life.world.publish_bundle("both")
        life.world.offer_firmware("5.4.0.1")
        await life.inject(kind="firmware.certificate", bad="new_root")
        await life.world.command(SERIAL, 201)
        await life.until("update.retrying")
        await life.until("trust.fetched", version=9, within_s=1)
        await life.until("update.installed", within_s=120)
        assert asked(life) == [{"serial": SERIAL, "version": 8, "error": "tls_unknown_ca"}]

    assert live(story).where("device.offline") == []


def test_an_update_asks_for_the_bundle_once_however_often_it_is_refused() -> None:
    async def story(life: Life) -> None:
        await online(life)
        life.world.offer_firmware("5.4.0.1")
        await life.inject(kind="firmware.certificate", bad="intercepted")
        await life.inject(kind="firmware.unavailable", host="devices")
        await life.world.command(SERIAL, 201)
        for _ in range(5):
            await life.until("update.retrying")
        assert len(asked(life)) == 1

    live(story)


def test_images_are_not_taken_from_a_host_with_an_intercepted_certificate() -> None:
    async def story(life: Life) -> None:
        await online(life)
        life.world.offer_firmware("5.4.0.1")
        await life.inject(kind="bundle.certificate", bad="intercepted")
        await life.world.command(SERIAL, 201)
        retrying = await life.until("update.retrying")
        assert "tls_unknown_ca" in retrying.data["detail"]

    assert live(story).where("update.installed") == []

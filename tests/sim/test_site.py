"""What a site's network does to a charger, and when the charger notices."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from emulator.trace import Recorder, TraceEvent
from emulator.world import World
from tests.life import SERIAL, Life, live

KEEP_ALIVE_S, ACK_S = 300, 10.0  # the profile's; a ping goes out at half of the keep-alive
PING_S = KEEP_ALIVE_S / 2
HOUR_S = 3600.0


def broken(**fault: Any) -> Any:
    """For `before`: wrong from the start."""
    return lambda world: world.inject(fault, where="test")


def failures(trace: Recorder, stage: str) -> list[TraceEvent]:
    """The attempts at a stage that failed."""
    return trace.where(f"boot.{stage}.failed", SERIAL)


def seen_by(world: World, service: str) -> list[str]:
    """What a service was asked."""
    return [str(each["request"]) for each in world.history(service)]


# Networks that let only some things through


def test_where_only_names_get_through_there_is_no_time_and_so_no_login() -> None:
    seen: list[list[str]] = []

    async def story(life: Life) -> None:
        await life.until("boot.time.failed")
        await life.until("boot.time.failed")
        seen.extend(seen_by(life.world, service) for service in ("dns", "ntp", "hub"))

    trace = live(story, before=broken(kind="site.allow_only", allow=["udp/53"]))
    assert [row["why"] for row in (event.data for event in failures(trace, "time"))] == ["ntp_silent"] * 2
    names, ntp, hub = seen
    assert "A zapcloud.azure-devices.net" in names
    assert (ntp, hub) == ([], [])


def test_where_only_web_pages_get_through_even_a_charger_that_goes_on_without_the_time_is_stopped() -> None:
    async def story(life: Life) -> None:
        await life.until("boot.hub.failed")

    trace = live(
        story,
        changes={"ntp.gate": "wait-then-go-on"},
        before=broken(kind="site.allow_only", allow=["udp/53", "tcp/443"]),
    )
    (time,) = trace.where("boot.time.degraded")
    assert time.data["why"] == "clock_unset"
    (hub,) = failures(trace, "hub")
    assert (hub.data["why"], hub.data["seconds"]) == ("timed_out", 10.0), "connect_timeout_s: nobody answers the SYN"


def test_a_list_that_forgets_only_the_hub_is_told_from_one_that_forgets_the_time() -> None:
    async def story(life: Life) -> None:
        await life.until("boot.hub.failed", why="refused")

    trace = live(story, before=broken(kind="site.allow_only", allow=["udp/53", "udp/123", "tcp/443"], action="reject"))
    assert failures(trace, "hub")[0].data["seconds"] < 0.1, "a rejection comes at once"


# Captive portal


def test_a_guest_network_without_log_in_has_names_and_no_time_and_the_log_in_heals_it() -> None:
    requests: list[str] = []

    async def story(life: Life) -> None:
        undo = life.world.inject({"kind": "site.captive_portal"}, where="test")
        names = await life.until("boot.names.passed")
        assert {tuple(found) for found in names.data["addresses"].values()} == {("10.20.0.80",)}
        failed = await life.until("boot.time.failed")
        assert failed.data["why"] == "ntp_silent"
        requests.extend(seen_by(life.world, "portal"))
        await asyncio.sleep(HOUR_S)
        undo()
        await life.until("device.online", within_s=300)

    live(story)
    assert requests[:2] == ["A no.pool.ntp.org", "A zapcloud.azure-devices.net"]


def test_a_guest_session_that_ends_while_the_charger_is_online_ends_in_a_certificate_of_the_wrong_name() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(1000)
        undo = await life.inject(kind="site.captive_portal")
        began = asyncio.get_running_loop().time()
        offline = await life.until("device.offline", why="timed_out")
        assert offline.t - began <= PING_S + ACK_S
        await life.until("boot.hub.failed", why="tls_wrong_host")
        await asyncio.sleep(1)  # the alert is on its way
        assert "TLS" in seen_by(life.world, "portal")
        undo()
        await life.until("device.online", within_s=300)

    trace = live(story)
    assert failures(trace, "time") == [], "the clock is right since the boot, so the time is not asked for again"


# TLS inspection


def test_a_proxy_that_inspects_tls_is_refused_and_the_hub_never_hears_of_it() -> None:
    async def story(life: Life) -> None:
        failed = await life.until("boot.hub.failed")
        assert failed.data["why"] == "tls_unknown_ca"
        assert seen_by(life.world, "hub") == []
        await asyncio.sleep(1)  # the alert is on its way
        refused = life.world.history("proxy")[-1]
        assert "unknown" in str(refused["reply"]), "the alert says what is wrong, if somebody looks"

    live(story, before=broken(kind="site.intercept"))


def test_a_proxy_that_leaves_the_hub_alone_does_not_keep_a_charger_offline() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online", within_s=60)

    live(story, before=broken(kind="site.intercept", ports=[443]))


# NAT


def test_a_router_that_forgets_sooner_than_the_charger_pings_costs_a_session_every_time() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(2 * HOUR_S)
        hub = life.world.history("hub")
        assert not any("reset" in str(each["reply"]).lower() for each in hub), "no RST ever reached the hub"

    trace = live(story, before=broken(kind="site.nat_timeout", timeout_s=100.0))
    lost, won = trace.where("device.offline", SERIAL), trace.where("device.online", SERIAL)
    assert len(lost) > 20
    assert {event.data["why"] for event in lost} == {"timed_out"}
    lasted = [off.t - on.t for on, off in zip(won, lost, strict=False)]
    assert all(PING_S <= seconds <= PING_S + ACK_S for seconds in lasted[5:]), "noticed by the missing PINGRESP"
    away = [on.t - off.t for off, on in zip(lost, won[1:], strict=False)]
    assert max(away) < 30, "and back at once: a new connection is a new row"


def test_a_router_that_remembers_longer_than_a_ping_takes_costs_nothing() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(6 * HOUR_S)

    trace = live(story, before=broken(kind="site.nat_timeout", timeout_s=PING_S + 2.0))
    assert trace.where("device.offline") == []


def test_a_keep_alive_below_the_router_s_timeout_is_the_remedy() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(2 * HOUR_S)

    trace = live(
        story,
        changes={"hub.keep_alive_s": 120},
        before=broken(kind="site.nat_timeout", timeout_s=100.0, protocol="tcp"),
    )
    assert trace.where("device.offline") == []


@pytest.mark.parametrize(("stray", "why"), [("drop", "timed_out"), ("reset", "reset")])
def test_a_router_that_resets_what_it_does_not_know_spares_the_charger_the_wait(stray: str, why: str) -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(1000)
        await life.inject(kind="site.nat_reboot", for_s=1.0)
        rebooted = asyncio.get_running_loop().time()
        lost = await life.until("device.offline", within_s=300)
        assert lost.data["why"] == why
        assert lost.t - rebooted <= PING_S + (ACK_S if stray == "drop" else 1.0)
        await life.until("device.online", within_s=60)

    live(story, setup={"router.stray": stray})


def test_a_router_that_adopts_what_it_does_not_know_can_reboot_unnoticed() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(1000)
        await life.inject(kind="site.nat_reboot", for_s=5.0)
        await asyncio.sleep(HOUR_S)

    assert live(story, setup={"router.stray": "adopt"}).where("device.offline") == []


def test_a_router_that_is_the_access_point_too_takes_the_link_with_it_and_the_charger_notices_at_once() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(1000)
        for kind in ("site.nat_reboot", "wifi.ap_reboot"):
            await life.inject(kind=kind)
        rebooted = asyncio.get_running_loop().time()
        lost = await life.until("device.offline", within_s=1)
        assert lost.data["why"] == "reset"
        online = await life.until("device.online", within_s=600)
        assert online.t - rebooted >= 60.0

    live(story)


def test_a_router_without_room_for_new_flows_leaves_the_session_alone_until_it_has_to_be_made_anew() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        undo = await life.inject(kind="site.nat_full")
        await asyncio.sleep(HOUR_S)
        assert life.charger.snapshot().online
        await life.inject(kind="site.half_open")
        await life.until("device.offline")
        failed = await life.until("boot.*.failed")
        assert failed.data["why"] in ("dns_silent", "timed_out")
        undo()
        await life.until("device.online", within_s=300)

    live(story)


# Half-open connections and resets


def test_a_half_open_connection_is_noticed_within_a_ping_and_the_hub_keeps_the_old_session_until_the_new_one() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(1000)
        await life.inject(kind="site.half_open")
        began = asyncio.get_running_loop().time()
        offline = await life.until("device.offline", why="timed_out")
        assert offline.t - began <= PING_S + ACK_S
        online = await life.until("device.online", within_s=60)
        ends = [each for each in life.world.history("hub") if "takeover" in str(each)]
        assert len(ends) == 1, "the hub learned it from the second login"
        assert offline.t < float(ends[0]["t"]) <= online.t

    live(story)


def test_a_hub_that_hears_nothing_more_ends_the_session_by_its_own_clock() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await asyncio.sleep(1000)
        await life.inject(kind="site.block", protocol="tcp", port=8883)
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(1.5 * KEEP_ALIVE_S + 60)
        ends = [each for each in life.world.history("hub") if "keep_alive" in str(each)]
        assert len(ends) == 1
        assert 1.5 * KEEP_ALIVE_S - PING_S <= float(ends[0]["t"]) - began <= 1.5 * KEEP_ALIVE_S + 10

    live(story)


def test_a_device_that_forges_resets_breaks_every_handshake_at_once() -> None:
    async def story(life: Life) -> None:
        for _ in range(3):
            await life.until("boot.hub.failed", why="reset")

    trace = live(story, before=broken(kind="site.reset", port=8883))
    assert all(event.data["seconds"] < 0.1 for event in failures(trace, "hub"))


# MTU black hole


def test_in_a_black_hole_tcp_connects_and_every_handshake_times_out() -> None:
    async def story(life: Life) -> None:
        for _ in range(3):
            await life.until("boot.hub.failed", why="timed_out")
        assert seen_by(life.world, "hub")[0] == "TCP", "the hub saw the connection"

    trace = live(story, before=broken(kind="site.mtu_black_hole", mtu_bytes=1400))
    for event in failures(trace, "hub"):
        assert 15.0 <= event.data["seconds"] < 15.1, "tls_timeout_s"
        assert "TLS handshake" in event.data["detail"]
    assert failures(trace, "time") == failures(trace, "names") == [], "small packets pass"


def test_a_black_hole_on_the_way_up_lets_the_login_through_and_stops_the_first_long_message() -> None:
    async def story(life: Life) -> None:
        await life.until("boot.hub.passed")
        await asyncio.sleep(600)
        assert not life.charger.snapshot().online

    trace = live(story, before=broken(kind="site.mtu_black_hole", way="up"))
    assert failures(trace, "hub") == []
    assert len(trace.where("boot.hub.passed")) > 2, "again and again"
    assert trace.where("device.online") == []


def test_a_black_hole_that_is_healed_lets_the_next_attempt_through() -> None:
    async def story(life: Life) -> None:
        undo = await life.inject(kind="site.mtu_black_hole")
        failed = await life.until("boot.hub.failed")
        undo()
        online = await life.until("device.online", within_s=60)
        assert online.t - failed.t < 20

    live(story)


def test_the_same_seed_gives_the_same_trace_behind_a_router_that_forgets_now_and_then() -> None:
    async def story(life: Life) -> None:
        await asyncio.sleep(HOUR_S)

    def trouble(world: World) -> None:
        world.inject({"kind": "site.nat_full", "probability": 0.5}, where="test")
        world.inject({"kind": "site.nat_timeout", "timeout_s": 90.0}, where="test")
        world.inject({"kind": "site.reset", "probability": 0.01}, where="test")

    once, again = (live(story, seed=7, before=trouble).digest() for _ in range(2))
    assert once == again


def test_the_waits_between_attempts_grow_behind_a_portal_as_behind_anything_else() -> None:
    async def story(life: Life) -> None:
        for _ in range(4):
            await life.until("boot.time.failed")

    times = [event.t for event in failures(live(story, before=broken(kind="site.captive_portal")), "time")]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits == sorted(waits)

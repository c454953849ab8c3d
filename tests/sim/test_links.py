"""What goes wrong between charger and router: how it looks to the charger, what it really is, and how it heals."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from cloud_stub.worlds import SimWorld
from emulator.errors import NetError, NetReason, UsageError
from emulator.local import FACTORY, Mode
from emulator.net.wifi import HANDSHAKE_TIMEOUT_S, SCAN_S, SCANS
from emulator.trace import Recorder, TraceEvent
from emulator.world import World
from tests.life import SERIAL, Life, live

NEVER_S = 120.0
"""How long a charger that cannot come online is watched."""
HEALED_S = 300.0
"""After this long it is online again: the longest wait between two tries, and a boot."""
LTE = {"mode": "lte"}


def cause(world: World) -> str:
    """What the site knows of the trouble with the link."""
    assert isinstance(world, SimWorld)
    return world.surroundings.cause(SERIAL)


def first(trace: Recorder, name: str) -> TraceEvent:
    return trace.where(name, SERIAL)[0]


def last(trace: Recorder, name: str) -> TraceEvent:
    return trace.where(name, SERIAL)[-1]


async def watch(life: Life) -> None:
    """It never comes online."""
    with pytest.raises(TimeoutError):
        await life.until("device.online", within_s=NEVER_S)


WIFI_OUT = {
    "wrong name": (
        {"local": {"ssid": "Site"}},
        ("ssid_not_found", SCANS * SCAN_S, "access point ap-1 is called 'site'"),
    ),
    "channel 12": (
        {"setup": {"wifi.access_points": [{"channel": 12}]}},
        ("ssid_not_found", SCANS * SCAN_S, "access point ap-1 is on channel 12"),
    ),
    "5 GHz": (
        {"setup": {"wifi.access_points": [{"channel": 44}]}},
        ("ssid_not_found", SCANS * SCAN_S, "access point ap-1 is on channel 44, in the 5 GHz band"),
    ),
    "no access point": (
        {"setup": {"wifi.access_points": []}},
        ("ssid_not_found", SCANS * SCAN_S, "the site has no access point"),
    ),
    "wrong password": (
        {"local": {"password": "Site-Password"}},
        ("wifi_password", SCAN_S + HANDSHAKE_TIMEOUT_S, "access point ap-1 has another password"),
    ),
    "too weak": (
        {"place": {"wifi.signal_dbm": -85.0}},
        ("wifi_weak", SCANS * SCAN_S, "access point ap-1 arrives with -85 dBm over 0 dB of noise"),
    ),
    "too far": (
        {"place": {"wifi.signal_dbm": -99.0}},
        ("ssid_not_found", SCANS * SCAN_S, "access point ap-1 arrives with -99 dBm"),
    ),
}


@pytest.mark.parametrize(("where", "expected"), WIFI_OUT.values(), ids=WIFI_OUT)
def test_wi_fi_that_does_not_come_up(where: Mapping[str, Any], expected: tuple[str, float, str]) -> None:
    why, seconds, true_cause = expected
    causes: list[str] = []

    async def story(life: Life) -> None:
        await watch(life)
        causes.append(cause(life.world))

    trace = live(story, **where)
    failed = first(trace, "boot.link.failed").data
    assert (failed["why"], failed["seconds"]) == (why, pytest.approx(seconds))
    assert causes == [true_cause]
    assert len(trace.where("boot.link.failed")) >= 4 and not trace.where("boot.address.*")


def test_no_password_gets_into_the_trace() -> None:
    trace = live(watch, local={"password": "Site-Password"})
    lines = "\n".join(event.as_json() for event in trace.events)
    assert "Site-Password" not in lines and "site-password" not in lines


def test_the_link_stage_says_what_it_is_attached_to() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online", within_s=3)
        assert cause(life.world) == ""
        assert isinstance(life.world, SimWorld)
        with pytest.raises(UsageError, match="ZPR999999: no such charger"):
            life.world.surroundings.cause("ZPR999999")

    passed = first(live(story), "boot.link.passed").data
    assert passed["detail"] == "wifi, site, access point ap-1, channel 6, -55 dBm"
    assert passed["seconds"] == pytest.approx(1.0)


STRIKES = {
    "hop to channel 13": ({"kind": "wifi.channel"}, {}, "ssid_not_found"),
    "renamed": ({"kind": "wifi.ssid_changed"}, {}, "ssid_not_found"),
    "new password": ({"kind": "wifi.password_changed"}, {}, "wifi_password"),
    "signal": ({"kind": "wifi.signal", "dbm": -90.0}, {}, "wifi_weak"),
    "noise": ({"kind": "wifi.noise", "db": 40.0}, {}, "wifi_weak"),
    "restart": ({"kind": "wifi.ap_reboot"}, {}, "ssid_not_found"),
    "cable out": ({"kind": "link.down"}, {}, "no_carrier"),
    "SIM locked": ({"kind": "lte.sim"}, LTE, "sim_inactive"),
    "SIM gone": ({"kind": "lte.sim", "state": "absent"}, LTE, "sim_absent"),
    "abroad": ({"kind": "lte.roaming"}, {**LTE, "roaming": False}, "roaming_denied"),
    "cell gone": ({"kind": "lte.coverage"}, LTE, "no_coverage"),
    "garage door": ({"kind": "lte.garage_door"}, LTE, "no_coverage"),
}


@pytest.mark.parametrize(("fault", "local", "why"), STRIKES.values(), ids=STRIKES)
def test_what_strikes_a_charger_that_is_online_throws_it_off_names_itself_and_heals(
    fault: dict[str, Any], local: dict[str, Any], why: str
) -> None:
    struck_at: list[float] = []

    async def story(life: Life) -> None:
        await life.until("device.online")
        struck_at.append(asyncio.get_running_loop().time())
        undo = await life.inject(**fault)
        await life.until("boot.link.failed", within_s=120)
        assert cause(life.world) != ""
        undo()
        await life.until("device.online", within_s=HEALED_S)
        assert cause(life.world) == ""

    trace = live(story, local=local)
    offline, failed = first(trace, "device.offline"), first(trace, "boot.link.failed")
    assert (offline.t, offline.data["why"]) == (struck_at[0], "reset")
    assert failed.data["why"] == why
    assert not trace.where("boot.hub.failed"), "without a link nothing else is tried"
    assert last(trace, "boot.link.passed").data["attempt"] > 1


def test_a_full_access_point_keeps_a_charger_out_that_has_lost_its_place() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        undo = await life.inject(kind="wifi.full")
        await asyncio.sleep(60)
        assert life.charger.snapshot().online, "those that are in stay"
        down = await life.inject(kind="link.down")
        down()
        await life.until("boot.link.failed", why="wifi_full")
        assert cause(life.world) == "no room: access point ap-1 has 0"
        undo()
        await life.until("device.online", within_s=HEALED_S)

    live(story)


def test_a_client_limit_is_shared_by_the_chargers_of_the_site() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        _, env = life.world.produce("ZPR000002")
        with pytest.raises(NetError) as caught:
            await env.host.link_up(Mode.WIFI, FACTORY)
        assert caught.value.reason is NetReason.WIFI_FULL
        life.charger.cut_power()
        await asyncio.sleep(1)
        await env.host.link_up(Mode.WIFI, FACTORY)
        life.charger.restore_power()
        await life.until("boot.link.failed", why="wifi_full")
        env.host.link_down()
        await life.until("device.online", within_s=HEALED_S)

    live(story, setup={"wifi.access_points": [{"clients_max": 1}]})


def test_a_hop_within_the_channels_that_it_sees_costs_a_moment_and_no_session() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await life.inject(kind="wifi.channel", channel=11)
        await asyncio.sleep(600)
        carrier = life.charger.env.host.carrier
        assert carrier is not None and carrier.detail.endswith("channel 11")

    trace = live(story)
    assert not trace.where("device.offline") and len(trace.where("boot.link.*")) == 1


def test_automatic_channel_selection_is_advised_against_for_a_reason() -> None:
    async def story(life: Life) -> None:
        await asyncio.sleep(20 * 3600)

    trace = live(story, setup={"wifi.access_points": [{"choose_channel_s": 3600.0}]})
    lost = trace.where("boot.link.failed", SERIAL)
    assert {event.data["why"] for event in lost} == {"ssid_not_found"}
    assert last(trace, "device.online").data["connection"] > 1
    steady = live(story)
    assert not steady.where("device.offline")


def test_an_access_point_that_restarts_every_night_costs_a_few_minutes_each() -> None:
    async def story(life: Life) -> None:
        await asyncio.sleep(3 * 86_400 + 600)
        assert life.charger.snapshot().online

    trace = live(story, setup={"wifi.access_points": [{"reboot_every_s": 86_400.0}]})
    gone, back = (trace.where(f"device.{word}", SERIAL) for word in ("offline", "online"))
    assert [event.t for event in gone] == [86_400.0, 2 * 86_400.0, 3 * 86_400.0]
    assert all(on.t - off.t < HEALED_S for off, on in zip(gone, back[1:], strict=True))


def test_a_signal_below_the_knee_is_slow_and_lossy_and_still_a_link() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online", within_s=NEVER_S)

    good, bad = live(story), live(story, place={"wifi.signal_dbm": -79.0})
    assert "below the -75 dBm that it needs" in first(bad, "boot.link.passed").data["detail"]
    assert first(bad, "device.online").t > 3 * first(good, "device.online").t


def test_strangers_use_up_the_data_and_the_rate() -> None:
    used: list[float] = []

    async def story(life: Life) -> None:
        await life.until("device.online")
        await life.inject(kind="wifi.strangers", mb_per_h=600.0)
        await asyncio.sleep(3600)
        assert isinstance(life.world, SimWorld)
        used.append(life.world.surroundings.strangers_mb)
        again = await life.inject(kind="link.down")
        again()
        await life.until("device.online", within_s=NEVER_S)

    slow = live(story, setup={"wifi.access_points": [{"data_budget_mb": 500.0, "throttled_bps": 9600.0}]})
    assert used == [pytest.approx(600.0)]
    assert last(slow, "boot.hub.passed").data["seconds"] > 3.0, "a handshake of some 5 KiB at 9.6 kbit/s"


def test_lte_attaches_by_itself_and_is_slower_than_wi_fi() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online", within_s=15)

    passed = first(live(story, local=LTE), "boot.link.passed").data
    assert passed["detail"] == "lte, LTE-M, Telenor, -95 dBm"
    assert passed["seconds"] == pytest.approx(8.0)


def test_a_modem_that_hangs_gets_a_power_cycle_after_three_silent_attempts() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online", within_s=300)

    fault = {"kind": "lte.modem_hung"}
    trace = live(story, local=LTE, before=lambda world: world.inject(fault, where="test"))
    failed = trace.where("boot.link.failed", SERIAL)
    assert [event.data["why"] for event in failed] == ["modem_silent"] * 3
    assert [event.data["seconds"] for event in failed] == [pytest.approx(s) for s in (10.0, 5.0, 5.0)]
    assert first(trace, "boot.link.passed").data["seconds"] == pytest.approx(8.0), "the modem starts anew"


def test_a_modem_that_hangs_while_online_is_found_out_by_the_silence() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await life.inject(kind="lte.modem_hung")
        await life.until("device.offline", why="timed_out", within_s=300)
        await life.until("boot.link.failed", why="modem_silent", within_s=300)
        await life.until("device.online", within_s=HEALED_S)

    live(story, local=LTE)


def test_mains_that_are_cut_restart_a_modem_that_hangs() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await life.inject(kind="lte.modem_hung")
        life.charger.cut_power()
        await asyncio.sleep(5)
        life.charger.restore_power()
        await life.until("device.online", within_s=30)

    assert not live(story, local=LTE).where("boot.link.failed")


def test_a_ppp_that_is_stuck_is_restarted_after_two_failures_of_the_transport() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await life.inject(kind="lte.ppp_stuck")
        await life.until("link.restart", mode="lte", within_s=300)
        await life.until("device.online", within_s=30)

    trace = live(story, local=LTE)
    assert [event.data["why"] for event in trace.where("boot.hub.failed", SERIAL)] == ["timed_out"] * 2
    assert not trace.where("boot.link.failed")


def test_the_site_s_firewall_does_not_concern_a_charger_on_lte() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online", within_s=30)

    blocked = {"kind": "site.block", "protocol": "tcp", "port": 8883}
    live(story, local=LTE, before=lambda world: world.inject(blocked, where="test"))


def test_a_sim_whose_data_is_used_up_still_gets_its_charger_online() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        down = await life.inject(kind="link.down")
        down()
        await life.until("device.online", within_s=NEVER_S)

    place = {"lte.data_budget_mb": 0.004, "lte.throttled_bps": 9600.0}
    throttled = last(live(story, local=LTE, place=place), "boot.hub.passed").data["seconds"]
    unlimited = last(live(story, local=LTE), "boot.hub.passed").data["seconds"]
    assert throttled > 3 * unlimited


def test_a_link_that_flaps_is_used_while_it_is_there() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        undo = await life.inject(kind="link.flapping", up_s=120.0, down_s=10.0)
        await asyncio.sleep(3600)
        undo()
        await life.until("device.online", within_s=HEALED_S)

    trace = live(story)
    losses = [event.t for event in trace.where("device.offline", SERIAL)]
    assert len(losses) > 10
    rounds = [(at - losses[0]) / 130 for at in losses]
    assert rounds == pytest.approx([round(number) for number in rounds], abs=1e-6)


def test_bursts_of_loss_are_what_tcp_is_for() -> None:
    async def story(life: Life) -> None:
        await life.inject(kind="link.lossy", loss=0.2, burst_s=2.0)
        await life.until("device.online", within_s=NEVER_S)
        await asyncio.sleep(3600)
        assert life.charger.snapshot().online

    live(story)


def test_packets_that_vanish_behind_a_carrier_end_the_session_by_its_timers() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        undo = await life.inject(kind="link.lossy", loss=1.0)
        lost = await life.until("device.offline", within_s=600)
        assert lost.data["why"] == "timed_out"
        undo()
        await life.until("device.online", within_s=HEALED_S)

    trace = live(story)
    assert not trace.where("boot.link.failed")


def test_small_packets_and_a_low_rate_only_take_longer() -> None:
    async def story(life: Life) -> None:
        await life.inject(kind="link.mtu", mtu_bytes=576)
        await life.inject(kind="link.rate", rate_bps=9600.0)
        await life.until("device.online", within_s=NEVER_S)

    assert first(live(story), "boot.hub.passed").data["seconds"] > 3.0


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_gives_the_same_trace_whatever_the_link_does(seed: int) -> None:
    async def story(life: Life) -> None:
        await life.inject(kind="link.lossy", loss=0.1, burst_s=1.0)
        await life.inject(kind="wifi.strangers")
        await asyncio.sleep(600)

    setup = {"wifi.access_points": [{"choose_channel_s": 100.0}]}
    one, other = (live(story, seed=seed, setup=setup, place={"wifi.signal_dbm": -77.0}).digest() for _ in range(2))
    assert one == other

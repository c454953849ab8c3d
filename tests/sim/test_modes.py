"""Which link a charger comes online by, what the cloud hears of it, and the swap test of diagnostics mode."""

import asyncio
from typing import Any

import pytest

from cloud_stub.worlds import SimWorld
from emulator.device.local_settings import SWAP_TEST_S
from emulator.local import FACTORY
from tests.life import SERIAL, Life, live

HOUR_S = 3600.0


async def online(life: Life) -> None:
    await life.until("device.online")
    await asyncio.sleep(30)


def heard(life: Life, observation: int) -> str | None:
    """The last value of an observation that the cloud has."""
    assert isinstance(life.world, SimWorld)
    state = life.world.cloud.store.device(SERIAL)
    found = state.observations.get(observation)
    return found.value if found is not None else None


@pytest.mark.parametrize(
    ("mode", "label", "signal"), [("wifi", "Wifi", "-55"), ("lte", "LTE", "47"), ("plc", "PLC", None)]
)
def test_the_cloud_hears_which_link_it_is_and_how_strong(mode: str, label: str, signal: str | None) -> None:
    async def story(life: Life) -> None:
        await online(life)
        assert [heard(life, id_) for id_ in (150, 809, 851)] == [label, signal, None]

    (up,) = live(story, local={"mode": mode}).where("boot.link.passed", SERIAL)
    assert (up.data["mode"], up.data["tried"]) == (mode, [])


WAYS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"mode": "wifi", "fallback": ["lte"]}, {"wifi.signal_dbm": -100.0}, ["ssid_not_found"]),
    ({"mode": "wifi", "fallback": ["lte"], "password": "not-the-password"}, {}, ["wifi_password"]),
    ({"mode": "plc", "fallback": ["lte"], "plc_key": "not-the-key"}, {}, ["plc_key"]),
    ({"mode": "plc", "fallback": ["wifi", "lte"], "ssid": "other"}, {"plc.phases": "L3+N"}, ["plc_wiring", "ssid"]),
]


@pytest.mark.parametrize(("local", "place", "reasons"), WAYS)
def test_a_link_that_does_not_come_up_is_told_and_the_fallback_is_used(
    local: dict[str, Any], place: dict[str, Any], reasons: list[str]
) -> None:
    async def story(life: Life) -> None:
        await online(life)
        assert [heard(life, id_) for id_ in (150, 851)] == ["LTE", "1"]

    trace = live(story, local=local, place=place)
    (degraded,) = trace.where("boot.link.*", SERIAL)
    assert (degraded.data["outcome"], degraded.data["why"]) == ("degraded", "fallback_link")
    assert degraded.data["mode"] == "lte" and len(degraded.data["tried"]) == len(reasons)
    assert all(reason in tried for reason, tried in zip(reasons, degraded.data["tried"], strict=True))
    assert degraded.data["seconds"] == pytest.approx(degraded.t)  # all of them within one attempt


def test_a_link_that_is_lost_is_tried_before_its_fallback_again() -> None:
    async def story(life: Life) -> None:
        await online(life)
        heal = await life.inject(kind="plc.gateway_down")
        await life.until("boot.link.degraded", mode="wifi", within_s=60)
        await life.until("device.online", within_s=30)
        heal()
        await asyncio.sleep(HOUR_S)
        assert life.charger.value(150) == "Wifi"  # nothing drives it from a link that works
        await life.inject(kind="wifi.ap_reboot", for_s=1.0)
        await life.until("boot.link.passed", mode="plc", within_s=200)
        await life.until("device.online", within_s=120)
        await asyncio.sleep(30)
        assert [heard(life, id_) for id_ in (150, 851)] == ["PLC", "0"]

    live(story, local={"mode": "plc", "fallback": ["wifi"]})


def test_when_nothing_works_the_reason_is_that_of_the_link_that_is_set() -> None:
    async def story(life: Life) -> None:
        failed = await life.until("boot.link.failed", within_s=120)
        assert failed.data["why"] == "ssid_not_found"
        assert [tried.partition(":")[0] for tried in failed.data["tried"]] == ["wifi", "lte", "plc"]

    local = {"mode": "wifi", "fallback": ["lte", "plc"], "ssid": "other", "plc_key": "not-the-key"}
    live(story, local=local, place={"lte.sim": "inactive"})


def test_wifi_below_the_knee_works_but_is_said_to_be_weak() -> None:
    (up,) = live(online, place={"wifi.signal_dbm": -76.0}).where("boot.link.passed", SERIAL)
    assert "below the -75 dBm that it needs" in up.data["detail"]


# The installer changes his mind


def test_the_installer_corrects_the_key_and_the_charger_is_online_at_once() -> None:
    async def story(life: Life) -> None:
        for _ in range(4):
            await life.until("boot.link.failed", why="plc_key")
        assert life.charger.configure_local({"plc_key": FACTORY.plc_key}) == {"plc_key"}
        changed_at = asyncio.get_running_loop().time()
        came = await life.until("device.online", within_s=10)
        assert came.t - changed_at < 5

    live(story, local={"mode": "plc", "plc_key": "not-the-key"})


def test_another_link_is_dialled_at_once_and_after_a_power_cut_again() -> None:
    async def story(life: Life) -> None:
        await online(life)
        life.charger.configure_local({"mode": "lte"})
        await life.until("device.online", within_s=30)
        await asyncio.sleep(30)
        assert heard(life, 150) == "LTE"
        life.charger.inject({"kind": "device.power_cut", "for_s": 5.0})
        await life.until("boot.link.passed", mode="lte")
        await life.until("device.online")

    live(story)


def test_the_cloud_reads_and_writes_local_settings() -> None:
    async def story(life: Life) -> None:
        await online(life)
        status, text = await life.world.command(SERIAL, 300)
        assert status == 200
        assert "communication_mode=Wifi" in text and FACTORY.password not in text
        status, _ = await life.world.command(SERIAL, 300, ["Device_Parameters", "communication_mode", "LTE"])
        assert status == 200
        await life.until("device.online", within_s=60)
        assert life.charger.value(150) == "LTE"
        assert (await life.world.command(SERIAL, 800, ["Set Wifi"]))[0] == 200
        await life.until("device.online", within_s=60)
        assert life.charger.value(150) == "Wifi"

    live(story)


# The swap test


def diagnose(life: Life) -> None:
    assert isinstance(life.world, SimWorld)
    life.charger.configure({"805": "1"})


def test_in_diagnostics_mode_a_link_without_a_network_is_swapped_back_after_180_s() -> None:
    async def story(life: Life) -> None:
        await online(life)
        diagnose(life)
        life.charger.configure_local({"mode": "lte", "fallback": ["wifi"]})
        begun = await life.until("device.swap_test")
        await life.until("boot.link.failed", why="sim_inactive", within_s=60)
        back = await life.until("device.swap_back", within_s=SWAP_TEST_S + 1)
        assert back.t - begun.t == pytest.approx(SWAP_TEST_S)
        came = await life.until("device.online", within_s=60)
        assert came.t - back.t < 5
        assert life.charger.local.mode == "wifi"

    trace = live(story, place={"lte.sim": "inactive"})
    tries = [event for event in trace.where("boot.link.failed", SERIAL)]
    assert len(tries) > 2  # it went on trying
    assert all(event.data["tried"][0].startswith("lte") and len(event.data["tried"]) == 1 for event in tries)


def test_in_diagnostics_mode_a_link_that_carries_no_mqtt_is_swapped_back_too() -> None:
    async def story(life: Life) -> None:
        await online(life)
        diagnose(life)
        stuck = await life.inject(kind="hub.connack", code=5)
        life.charger.configure_local({"mode": "plc"})
        begun = await life.until("device.swap_test")
        await life.until("boot.link.passed", mode="plc")
        await life.until("boot.hub.failed", within_s=60)
        back = await life.until("device.swap_back", within_s=SWAP_TEST_S + 1)
        assert back.t - begun.t == pytest.approx(SWAP_TEST_S)
        stuck()
        await life.until("device.online", within_s=300)
        assert life.charger.value(150) == "Wifi"

    live(story)


def test_in_diagnostics_mode_a_link_that_works_is_kept() -> None:
    async def story(life: Life) -> None:
        await online(life)
        diagnose(life)
        life.charger.configure_local({"mode": "plc"})
        await life.until("device.swap_test")
        await life.until("device.swap_kept", mode="plc", within_s=30)
        await asyncio.sleep(2 * SWAP_TEST_S)
        assert life.charger.snapshot().online and life.charger.value(150) == "PLC"

    assert live(story).where("device.swap_back") == []

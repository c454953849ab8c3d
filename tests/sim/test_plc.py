"""Chargers on the mains, from power-on to the hub: what is wrong with line, key or gateway is what the stage says."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from emulator.device.charger import Charger
from emulator.net.place import Setup
from emulator.net.plc import JOIN_S, SEARCH_S, SWAP_LEAST_S, SWAP_MEAN_S
from emulator.trace import Recorder
from emulator.world import WorldOptions, load_world
from tests.life import SERIAL, Life, live

PLC = {"mode": "plc"}
HOUR_S = 3600.0


async def online(life: Life) -> None:
    await life.until("device.online")


async def first_failure(life: Life) -> None:
    await life.until("boot.link.failed", within_s=60)


def test_a_charger_on_the_mains_comes_online_through_the_gateway() -> None:
    async def story(life: Life) -> None:
        up = await life.until("boot.link.passed", mode="plc")
        assert up.t == pytest.approx(JOIN_S)
        assert up.data["signal_dbm"] is None and up.data["carrier"].startswith("gateway-1")
        await life.until("device.online", within_s=5)
        assert life.charger.value(150) == "PLC"
        await asyncio.sleep(24 * HOUR_S)

    trace = live(story, local=PLC)
    assert len(trace.where("boot.link.*")) == 1  # one gateway is stable


GATEWAY: dict[str, Any] = {"name": "gateway-1"}
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("plc_key", {"local": {"plc_key": "not-the-site's-key"}}),
    ("plc_wiring", {"place": {"plc.phases": "L2+N"}}),
    ("plc_wiring", {"setup": {"plc.grid": "it"}, "place": {"plc.phases": "L1+N"}}),
    ("plc_noise", {"place": {"plc.cable_m": 120.0}}),
    ("plc_noise", {"place": {"plc.noise_db": 30.0}}),
    ("plc_full", {"setup": {"plc.gateways": [{**GATEWAY, "other_nodes": 30}]}}),
    ("plc_no_gateway", {"setup": {"plc.gateways": []}}),
    ("plc_no_gateway", {"setup": {"plc.gateways": [{**GATEWAY, "uplink": "lte"}]}}),
    ("plc_no_gateway", {"setup": {"plc.gateways": [{**GATEWAY, "wifi": {"signal_dbm": -85.0}}]}}),
]


@pytest.mark.parametrize(("why", "site"), WRONG)
def test_what_is_wrong_on_the_mains_is_what_the_stage_says(why: str, site: dict[str, Any]) -> None:
    site = {**site, "local": {**PLC, **site.get("local", {})}}
    (failed,) = live(first_failure, **site).where("boot.link.failed", SERIAL)[:1]
    assert failed.data["why"] == why
    assert failed.t == pytest.approx(SEARCH_S)


def test_an_old_gateway_takes_a_charger_with_another_key() -> None:
    gateways = [{**GATEWAY, "encrypted": False}]
    live(online, local={**PLC, "plc_key": "not-the-site's-key"}, setup={"plc.gateways": gateways})


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"kind": "plc.noise"}, "plc_noise"),
        ({"kind": "plc.key_changed"}, "plc_key"),
        ({"kind": "plc.phases"}, "plc_wiring"),
        ({"kind": "plc.gateway_down"}, "plc_no_gateway"),
    ],
)
def test_a_fault_on_the_mains_takes_the_carrier_and_healed_it_comes_back(fault: dict[str, Any], why: str) -> None:
    async def story(life: Life) -> None:
        await online(life)
        struck_at = asyncio.get_running_loop().time()
        heal = await life.inject(**fault)
        lost = await life.until("device.offline", detail="the link went down", within_s=1)
        assert lost.t == pytest.approx(struck_at)
        await life.until("boot.link.failed", why=why, within_s=60)
        heal()
        await life.until("device.online", within_s=120)

    live(story, local=PLC)


def test_a_full_gateway_keeps_its_node_until_that_leaves() -> None:
    async def story(life: Life) -> None:
        await online(life)
        heal = await life.inject(kind="plc.full")
        await asyncio.sleep(HOUR_S)
        assert life.charger.snapshot().online
        life.charger.reboot("test")
        await life.until("boot.link.failed", why="plc_full", within_s=60)
        heal()
        await life.until("device.online", within_s=120)

    live(story, local=PLC)


@pytest.mark.parametrize("how", ["site", "fault"])
def test_several_gateways_make_a_charger_swap_networks_and_one_is_stable_again(how: str) -> None:
    async def story(life: Life) -> None:
        heal = await life.inject(kind="plc.second_gateway") if how == "fault" else None
        await asyncio.sleep(6 * HOUR_S)
        if heal is not None:
            heal()
            await asyncio.sleep(300)
            links = len(life.recorder.where("boot.link.passed"))
            await asyncio.sleep(6 * HOUR_S)
            assert len(life.recorder.where("boot.link.passed")) == links
            assert life.charger.snapshot().online

    setup = {"plc.gateways": [{"name": "east"}, {"name": "west"}]} if how == "site" else {}
    trace = live(story, local=PLC, setup=setup)
    ups = [event for event in trace.where("boot.link.passed", SERIAL) if event.t < 6 * HOUR_S]
    gateways = [event.data["carrier"].partition(",")[0] for event in ups]
    assert all(one != other for one, other in pairwise(gateways))
    assert 6 * HOUR_S / (2 * SWAP_MEAN_S) < len(ups) < 6 * HOUR_S / SWAP_LEAST_S
    lost = [event.data["detail"] for event in trace.where("device.offline", SERIAL)]
    assert set(lost) == {"the link went down"}


def test_strangers_on_the_access_point_of_the_gateway_are_felt_by_its_nodes() -> None:
    def handshake_s(clients: bool) -> float:
        strangers = {"kind": "wifi.strangers", "rate_share": 0.999}
        trace = live(online, local=PLC, before=lambda w: w.inject(strangers, where="test") if clients else None)
        return trace.where("boot.hub.passed", SERIAL)[0].data["seconds"]

    assert handshake_s(True) > 1.5 * handshake_s(False)


def test_the_gateways_access_point_restarts_and_its_nodes_come_back() -> None:
    async def story(life: Life) -> None:
        await online(life)
        await life.inject(kind="wifi.ap_reboot", for_s=300.0)
        await life.until("device.offline", detail="the link went down", within_s=60)
        await life.until("boot.link.failed", why="plc_no_gateway", within_s=60)
        await life.until("device.online", within_s=300)

    live(story, local=PLC)


def test_a_gateway_that_is_a_charger_here_takes_its_nodes_with_it_when_its_power_is_cut() -> None:
    gateway, node = "ZPR000009", SERIAL
    recorder = Recorder()
    setup = Setup().with_changes({"plc.gateways": [{"name": gateway}]}, where="setup")
    world = load_world("sim", WorldOptions(sinks=(recorder,), setup=setup))

    async def story() -> None:
        await world.start()
        chargers = [Charger(*world.produce(gateway)), Charger(*world.produce(node, local=PLC))]
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(charger.run()) for charger in chargers]
            await asyncio.sleep(120)
            assert all(charger.snapshot().online for charger in chargers)
            power_cut = chargers[0].inject({"kind": "device.power_cut"})
            await asyncio.sleep(0.1)
            assert [charger.snapshot().online for charger in chargers] == [False, False]
            await asyncio.sleep(60)
            power_cut()
            await asyncio.sleep(120)
            assert all(charger.snapshot().online for charger in chargers)
            chargers[0].configure_local({"mode": "lte"})
            await asyncio.sleep(120)
            assert [charger.snapshot().online for charger in chargers] == [True, False]
            for task in running:
                task.cancel()
        await world.close()

    with asyncio.Runner(loop_factory=world.loop_factory) as runner:
        runner.run(story())
    whys = [event.data["why"] for event in recorder.where("boot.link.failed", node)]
    assert set(whys) == {"plc_no_gateway"}


def test_the_network_key_is_in_no_event() -> None:
    key = "a-key-nobody-may-see"
    site = {"plc.gateways": [{**GATEWAY, "key": "another-secret-key"}]}
    trace = live(first_failure, local={**PLC, "plc_key": key}, setup=site)
    text = "".join(event.as_json() for event in trace.events)
    assert key not in text and "another-secret-key" not in text

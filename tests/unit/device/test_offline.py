"""What a charger does without its hub, and what the hub hears of it afterwards."""

import asyncio

import pytest

from emulator.device.car import Car
from emulator.device.session import STORE_MAX
from emulator.device.uplink import STALLS_MAX
from emulator.wire.messages import DeviceEvent, Pulse, parse
from tests.unit.device.bench import TRUE_TIME, Bench, play
from tests.unit.device.test_charger import GUID, charging


def test_after_a_loss_it_waits_then_comes_back_without_a_second_twin() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.hubs[0].lose()
        await asyncio.sleep(10.5)
        assert bench.starts == ["link", "names"]
        await asyncio.sleep(30)

    bench = play(story)
    assert len(bench.hubs) == 2
    assert bench.events("device.offline") == [{"why": "reset", "detail": ""}]
    assert sum("twin/GET" in sent.topic for sent in bench.sent) == 1
    back = [s for s in bench.sent if s.t > 60]
    assert parse(back[0].payload) == DeviceEvent(30, "Connected: 2")  # type: ignore[arg-type]
    assert next(s.observations[0].id for s in back if s.observations) == 147
    assert parse(back[-1].payload) == Pulse()
    assert len(bench.charger.boots) == 1


def test_what_happens_offline_is_told_later_with_its_time() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.reachable.clear()
        bench.hubs[0].lose()
        await asyncio.sleep(100)
        bench.charger.plug_in(Car())
        await asyncio.sleep(100)
        assert bench.charger.snapshot().outbox > 0
        bench.reachable.set()
        await asyncio.sleep(60)
        assert bench.charger.snapshot().outbox == 0

    bench = play(story)
    plugged, asked_again = [o for s in bench.sent for o in s.observations if (o.id, o.value) == (710, "2")]
    assert (plugged.at - TRUE_TIME).total_seconds() == pytest.approx(160, abs=0.1)
    assert asked_again.at > plugged.at  # the car still waits for its grant


def test_a_car_that_has_its_grant_does_not_ask_again_after_a_loss() -> None:
    async def story(bench: Bench) -> None:
        await charging(bench)
        bench.hubs[0].lose()
        await asyncio.sleep(60)
        assert len(bench.hubs) == 2

    assert play(story).told(710) == ["1", "2", "3"]


def test_the_outbox_drops_the_oldest_and_says_how_many() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.reachable.clear()
        bench.hubs[0].lose()
        for _ in range(10):
            await asyncio.sleep(10)
            bench.charger.plug_in(Car())
            await asyncio.sleep(10)
            bench.charger.unplug()
        snapshot = bench.charger.snapshot()
        assert (snapshot.outbox, snapshot.outbox_dropped) == (5, 16)

    play(story, {"telemetry.outbox_max": 5})


def test_a_hub_that_does_not_acknowledge_gets_it_again() -> None:
    async def story(bench: Bench) -> None:
        await charging(bench)
        bench.hubs[0].acknowledges = False
        bench.charger.unplug()
        await asyncio.sleep(20)
        assert bench.charger.snapshot().sessions_waiting == 1
        assert bench.charger.snapshot().online
        bench.hubs[0].acknowledges = True
        await asyncio.sleep(60)
        assert bench.charger.snapshot().sessions_waiting == 0
        assert len(bench.hubs) == 1

    bench = play(story)
    assert len(set(bench.told(723))) == 1
    assert bench.told(710)[-1] == "1"


def test_a_hub_that_never_acknowledges_loses_the_session_and_the_next_one_gets_everything() -> None:
    async def story(bench: Bench) -> None:
        await charging(bench)
        bench.hubs[0].acknowledges = False
        bench.charger.unplug()
        await asyncio.sleep(STALLS_MAX * 20 + 60)
        assert len(bench.hubs) == 2
        assert (bench.charger.snapshot().outbox, bench.charger.snapshot().sessions_waiting) == (0, 0)

    bench = play(story)
    assert len(bench.events("device.stalled")) == STALLS_MAX
    assert bench.events("device.session_given_up") == [{"why": "no PUBACK, 3 times in a row"}]
    assert bench.events("device.offline") == [{"why": "timed_out", "detail": "no PUBACK, 3 times in a row"}]


def test_a_finished_session_that_finds_the_store_full_is_told_of() -> None:
    async def story(bench: Bench) -> None:
        bench.reachable.clear()
        await asyncio.sleep(60)
        for _ in range(STORE_MAX + 2):
            bench.charger.plug_in(Car())
            bench.charger.charge.rename_session(GUID)
            bench.charger.unplug()
        snapshot = bench.charger.snapshot()
        assert (snapshot.sessions_waiting, snapshot.sessions_lost) == (STORE_MAX, 2)

    assert play(story).events("session.lost") == [{"session_id": GUID}] * 2

"""Lives of a charger: power-on, hello, a charge, loss of the hub, reboot, update, power cut."""

import asyncio
import json
from itertools import pairwise

import pytest

from emulator.device.car import Car
from emulator.device.observations import GREETING
from emulator.device.update import Rejected
from emulator.errors import UsageError
from emulator.wire.messages import DeviceEvent, Pulse, parse, parse_completed_session
from emulator.wire.update_reason import UpdateReason
from tests.unit.device.bench import BOOT_S, INSTALLATION, SERIAL, Bench, play

GUID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


async def charging(bench: Bench, **car: float) -> None:
    """Get to the state in which current flows."""
    await asyncio.sleep(60)
    bench.charger.plug_in(Car(**car))  # type: ignore[arg-type]
    await asyncio.sleep(1)
    assert bench.command("504", [GUID]) == 200
    assert bench.command("501", ["16", "4"]) == 200
    await asyncio.sleep(10)
    assert bench.charger.snapshot().state == "charging"


def test_hello_after_power_on() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)

    bench = play(story)
    (hub,) = bench.hubs
    assert [name for name, qos in hub.subscribed if qos == 2] == [
        "$iothub/methods/POST/#",
        "$iothub/twin/res/#",
        "$iothub/twin/PATCH/properties/desired/#",
    ]
    twin, hello, *rest = bench.sent
    assert (twin.topic, twin.payload) == ("$iothub/twin/GET/?$rid=4200", b"")
    assert parse(hello.payload) == DeviceEvent(30, "Connected: 1")  # type: ignore[arg-type]
    assert hello.topic.startswith(f"devices/{SERIAL}/messages/events/$.ct=application%2Fjson&$.ce=utf-8&ri=default&ii=")
    assert [[o.id for o in sent.observations] for sent in rest[:3]] == [
        [100, 708, 519, 721, 712, 911, 908, 916, 909, 811, 815, 804, 702, 710, 548, 917, 918, 808],
        [id_ for id_ in GREETING[1] if id_ != 809],  # a cable has no signal
        [150, 712, 547, 523, 151, 153],
    ]
    assert [sent.observations[0].id for sent in rest[3:8]] == [501, 866, 952, 120, 147]
    assert parse(rest[8].payload) == Pulse()
    assert len(rest) == 9
    assert bench.events("device.online") == [{"connection": 1}]
    assert bench.charger.messages_up == len(bench.sent) - 1
    assert bench.starts == ["link"]


def test_a_charge_as_the_cloud_sees_it() -> None:
    async def story(bench: Bench) -> None:
        await charging(bench, energy_wanted_kwh=2.0)
        assert bench.charger.snapshot().power_w == pytest.approx(3 * 230 * 16)
        await asyncio.sleep(3600)
        assert bench.charger.snapshot().state == "finished"
        bench.charger.unplug()
        await asyncio.sleep(5)

    bench = play(story)
    assert bench.told(710) == ["1", "2", "3", "5", "1"]
    assert bench.told(702) == ["12", "9", "6", "9", "12"]
    assert bench.told(708, 30)[:2] == ["16.000", "0.000"]
    assert GUID in bench.told(721)
    assert bench.told(714, 30) == ["32", "0"]
    assert {f"{0.1 * n:.3f}" for n in range(1, 11)} | {"1.200", "1.400", "1.800", "2.000"} <= set(bench.told(553))
    assert max(float(value) for value in bench.told(513)) == pytest.approx(11040)
    (value,) = bench.told(723)
    session = parse_completed_session(value)
    assert (session.session_id, session.energy_kwh, session.reliable_clock) == (GUID, 2.0, True)
    (began,) = [o.at for s in bench.sent for o in s.observations if (o.id, o.value) == (710, "2")]
    assert session.started_at == began
    assert bench.charger.charge.sessions.waiting() == []


def test_the_pulse_quickens_while_charging_and_is_announced_first() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(1200)
        await charging(bench)
        await asyncio.sleep(600)

    bench = play(story)
    assert bench.told(147) == ["120", "600", "180"]
    kinds = [
        (s.t, "147" if s.observations else "beat")
        for s in bench.sent
        if b'"Type":2}' in s.payload or b":147," in s.payload
    ]
    assert [kind for _, kind in kinds[:2]] == ["147", "beat"]
    beats = [t for t, kind in kinds if kind == "beat"]
    assert [round(b - a) for a, b in pairwise(beats[:6])] == [120, 120, 120, 120, 600]
    assert round(beats[-1] - beats[-2]) == 180


def test_a_quiet_day_costs_little() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(86_400)

    bench = play(story)
    beats = sum(b'"Type":2}' in sent.payload for sent in bench.sent)
    assert 144 <= beats <= 150
    assert len(bench.sent) < beats + 30


def test_restart_by_command_ends_the_session_in_order_and_keeps_the_car() -> None:
    async def story(bench: Bench) -> None:
        await charging(bench)
        assert bench.command("102") == 200
        assert bench.command("102") == 400
        await asyncio.sleep(2.5)
        assert bench.charger.snapshot().state == "charging"
        await asyncio.sleep(1)
        assert bench.charger.snapshot().state == "requesting"
        assert bench.charger.snapshot().power_w == 0
        await asyncio.sleep(60)

    bench = play(story)
    assert bench.hubs[0].closed_in_order
    assert bench.starts == ["link", "link"]
    assert [p.reason for p in bench.charger.power_ons] == ["power-on", "command 102"]
    assert bench.told(811) == ["1", "3"]
    assert bench.told(721)[-1] == GUID
    assert len(bench.charger.boots) == 2
    assert sum("twin/GET" in sent.topic for sent in bench.sent) == 2


def test_a_power_cut_loses_ram_and_nothing_else() -> None:
    async def story(bench: Bench) -> None:
        await charging(bench)
        await asyncio.sleep(600)
        energy = bench.charger.snapshot().session_kwh
        bench.charger.inject({"kind": "device.power_cut", "for_s": 300})
        await asyncio.sleep(1)
        assert not bench.charger.snapshot().powered
        assert bench.charger.snapshot().power_w == 0
        await asyncio.sleep(330)
        after = bench.charger.snapshot()
        assert (after.online, after.car_connected, after.session_id) == (True, True, GUID)
        assert after.session_kwh == pytest.approx(energy, abs=0.01)

    bench = play(story)
    assert not bench.hubs[0].closed_in_order
    assert [p.reason for p in bench.charger.power_ons] == ["power-on", "power cut"]


def test_a_car_that_left_in_the_dark_ends_its_session_at_an_unknown_time() -> None:
    async def story(bench: Bench) -> None:
        await charging(bench)
        undo = bench.charger.inject({"kind": "device.power_cut"})
        await asyncio.sleep(10)
        bench.charger.unplug()
        undo()
        undo()
        await asyncio.sleep(60)

    bench = play(story)
    (value,) = bench.told(723)
    assert not parse_completed_session(value).reliable_clock


def test_a_power_cut_in_the_middle_of_the_boot_starts_it_again() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(BOOT_S / 2)
        bench.charger.inject({"kind": "device.power_cut", "for_s": 1})
        await asyncio.sleep(60)
        assert bench.charger.snapshot().online

    bench = play(story)
    assert bench.starts == ["link", "link"]
    assert len(bench.hubs) == 1


def test_an_update_is_installed_told_and_booted() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        assert bench.command("201") == 200
        assert bench.command("201") == 400
        assert bench.charger.snapshot().updating
        await asyncio.sleep(60)
        assert bench.charger.snapshot().firmware == "5.4.0.0"

    bench = play(story)
    assert [json.loads(v)["Description"] for v in bench.told(830)] == ["Accepted"]
    assert bench.told(911) == ["5.3.0.3", "5.4.0.0"]
    first, second = bench.charger.power_ons
    assert (second.reason, second.firmware_before, second.firmware) == ("update", first.firmware, "5.4.0.0")
    assert bench.events("device.reboot") == [{"reason": "update", "after_s": 3.0}]


def test_a_rejected_update_leaves_the_firmware_running_and_says_so() -> None:
    async def story(bench: Bench) -> None:
        bench.update_result = Rejected(UpdateReason.UNCONFIRMED, "not now")
        await asyncio.sleep(60)
        assert bench.command("200") == 200
        await asyncio.sleep(60)
        assert not bench.charger.snapshot().updating

    bench = play(story)
    assert [json.loads(v)["Description"] for v in bench.told(830)] == ["Rejected"]
    assert len(bench.charger.power_ons) == 1
    assert any(b"[ota_metrics] @" in sent.payload and b"not now" in sent.payload for sent in bench.sent)


def test_an_update_waits_for_the_car_to_leave() -> None:
    async def story(bench: Bench) -> None:
        await charging(bench)
        assert bench.command("200") == 200
        assert not bench.charger.snapshot().updating
        bench.charger.unplug()
        assert bench.charger.snapshot().updating

    play(story)


def test_settings_from_the_twin_are_echoed_kept_and_obeyed() -> None:
    async def story(bench: Bench) -> None:
        await charging(bench)
        bench.desired({"510": "10", "802": "Bay 7", "801": "other"})
        await asyncio.sleep(10)
        assert bench.charger.snapshot().power_w == pytest.approx(3 * 230 * 10)
        assert "ri=other" in bench.sent[-1].topic
        assert bench.command("102") == 200
        await asyncio.sleep(60)
        assert bench.charger.settings[802] == "Bay 7"
        assert "ri=other" in bench.sent[-1].topic

    bench = play(story)
    assert bench.told(802)[-2:] == ["Bay 7", "Bay 7"]
    assert bench.events("device.settings") == [{"changed": [510, 801, 802]}]


def test_the_whole_twin_is_taken_over_at_the_first_connection() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        body = json.dumps({"desired": {"Settings": {"120": "1"}, "$version": 4}, "reported": {}}).encode()
        bench.hubs[0].on_message("$iothub/twin/res/200/?$rid=4200", body)
        bench.hubs[0].on_message("$iothub/twin/res/429/?$rid=4200", b"")
        await asyncio.sleep(1)

    bench = play(story)
    assert bench.told(120) == ["0", "1"]
    assert bench.events("device.twin") == [{"status": 200}, {"status": 429}]


def test_a_charger_without_installation_is_online_but_does_not_charge() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.charger.plug_in(Car())
        assert bench.command("501", ["16", "4"]) == 400
        bench.desired({"800": INSTALLATION})
        assert bench.command("501", ["16", "4"]) == 200
        await asyncio.sleep(10)
        assert bench.charger.snapshot().state == "charging"
        bench.desired({"711": "0"})
        assert bench.charger.snapshot().state == "paused"
        await asyncio.sleep(1)

    bench = play(story, {"hub.installation_id": "00000000-0000-0000-0000-000000000000"})
    assert bench.told(804)[-1] == "2048"


def test_strange_topics_are_ignored() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        for topic in ("", "$iothub/methods/POST//?$rid=1", "$iothub/twin/res/x/?$rid=1", "devices/x"):
            bench.hubs[0].on_message(topic, b"{}")
        await asyncio.sleep(1)
        assert bench.charger.snapshot().online

    assert len(play(story).events("device.ignored")) == 4


def test_one_car_at_a_time() -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(UsageError):
            bench.charger.unplug()
        bench.charger.plug_in(Car())
        with pytest.raises(UsageError):
            bench.charger.plug_in(Car())

    play(story)


def test_the_same_seed_gives_the_same_trace() -> None:
    async def story(bench: Bench) -> None:
        await charging(bench)
        bench.hubs[0].lose()
        await asyncio.sleep(7200)
        bench.charger.unplug()
        await asyncio.sleep(60)

    assert play(story).trace.digest() == play(story).trace.digest()


def test_few_tasks_rest() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(1000)
        assert len(asyncio.all_tasks()) <= 2 + 3  # the runner's two, then: life and the keepers of lease and clock

    play(story)

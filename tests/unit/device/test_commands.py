"""Every direct method: what it answers in which state, and what a payload that makes no sense gets."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.device.car import Car
from emulator.device.commands import COMMANDS
from emulator.device.observations import ECHO, STARTUP
from tests.unit.device.bench import Bench, play

GUID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
NOT_A_GUID = "x" * 36

Prepare = Callable[[Bench], None]


def no_car(bench: Bench) -> None:
    pass


def requesting(bench: Bench) -> None:
    bench.charger.plug_in(Car(start_delay_s=0))


def ready(bench: Bench) -> None:
    requesting(bench)
    assert bench.command("501", ["16", "4"]) == 200


def charging(bench: Bench) -> None:
    ready(bench)
    bench.charger.charge.serve_car()
    assert bench.charger.charge.machine.state == "charging"


def paused(bench: Bench) -> None:
    charging(bench)
    assert bench.command("502") == 200


def stopped(bench: Bench) -> None:
    charging(bench)
    assert bench.command("506") == 200


def tag_required(bench: Bench) -> None:
    bench.desired({"120": "1"})
    requesting(bench)


def tag_shown(bench: Bench) -> None:
    tag_required(bench)
    bench.charger.show_card("04A1B2C3")


def standalone(bench: Bench) -> None:
    bench.desired({"712": "1"})
    tag_shown(bench)


CASES: list[tuple[str, Prepare, Any, int, str]] = [
    ("1", no_car, None, 200, "disconnected"),
    ("102", no_car, None, 200, "disconnected"),
    ("102", charging, None, 200, "charging"),
    ("200", no_car, None, 200, "disconnected"),
    ("200", charging, None, 200, "charging"),
    ("201", no_car, None, 200, "disconnected"),
    ("201", charging, None, 200, "charging"),
    ("300", no_car, None, 200, "disconnected"),
    ("300", no_car, [], 200, "disconnected"),
    ("300", no_car, ["Device_Parameters", "hmi_brightness", "0.7"], 200, "disconnected"),
    ("300", no_car, ["Device_Parameters", "serial", "ZPR000002"], 400, "disconnected"),
    ("300", no_car, ["Device_Parameters", "communication_mode", "Pigeon"], 400, "disconnected"),
    ("300", no_car, ["Device_Parameters", "hmi_brightness"], 400, "disconnected"),
    ("300", no_car, ["Device_Parameters", "hmi_brightness", 1], 400, "disconnected"),
    ("300", no_car, {"Device_Parameters": {}}, 400, "disconnected"),
    ("501", no_car, ["16", "4"], 400, "disconnected"),
    ("501", requesting, ["16", "4"], 200, "ready"),
    ("501", requesting, ["32", "4"], 200, "ready"),
    ("501", requesting, ["0", "4"], 200, "requesting"),
    ("501", requesting, ["33", "4"], 400, "requesting"),
    ("501", requesting, ["-1", "4"], 400, "requesting"),
    ("501", requesting, ["nan", "4"], 400, "requesting"),
    ("501", requesting, ["16", "7"], 400, "requesting"),
    ("501", requesting, ["16"], 400, "requesting"),
    ("501", requesting, [16, 4], 400, "requesting"),
    ("501", requesting, ["sixteen", "4"], 400, "requesting"),
    ("501", requesting, {"amps": "16"}, 400, "requesting"),
    ("501", requesting, None, 400, "requesting"),
    ("501", charging, ["10", "1"], 200, "charging"),
    ("501", charging, ["0", "4"], 200, "paused"),
    ("501", paused, ["10", "4"], 200, "ready"),
    ("501", stopped, ["10", "4"], 400, "stopped"),
    ("502", no_car, None, 400, "disconnected"),
    ("502", charging, None, 200, "paused"),
    ("502", charging, ["now"], 400, "charging"),
    ("502", paused, None, 400, "paused"),
    ("503", no_car, None, 200, "disconnected"),
    ("504", no_car, [GUID], 400, "disconnected"),
    ("504", no_car, [""], 400, "disconnected"),
    ("504", requesting, [GUID], 200, "requesting"),
    ("504", charging, [GUID], 200, "charging"),
    ("504", charging, [""], 200, "requesting"),
    ("504", charging, "", 200, "requesting"),
    ("504", requesting, [None], 400, "requesting"),
    ("504", requesting, ["short"], -1, "requesting"),
    ("504", requesting, None, -1, "requesting"),
    ("504", requesting, "x" * 40, -2, "requesting"),
    ("504", requesting, [NOT_A_GUID], 400, "requesting"),
    ("504", requesting, [GUID, GUID], 400, "requesting"),
    ("504", requesting, [[GUID, GUID]], 400, "requesting"),
    ("202", no_car, None, 400, "disconnected"),
    ("202", charging, None, 400, "charging"),
    ("202", no_car, ["factory"], 200, "disconnected"),
    ("202", charging, "factory", 200, "charging"),
    ("202", no_car, "other", 400, "disconnected"),
    ("505", no_car, ["nfc-04A1B2C3"], 400, "disconnected"),
    ("505", requesting, ["nfc-04A1B2C3"], 400, "requesting"),
    ("505", tag_required, ["nfc-04A1B2C3"], 200, "requesting"),
    ("505", tag_required, ["x" * 32], 200, "requesting"),
    ("505", tag_required, ["x" * 33], 0, "requesting"),
    ("505", tag_required, [7_654_321], 0, "requesting"),
    ("505", tag_required, None, 0, "requesting"),
    ("505", no_car, [""], 400, "disconnected"),
    ("505", charging, [""], 200, "requesting"),
    ("505", standalone, ["nfc-04A1B2C3"], 400, "requesting"),
    ("506", no_car, None, 400, "disconnected"),
    ("506", requesting, None, 200, "stopped"),
    ("506", charging, None, 200, "stopped"),
    ("506", paused, None, 200, "stopped"),
    ("506", stopped, None, 400, "stopped"),
    ("507", no_car, None, 400, "disconnected"),
    ("507", charging, None, 400, "charging"),
    ("507", paused, None, 200, "requesting"),
    ("507", stopped, None, 200, "requesting"),
    ("601", no_car, None, 400, "disconnected"),
    ("601", requesting, None, 400, "requesting"),
    ("601", tag_shown, None, 200, "requesting"),
    ("601", standalone, None, 200, "requesting"),
    ("602", requesting, None, 400, "requesting"),
    ("602", tag_shown, None, 200, "requesting"),
    ("602", standalone, None, 400, "requesting"),
    ("800", no_car, ["Reconnect"], 200, "disconnected"),
    ("800", charging, ["Set LTE"], 200, "charging"),
    ("800", no_car, "Set Wifi", 200, "disconnected"),
    ("800", no_car, ["Update certificate"], 200, "disconnected"),
    ("800", no_car, ["Update certificate 7"], 200, "disconnected"),
    ("800", no_car, ["Update certificate x"], 400, "disconnected"),
    ("800", no_car, ["Set PLC"], 400, "disconnected"),
    ("800", no_car, None, 400, "disconnected"),
    ("999", no_car, None, 0, "disconnected"),
    ("reboot", no_car, None, 0, "disconnected"),
    ("\u0661\u0660\u0662", no_car, None, 0, "disconnected"),
]


@pytest.mark.parametrize(("name", "prepare", "payload", "status", "state"), CASES)
def test_status_and_state(name: str, prepare: Prepare, payload: Any, status: int, state: str) -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        prepare(bench)
        assert bench.command(name, payload) == status
        assert bench.charger.snapshot().state == state
        assert bench.events("device.command")[-1]["status"] == status

    play(story)


def test_every_row_is_walked() -> None:
    walked = {int(case[0]) for case in CASES if case[0].isascii() and case[0].isdigit()}
    assert set(COMMANDS) == {1, 102, 200, 201, 202, 300, 501, 502, 503, 504, 505, 506, 507, 601, 602, 800}
    assert walked == set(COMMANDS) | {999}


def test_a_grant_is_acknowledged_by_current_and_phases() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        requesting(bench)
        await asyncio.sleep(1)
        assert bench.command("501", ["10", "1"]) == 200
        await asyncio.sleep(1)

    bench = play(story)
    together = [[(o.id, o.value) for o in sent.observations] for sent in bench.sent if sent.t >= 61]
    assert any({(708, "10.000"), (519, "1")} <= set(message) for message in together)


def test_the_charge_session_gets_the_clouds_id_and_loses_it_by_a_reset() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        requesting(bench)
        local = bench.charger.snapshot().session_id
        bench.command("504", [GUID])
        assert bench.charger.snapshot().session_id == GUID
        bench.command("504", "")
        assert bench.charger.snapshot().session_id not in (None, GUID, local)

    play(story)


def test_report_state_sends_startup_set_and_settings_again() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        assert bench.command("503") == 200
        await asyncio.sleep(1)

    bench = play(story)
    startup, echo = ([o.id for o in sent.observations] for sent in bench.sent[-2:])
    assert startup == [id_ for id_ in STARTUP if id_ != 981]
    assert echo == list(ECHO)


def test_a_command_leaves_no_secret_in_the_trace() -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep(60)
        bench.command("501", ["password-of-the-site", "4"])

    assert "password-of-the-site" not in str(play(story).trace.events)


@given(st.sampled_from(sorted(COMMANDS)), st.binary() | st.just(b"[" * 100_000))
def test_garbage_gets_a_status_and_nothing_else(command: int, payload: bytes) -> None:
    arguments = COMMANDS[command].check(payload)
    assert arguments in (400, 0, -1, -2) or isinstance(arguments, tuple)

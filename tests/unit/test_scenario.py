"""Scenario files, and how one is played: steps in order and in time, and a verdict in words."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import UsageError
from emulator.player import Player
from emulator.scenario import load_scenario, parse_scenario, shipped_names
from emulator.verdict import Verdict
from emulator.world import WorldOptions, load_world, world_names
from tests.toy import BOOT, POWER_ON, Part, ToyCharger, ToyWorld, stage

HEAD = """
name = "story"
title = "A symptom."
cause = "A cause."
fix = "A fix."
"""
POWER = '[[step]]\nat_s = 0\ndo = "power_on"\n'
EXPECT = '[expect]\nevents = ["device.online"]\nwithin_s = 30\n'


def run(
    text: str,
    part: Part = BOOT,
    *,
    ending: Callable[[], None] | None = None,
    **world: Any,
) -> tuple[Verdict, ToyWorld, ToyCharger]:
    """Play a scenario with a charger that plays `part`."""
    made: list[ToyCharger] = []

    def make(spec: Any, env: Any) -> ToyCharger:
        made.append(ToyCharger(spec, env, part, ending))
        return made[0]

    player = Player(parse_scenario(text, where="story.toml"), make)
    place = ToyWorld(WorldOptions(sinks=(player.see,)), **world)
    with asyncio.Runner(loop_factory=place.loop_factory) as runner:
        verdict = runner.run(player.run(place))
    assert place.closed == 1
    return verdict, place, made[0]


# Files


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_scenario_is_named_after_its_file_and_says_what_to_do(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.title.endswith(".") and scenario.fix.endswith(".")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "x.toml: Invalid value (at end of document)"),
        ("a = " + "[" * 5000, "x.toml: nested too deeply"),
        ("title = 1", "x.toml: name: is missing"),
        (HEAD + '[[step]]\nat_s = 0\ndo = "explode"\n' + EXPECT, "x.toml: step.1.do: 'explode' is not an act;"),
        (HEAD + "[[step]]\nat_s = 0\n" + EXPECT, "x.toml: step.1.do: is missing; one of inject"),
        (HEAD + '[[step]]\nat_s = "0"\ndo = "power_on"\n' + EXPECT, "x.toml: step.1.at_s: Input should be a valid"),
        (HEAD + POWER + "volts = 3\n" + EXPECT, "x.toml: step.1.volts: no such key"),
        (HEAD + '[[step]]\ndo = "power_on"\n' + EXPECT, "x.toml: step.1: needs one of at_s and after"),
        (HEAD + '[[step]]\nat_s=0\ndelay_s=1\ndo = "power_on"\n' + EXPECT, "x.toml: step.1: delay_s goes with after"),
        (HEAD + POWER.replace("0", "5") + POWER + EXPECT, "x.toml: step.2.at_s: 0 is before the step above it"),
        (HEAD + POWER + POWER + EXPECT, "x.toml: step.2.do: the power is on already; use reboot"),
        (HEAD + POWER.replace("power_on", "unplug") + EXPECT, "x.toml: step: no step does power_on"),
        (HEAD + POWER.replace("power_on", "reboot") + EXPECT, "x.toml: step.1.do: reboot before power_on"),
        (
            HEAD + POWER + '[[step]]\nat_s = 1\ndo = "heal"\nfault = "dns.silence"\n' + EXPECT,
            "x.toml: step.2.fault: no step above injects 'dns.silence'",
        ),
        (HEAD + POWER + "[expect]\nwithin_s = 1\n", "x.toml: expect: expects nothing"),
        (HEAD + POWER + EXPECT + "min_run_s = 31\n", "x.toml: expect: min_run_s is longer than within_s"),
        (
            HEAD + POWER + '[expect]\nwithin_s=1\nstages=[{stage="hub",outcome="failed",why="tired"}]\n',
            "x.toml: expect.stages.1.why: Input should be 'no_carrier'",
        ),
        (
            HEAD + POWER + '[expect]\nwithin_s=1\nhistory=[{service="hub"}]\n',
            "x.toml: expect.history.1: needs one of count and at_least",
        ),
        (
            HEAD + '[charger.profile]\nntp.gait = "strict"\n' + POWER + EXPECT,
            "x.toml: charger.profile: ntp.gait: no such key",
        ),
        (HEAD + '[site.plc]\ngrid = "dc"\n' + POWER + EXPECT, "x.toml: site: plc.grid: Input should be 'tn' or 'it'"),
        (HEAD + "[site.sewage]\npipes = 3\n" + POWER + EXPECT, "x.toml: site: sewage: no such key"),
        (
            HEAD + "[charger.place.wifi]\nsignal_dbm = 10\n" + POWER + EXPECT,
            "x.toml: charger.place: wifi.signal_dbm: Input should be less than or equal to 0",
        ),
        (HEAD + '[charger.place]\n"plc.cable" = 3\n' + POWER + EXPECT, "x.toml: charger.place: plc.cable: no such key"),
        (HEAD + '[charger.local]\nmode = "pigeon"\n' + POWER + EXPECT, "x.toml: charger.local: mode: Input should be"),
        (HEAD + "[charger.local]\npin = 1\n" + POWER + EXPECT, "x.toml: charger.local: pin: Extra inputs are not"),
        (
            HEAD + POWER + '[[step]]\nat_s = 1\ndo = "local"\nset = { ssid = "" }\n' + EXPECT,
            "x.toml: step.2.set: ssid: String should have at least 1 character",
        ),
        (HEAD + '[charger]\nserial = "me"\n' + POWER + EXPECT, "x.toml: charger.serial: String should match pattern"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_file_key_and_reason(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_scenario(text, where="x.toml")
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=200))
def test_garbage_is_refused_and_nothing_else(text: str) -> None:
    with pytest.raises(UsageError):
        parse_scenario(text, where="x.toml")


def test_profile_changes_are_written_dotted_or_as_tables() -> None:
    tables = parse_scenario(HEAD + "[charger.profile.ntp]\ntries = 2\n" + POWER + EXPECT, where="x.toml")
    quoted = parse_scenario(HEAD + '[charger]\nprofile = { "ntp.tries" = 2 }\n' + POWER + EXPECT, where="x.toml")
    assert tables.charger.changes == quoted.charger.changes == {"ntp.tries": 2}


def test_site_place_and_local_settings_are_written_dotted_or_as_tables_and_reach_the_world() -> None:
    text = (
        HEAD
        + '[site.plc]\ngrid = "it"\ngateways = [{ name = "east", key = "key-of-the-site" }]\n'
        + '[charger.local]\nmode = "plc"\nplc_key = "key-of-the-site"\n'
        + '[charger.place]\n"plc.cable_m" = 40.0\n[charger.place.wifi]\nlevels_dbm = { ap-1 = -70.0 }\n'
        + POWER
        + '[[step]]\nat_s = 1\ndo = "local"\nset = { password = "secret-of-the-site" }\n'
        + '[[step]]\nat_s = 2\ndo = "command"\nid = 300\n'
        + 'payload = ["Wifi_Parameters", "password", "secret-of-the-site"]\n'
        + EXPECT
    )
    scenario = parse_scenario(text, where="x.toml")
    assert (scenario.setup.plc.grid, scenario.setup.plc.gateways[0].name) == ("it", "east")
    verdict, world, charger = run(text)
    local = {"mode": "plc", "plc_key": "key-of-the-site"}
    assert world.produced == (local, {"plc.cable_m": 40.0, "wifi.levels_dbm": {"ap-1": -70.0}})
    assert charger.done == [("local", {"password": "secret-of-the-site"})]
    told = f"{scenario}{verdict.as_json()}" + "".join(event.as_json() for event in verdict.timeline)
    assert "key-of-the-site" not in told and "secret-of-the-site" not in told


@pytest.mark.parametrize(
    "wrong",
    [
        '[charger.local]\npassword = "hunter2"\n',
        '[site.plc]\ngateways = [{ key = "hunter2" }]\n',
        '[site.wifi]\naccess_points = [{ password = "hunter2" }]\n',
    ],
)
def test_a_secret_that_is_refused_is_not_shown(wrong: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_scenario(HEAD + wrong + POWER + EXPECT, where="x.toml")
    assert "at least 8 characters" in str(refused.value) and "hunter2" not in str(refused.value)


def test_a_file_is_loaded_by_its_path_and_an_unknown_name_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + POWER + EXPECT, encoding="utf-8")
    assert load_scenario(str(path)).name == "story"
    with pytest.raises(UsageError, match=r"scenario nothing: no such name or file; shipped are .*ntp-silent"):
        load_scenario("nothing")
    with pytest.raises(UsageError, match="Is a directory"):
        load_scenario(str(tmp_path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_scenario(str(path))


# Worlds


def test_an_unknown_world_is_refused_with_the_names_there_are() -> None:
    assert {"sim", "loopback"} <= set(world_names())
    with pytest.raises(UsageError, match="world mars: not known; installed are lab, loopback, sim"):
        load_world("mars", WorldOptions())


def test_a_world_whose_plugin_cannot_be_imported_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "moon-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: moon\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[emulator.worlds]\nmoon = moon.base:build\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"world moon: plugin moon\.base:build is missing: No module named 'moon'"):
        load_world("moon", WorldOptions())


# Playing


def test_a_story_that_comes_true_is_ok_and_ends_as_soon_as_it_has() -> None:
    verdict, _, _ = run(HEAD + POWER + EXPECT)
    assert verdict.ok and verdict.failures == ()
    assert verdict.seconds == pytest.approx(0.7)


def test_the_verdict_holds_stages_resolver_clock_tls_messages_and_firmware() -> None:
    data = run(HEAD + POWER + EXPECT)[0].as_json()
    assert [row["stage"] for row in data["stages"]] == ["link", "address", "names", "time", "hub", "firmware"]
    assert data["stages"][2] == {
        "boot": 1,
        "stage": "names",
        "attempt": 1,
        "outcome": "degraded",
        "why": "fallback_dns",
        "seconds": 0.25,
        "detail": "",
    }
    assert data["resolver"] == ["8.8.8.8:53"]
    assert data["clock"] == {"before": "2025-03-01T00:00:00+00:00", "after": "2026-06-01T12:00:00+00:00"}
    assert data["tls"] == {"version": "TLSv1.2", "cipher": "ECDHE-RSA-AES256-GCM-SHA384"}
    assert data["messages"] == {"up": 7, "down": 2}
    assert data["firmware"] == {"before": "5.3.0.3", "after": "5.3.0.3"}


def test_the_same_run_gives_the_same_digest() -> None:
    digests = {run(HEAD + POWER + EXPECT)[0].digest for _ in range(2)}
    assert len(digests) == 1


def test_steps_happen_in_order_each_at_its_time_or_after_its_event() -> None:
    text = (
        HEAD
        + '[[step]]\nat_s = 0\ndo = "inject"\nfault = { kind = "dns.silence" }\n'
        + '[[step]]\nat_s = 2\ndo = "power_on"\n'
        + '[[step]]\nafter = "device.online"\ndelay_s = 3\ndo = "plug_in"\ncar = { phases = 1 }\n'
        + '[[step]]\nafter = { name = "device.charging", where = { state = "requesting" } }\ndo = "command"\n'
        + 'id = 501\npayload = ["16", "4"]\n'
        + '[[step]]\nafter = "scenario.command"\ndo = "offer_firmware"\nversion = "5.4.0.1"\n'
        + '[[step]]\nat_s = 10\ndo = "heal"\nfault = "dns.silence"\n'
        + '[[step]]\nat_s = 11\ndo = "unplug"\n'
        + '[expect]\nevents = ["scenario.unplug"]\nwithin_s = 60\n'
    )
    verdict, world, charger = run(text)
    assert verdict.ok
    assert world.done == [
        ("inject", {"kind": "dns.silence"}),
        ("command", ("ZPR000001", 501, ["16", "4"])),
        ("offer_firmware", ("5.4.0.1", "firmware")),
    ]
    assert world.faults == []
    assert [name for name, _ in charger.done] == ["plug_in", "unplug"]
    acts = {event.name: event.t - 0.5 for event in verdict.timeline if event.who == "scenario"}
    assert acts["scenario.power_on"] == pytest.approx(2)
    assert acts["scenario.plug_in"] == pytest.approx(2 + 0.7 + 3)
    assert acts["scenario.unplug"] == pytest.approx(11)


def test_faults_of_the_device_go_to_the_charger_and_a_reboot_is_a_power_cut() -> None:
    text = (
        HEAD
        + '[[step]]\nat_s = 0\ndo = "inject"\nlabel = "key"\nfault = { kind = "device.wrong_key" }\n'
        + POWER
        + '[[step]]\nat_s = 3\ndo = "heal"\nfault = "key"\n'
        + '[[step]]\nat_s = 4\ndo = "reboot"\n'
        + EXPECT
    )
    _, world, charger = run(text)
    assert world.done == []
    key, cut = {"kind": "device.wrong_key"}, {"kind": "device.power_cut"}
    assert charger.done == [("inject", key), ("undo", key), ("inject", cut), ("undo", cut)]


def test_stages_must_come_in_order_and_others_may_come_between() -> None:
    wanted = '[expect]\nwithin_s = 5\nstages = [{stage="%s",outcome="passed"},{stage="%s",outcome="passed"}]\n'
    assert run(HEAD + POWER + wanted % ("link", "hub"))[0].ok
    verdict, _, _ = run(HEAD + POWER + wanted % ("hub", "link"))
    assert verdict.failures == ("stage link passed did not happen after hub passed; the last was link passed",)


def test_what_does_not_come_is_said_in_words_when_the_time_is_over() -> None:
    text = (
        HEAD
        + POWER
        + '[[step]]\nafter = "device.never"\ndo = "unplug"\n'
        + '[expect]\nwithin_s = 5\nstages = [{stage="hub",outcome="failed",why="timed_out"}]\n'
        + 'events = [{name="device.charging", where={state="charging"}}]\n'
    )
    verdict, _, _ = run(text)
    assert verdict.seconds == pytest.approx(5)
    assert verdict.failures == (
        "stage hub failed (timed_out) did not happen; the last was hub passed",
        "event device.charging with state = charging did not happen",
        "step 2 (unplug) waits for event device.never, which did not happen",
    )


def test_a_stage_that_was_never_reached_is_said_so() -> None:
    text = HEAD + POWER + '[expect]\nwithin_s = 5\nstages = [{stage="hub",outcome="passed"}]\n'
    verdict, _, _ = run(text, [POWER_ON, (1.0, *stage("time", "failed", "ntp_silent"))])
    assert verdict.failures == ("stage hub passed did not happen; the stage was never reached",)


def test_values_of_a_stage_count_as_well() -> None:
    wanted = '[expect]\nwithin_s = 5\nstages = [{stage="names",outcome="degraded",where={server="%s"}}]\n'
    assert run(HEAD + POWER + wanted % "8.8.8.8:53")[0].ok
    assert not run(HEAD + POWER + wanted % "1.1.1.1:53")[0].ok


def test_what_must_never_happen_ends_the_run_when_it_does() -> None:
    verdict, _, _ = run(HEAD + POWER + '[expect]\nwithin_s = 50\nmin_run_s = 40\nnever = ["boot.hub.*"]\n')
    assert verdict.failures == ("event boot.hub.passed must never happen, and did at 1.000 s",)
    assert verdict.seconds < 1


def test_a_run_without_the_forbidden_lasts_at_least_as_long_as_it_must() -> None:
    verdict, _, _ = run(HEAD + POWER + '[expect]\nwithin_s = 50\nmin_run_s = 40\nnever = ["device.crashed"]\n')
    assert verdict.ok
    assert verdict.seconds == pytest.approx(40)


def test_the_services_own_histories_are_evidence() -> None:
    text = (
        HEAD
        + POWER
        + '[expect]\nwithin_s = 9\nhistory = [{service="hub",count=0},{service="dns",request="A *",at_least=2}]\n'
    )
    asked = [{"request": "A hub", "reply": "1.2.3.4"}] * 2
    assert run(text, histories={"dns": asked})[0].ok
    verdict, _, _ = run(text, histories={"dns": asked[:1], "hub": [{"request": "TCP", "reply": "accepted"}]})
    assert verdict.failures == ("hub saw 1 requests, expected 0", "dns saw 1 requests 'A *', expected at least 2")


def test_a_command_that_is_answered_otherwise_than_expected_fails_the_run() -> None:
    command = '[[step]]\nafter = "device.online"\ndo = "command"\nid = 201\n'
    verdict, _, _ = run(HEAD + POWER + command + EXPECT, reply=(400, None))
    assert verdict.failures == ("step 2: command 201 was answered 400, expected 200",)
    assert run(HEAD + POWER + command + "status = 400\n" + EXPECT, reply=(400, None))[0].ok


def test_a_charger_that_crashes_fails_the_run_loudly() -> None:
    def crash() -> None:
        raise ZeroDivisionError("amps by nothing")

    verdict, _, _ = run(HEAD + POWER + EXPECT.replace("device.online", "device.x"), ending=crash)
    assert not verdict.ok
    assert verdict.failures == ("crashed: ZeroDivisionError: amps by nothing",)
    assert verdict.crash is not None and "ExceptionGroup" in verdict.crash and "in crash" in verdict.crash


def test_a_charger_that_stops_by_itself_fails_the_run() -> None:
    verdict, _, _ = run(HEAD + POWER + EXPECT.replace("device.online", "device.x"), ending=lambda: None)
    assert verdict.failures == ("crashed: ChargerStopped: the charger stopped by itself",)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            'do = "inject"\nfault = { kind = "rain" }',
            "story: step.2.fault: kind: 'rain' is not a fault",
        ),
        ('do = "plug_in"\ncar = { wheels = 3 }', "story: step.2.car.wheels: no such key"),
        ('do = "plug_in"\ncar = { phases = 4 }', "story: step.2.car: car: phases: 4 is not 1, 2 or 3"),
        ('do = "plug_in"\ncar = { max_current_a = "lots" }', "story: step.2.car.max_current_a: Input should be"),
    ],
)
def test_a_step_that_asks_for_nonsense_is_bad_input_and_not_a_failed_run(step: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        run(f"{HEAD}{POWER}[[step]]\nat_s = 1\n{step}\n{EXPECT}", [POWER_ON])
    assert str(refused.value).startswith(message)


def test_an_expected_stage_that_does_not_exist_is_bad_input() -> None:
    text = HEAD + POWER + '[expect]\nwithin_s = 5\nstages = [{stage="dns",outcome="passed"}]\n'
    with pytest.raises(UsageError, match=r"expect\.stages\.1\.stage: 'dns' is not a boot stage; known are link, "):
        run(text)


def test_a_run_that_is_broken_off_still_closes_its_world() -> None:
    player = Player(parse_scenario(HEAD + POWER + EXPECT, where="story.toml"), partial(ToyCharger, part=[POWER_ON]))
    world = ToyWorld(WorldOptions(sinks=(player.see,)))

    async def interrupted() -> None:
        playing = asyncio.get_running_loop().create_task(player.run(world))
        await asyncio.sleep(2)
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing

    with asyncio.Runner(loop_factory=world.loop_factory) as runner:
        runner.run(interrupted())
    assert world.closed == 1

"""How a scenario is played: steps in order and in time, and a verdict in words."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from emulator.errors import UsageError
from emulator.player import Player
from emulator.scenario import parse_scenario
from emulator.telling import tell
from emulator.world import WorldOptions, load_world, world_names
from tests.toy import POWER_ON, ToyCharger, ToyWorld, stage
from tests.toy_story import EXPECT, HEAD, OFFER, POWER, PUBLISH, run

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


def test_a_step_that_the_cloud_cannot_do_is_named() -> None:
    step = OFFER + 'signer = "nobody"\n'
    with pytest.raises(UsageError, match=r"^story: step\.2: signer nobody: not known$"):
        run(HEAD + POWER + step + EXPECT)


def test_a_bundle_that_changes_the_firmware_keys_is_told_with_them() -> None:
    keys = 'firmware_keys = ["firmware", "firmware-next"]\nrevoked = ["firmware"]\n'
    verdict, _, _ = run(HEAD + POWER + PUBLISH + PUBLISH + keys + EXPECT + "min_run_s = 2\n")
    plain, listed = (tell(event) for event in verdict.timeline if event.name == "scenario.publish_bundle")
    assert plain is not None and plain.detail == "version 9, roots: old"
    assert listed is not None
    assert listed.detail == "version 9, roots: old; firmware keys: firmware, firmware-next; revoked: firmware"


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
        + "size_bytes = 70000\n"
        + '[[step]]\nat_s = 9\ndo = "publish_bundle"\nroots = "old"\n'
        + 'firmware_keys = ["firmware", "firmware-next"]\nrevoked = ["firmware"]\n'
        + '[[step]]\nat_s = 10\ndo = "heal"\nfault = "dns.silence"\n'
        + '[[step]]\nat_s = 11\ndo = "unplug"\n'
        + '[expect]\nevents = ["scenario.unplug"]\nwithin_s = 60\n'
    )
    verdict, world, charger = run(text)
    assert verdict.ok
    assert world.done == [
        ("inject", {"kind": "dns.silence"}),
        ("command", ("ZPR000001", 501, ["16", "4"])),
        ("offer_firmware", ("5.4.0.1", "firmware", 70_000)),
        ("publish_bundle", ("old", ("firmware", "firmware-next"), ("firmware",))),
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

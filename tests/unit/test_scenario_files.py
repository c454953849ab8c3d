"""Scenario files: what they may say, and one line for what is wrong with one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import UsageError
from emulator.scenario import load_scenario, parse_scenario, shipped_names
from tests.toy_story import EXPECT, HEAD, OFFER, POWER, PUBLISH, run


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
        (HEAD + POWER + OFFER + "size_bytes = 0\n" + EXPECT, "x.toml: step.2.size_bytes: Input should be greater"),
        (HEAD + POWER + PUBLISH + 'revoked = ["firmware"]\n' + EXPECT, "x.toml: step.2: revoked leaves none of"),
        (
            HEAD + POWER + PUBLISH + 'firmware_keys = "firmware"\n' + EXPECT,
            "x.toml: step.2.firmware_keys: Input should",
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

"""The command line: what it prints where, and its exit status. Scenarios are played in the simulated world."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from emulator.cli import app
from emulator.command_line import obey as obey_any
from emulator.scenario import shipped_names

STORY = """
name = "story"
title = "A charger gets an address."
cause = "A cause."
fix = "A fix."
[[step]]
at_s = 0
do = "power_on"
[expect]
stages = [{ stage = "address", outcome = "%s" }]
within_s = %s
"""


def story(folder: Path, outcome: str = "passed", within_s: float = 20) -> str:
    path = folder / "story.toml"
    path.write_text(STORY % (outcome, within_s), encoding="utf-8")
    return str(path)


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """The one JSON object on standard output."""
    output = capsys.readouterr()
    assert output.err == ""
    return json.loads(output.out)


def in_process(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "emulator", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def obey(arguments: list[str]) -> int:
    return obey_any(app, "emulator", arguments or ["--help"])


def test_help_is_quick_because_nothing_heavy_is_imported_for_it() -> None:
    heavy = {"rich.console", "pydantic", "asyncio", "uvloop", "cryptography", "httpx"}
    start = "from emulator.cli import app; from emulator.command_line import obey; obey(app, 'emulator', ['--help'])"
    program = f"import sys; {start}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "demo" in done.stdout and "play" in done.stdout and "fleet" in done.stdout


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_disk_under_the_output_is_told_in_one_line(buffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "emulator", "play", "--list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": buffered},
        )
    assert (done.returncode, done.stderr) == (2, "emulator: standard output: No space left on device\n")


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert obey([]) == 0
    assert "Usage: emulator" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "No such command 'fly'."),
        (["play", "--loud"], "No such option: --loud"),
        (["play", "--seed", "one"], "Invalid value for '--seed':"),
        (["play", "--seed", "-1", "demo"], "Invalid value for '--seed':"),
        (["fleet", "--chargers", "0"], "Invalid value for '--chargers':"),
        (["play"], "play: needs one of NAME or FILE, --all and --list"),
        (["play", "demo", "--all"], "play: needs one of NAME or FILE, --all and --list"),
        (["play", "nothing"], "scenario nothing: no such name or file;"),
        (["play", "demo", "--world", "mars"], "world mars: not known; installed are"),
        (["demo", "--world", "mars"], "world mars: not known; installed are"),
        (["play", "demo", "--html", "/no/such/folder/x.html"], "--html /no/such/folder/x.html: no such folder"),
    ],
)
def test_bad_usage_is_one_line_on_standard_error_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert obey(arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"emulator: {message}")
    assert output.err.count("\n") == 1
    assert "Traceback" not in output.out


def test_a_broken_file_is_named_with_key_and_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert obey(["play", story(tmp_path, "lost")]) == 2
    assert capsys.readouterr().err.startswith("emulator: story.toml: expect.stages.1.outcome: Input should be 'passed'")


def test_the_shipped_scenarios_are_listed_with_their_symptoms(capsys: pytest.CaptureFixture[str]) -> None:
    assert obey(["play", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == shipped_names()
    assert obey(["play", "--list", "--json"]) == 0
    assert [entry["name"] for entry in printed(capsys)["scenarios"]] == shipped_names()


def test_a_story_that_comes_true_is_status_0_and_json_is_all_there_is_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert obey(["play", story(tmp_path), "--json", "--seed", "3"]) == 0
    (verdict,) = printed(capsys)["scenarios"]
    assert verdict["ok"] and verdict["failures"] == [] and verdict["crash"] is None
    assert (verdict["name"], verdict["world"], verdict["seed"]) == ("story", "sim", 3)
    assert [row["stage"] for row in verdict["stages"]] == ["link", "address"]
    assert verdict["timeline"][0]["name"] == "scenario.power_on"


def test_a_story_that_does_not_come_true_is_status_1_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert obey(["play", story(tmp_path, "failed", 5)]) == 1
    output = capsys.readouterr()
    assert "✘ stage address failed did not happen; the last was address passed" in output.out
    assert "\x1b" not in output.out
    assert output.err == ""


def test_the_report_page_is_written_where_it_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    assert obey(["play", story(tmp_path), "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "1 of 1 scenarios as expected" in text
    assert obey(["play", story(tmp_path), "--html", str(tmp_path)]) == 2
    assert f"--html {tmp_path}: Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in shipped_names() if not name.startswith("demo")])
def test_every_shipped_failure_ends_as_its_scenario_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = obey(["play", name, "--json"])
    (verdict,) = printed(capsys)["scenarios"]
    assert verdict["failures"] == []
    assert status == 0


def test_the_demo_is_one_json_object_with_everything_that_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    status = obey(["demo", "--world", "sim", "--json"])
    report = printed(capsys)
    assert [(part["name"], part["failures"]) for part in report["scenarios"]] == [("demo", []), ("demo-dns-silent", [])]
    assert status == 0 and report["ok"] is True
    assert {row["boot"] for row in report["stages"]} == {1, 2, 3}
    assert set(report["stages"][0]) >= {"boot", "stage", "attempt", "outcome", "why", "seconds"}
    assert report["resolver"][2] == "8.8.8.8:53" and report["resolver"][0] != "8.8.8.8:53"
    assert report["clock"]["before"].startswith("2025-03-01") and report["clock"]["after"].startswith("2026-06-01")
    assert report["tls"]["version"] == "TLSv1.2" and report["tls"]["cipher"]
    assert report["messages"]["up"] > 10 and report["messages"]["down"] >= 4
    assert report["firmware"] == {"before": "5.3.0.3", "after": "5.4.0.1"}
    assert (report["world"], report["seed"]) == ("sim", 1)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_its_like_end_a_run_with_status_130_and_without_a_traceback(
    ending: signal.Signals, tmp_path: Path
) -> None:
    path = story(tmp_path, "failed", 1e9)
    with in_process("play", path, env=os.environ | {"PYTHONUNBUFFERED": "1"}) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if "power on" in line:
                break
        process.send_signal(ending)
        process.stdout.read()
        assert process.stderr.read() == ""
    assert process.returncode == 130


def test_a_reader_that_goes_away_ends_a_run_quietly(tmp_path: Path) -> None:
    with in_process("play", "--list") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""

"""The bench of a real charger process: driven by the client that tests of others use, and by a stream."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulator.bench.client import Bench, BenchError
from tests.integration.bench import TOKEN, BenchProgram
from tests.programs import CloudProgram, Program, python

README = Path(__file__).parents[2] / "README.md"
SERIAL = "ZPR000001"


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudProgram]:
    with CloudProgram("--bus", "local") as running:
        yield running


def charger(cloud: CloudProgram, folder: Path, *, serial: str = SERIAL, at: str = "127.0.0.1:0") -> BenchProgram:
    return BenchProgram(folder, "--control", cloud.ready["control"], "--serial", serial, at=at)


def end(program: Program) -> list[dict[str, Any]]:
    """Press Ctrl-C; the events that nobody had read."""
    program.press_ctrl_c()
    ended = program.ended()
    assert (ended.status, ended.errors) == (130, "")
    return [json.loads(line) for line in ended.output.splitlines()]


def filed(cloud: CloudProgram, bench: Bench) -> dict[str, Any]:
    """The charge session that the cloud has on file, once it has one."""
    after = 0
    for _ in range(20):
        _, device = cloud.call("GET", f"/devices/{SERIAL}")
        if device["sessions"]:
            (session,) = device["sessions"]
            return dict(session)
        after = bench.timeline(after, wait_s=1)["after"]
    raise AssertionError("the cloud has no session")


def test_a_charge_by_card_as_the_cloud_files_it(cloud: CloudProgram, tmp_path: Path) -> None:
    with charger(cloud, tmp_path) as program:
        bench = program.bench
        assert program.ready["serial"] == SERIAL
        bench.wait_online(within_s=30)
        cloud.call("PATCH", f"/devices/{SERIAL}/desired", {"Settings": {"120": "1"}})
        bench.wait_for("device.settings", within_s=10)
        bench.plug_in(start_delay_s=0.1)
        bench.wait_for("device.charging", state="requesting", within_s=10)
        assert bench.show_card("04A1B2C3") == "nfc-04A1B2C3"
        bench.wait_for("device.charging", state="charging", within_s=10)
        assert bench.snapshot()["charge"]["power_w"] == 11040.0
        with pytest.raises(BenchError, match=r"^POST /plug-in: plug-in: a car is connected already") as refused:
            bench.plug_in()
        assert refused.value.status == 409
        bench.unplug()
        bench.wait_for("device.charging", state="disconnected", within_s=10)
        session = filed(cloud, bench)
        (last,) = [event for event in end(program) if event["name"] == "device.shut_down"]
        assert last["who"] == SERIAL
    assert session["authentication_code"] == "nfc-04A1B2C3"


def test_faults_power_and_a_runner_that_is_started_anew(cloud: CloudProgram, tmp_path: Path) -> None:
    with charger(cloud, tmp_path) as program:
        bench, at = program.bench, program.ready["bench"].removeprefix("http://")
        bench.wait_online(within_s=30)
        number = bench.inject("link.down")
        bench.wait_for("boot.link.failed", why="no_carrier", within_s=10)
        assert bench.health() == {"online": False, "why": "link failed: no_carrier (wifi)"}
        bench.heal(number)
        bench.reboot(off_s=0.5)
        bench.wait_for("device.power_on", reason="power cut", within_s=10)
        with pytest.raises(BenchError, match=r"^never\.happens : did not happen within 0\.1 s"):
            bench.wait_for("never.happens", within_s=0.1)
        end(program)
        with pytest.raises(BenchError, match="the bench does not answer"):
            bench.snapshot()
        with charger(cloud, tmp_path, at=at) as again:
            bench.wait_for("device.power_on", reason="power-on", within_s=30)  # the same client, the next runner
            bench.wait_for("device.online", within_s=30)
            end(again)


def test_a_stream_of_events_goes_on_where_it_stopped_and_ends_with_the_charger(
    cloud: CloudProgram, tmp_path: Path
) -> None:
    with charger(cloud, tmp_path) as program:
        program.bench.wait_online(within_s=30)
        url, headers = program.ready["bench"] + "/events", {"Authorization": f"Bearer {TOKEN}"}
        with httpx.stream("GET", url, headers={**headers, "Last-Event-ID": "1"}, trust_env=False) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            first = [next(lines) for _ in range(3)]
            assert first[0] == "id: 2" and json.loads(first[2].removeprefix("data: "))["n"] == 2
            program.press_ctrl_c()
            assert "event: device.shut_down" in list(lines)
        assert program.ended().status == 130


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--bench", "nowhere"), "--bench nowhere: must be HOST:PORT"),
        (("--bench", "192.0.2.1:8090"), "--bench 192.0.2.1:8090: other machines reach this"),
        (("--bench", "127.0.0.1:0", "--bench-token-file", "{file}"), "others may touch it (mode 644)"),
        (("--bench-token-file", "{file}"), "is of no use without --bench"),
        (("--bench", "127.0.0.1:{port}"), "Address already in use"),
    ],
)
def test_a_bench_that_cannot_be_gets_one_line_and_status_2(options: tuple[str, ...], why: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [option.format(file=file, port=taken.getsockname()[1]) for option in options]
        ended = subprocess.run(python("emulator", "run", *given), capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2 and ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert why in line and TOKEN not in line


def test_the_test_in_the_readme_passes(cloud: CloudProgram, tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").partition("\nIn pytest:\n")[2].partition("\n#")[0]
    shown = "\n".join(line.removeprefix("    ") for line in section.splitlines())
    with charger(cloud, tmp_path, serial="ZPR000002") as program:
        own = {"http://127.0.0.1:8090": program.ready["bench"], '"bench.token"': repr(str(program.token_file))}
        for theirs, ours in own.items():
            assert theirs in shown
            shown = shown.replace(theirs, ours)
        names: dict[str, Any] = {}
        exec(shown, names)
        names["test_a_car_is_charged"]()
        end(program)


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Bench(f"http://127.0.0.1:{port}") as bench, pytest.raises(BenchError, match=r"^not online within 0 s: GET"):
        bench.wait_online(within_s=0)

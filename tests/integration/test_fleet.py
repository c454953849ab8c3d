"""``python -m emulator fleet`` as a program: a small fleet over several processes, and its end."""

import asyncio
import json
import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest

from emulator.errors import UsageError
from emulator.fleet import FleetOptions, run_fleet
from emulator.fleet_faults import fleet_fault, struck
from tests.programs import CloudProgram, Program, descendants, left_over, python

pytestmark = pytest.mark.needs("mosquitto")

STAGES = {"link", "address", "names", "time", "trust", "hub", "firmware"}
WITHIN_S = 60.0


def fleet(*options: str) -> Program:
    return Program(*python("emulator", "fleet", *options))


def report_of(*options: str) -> dict[str, Any]:
    """The report of a fleet that came up as it should."""
    with fleet(*options, "--json") as running:
        ended = running.ended(WITHIN_S)
    assert (ended.status, ended.errors) == (0, ""), ended
    report: dict[str, Any] = json.loads(ended.output)
    assert report["ok"] is True
    return report


def test_thirty_chargers_in_two_processes_come_online_each_from_an_address_of_its_own() -> None:
    report = report_of("--chargers", "30", "--workers", "2")
    assert (report["chargers"], report["workers"], report["online"], report["boots"]) == (30, 2, 30, 30)
    assert report["source_addresses"] == 30
    assert report["failures"] == {}
    assert report["messages"]["up"] >= 30
    assert set(report["stages"]) == STAGES
    for stage, spread in report["stages"].items():
        assert 0 <= spread["p50_ms"] <= spread["p90_ms"] <= spread["p99_ms"] <= spread["max_ms"], stage
    assert report["stages"]["hub"]["p50_ms"] > 0
    assert 0 < report["first_connack_s"] <= report["seconds"]


def test_one_process_is_enough_and_they_stay_for_the_duration() -> None:
    report = report_of("--chargers", "5", "--duration", "2")
    assert (report["online"], report["boots"], report["source_addresses"]) == (5, 5, 5)
    assert report["seconds"] >= 2


def test_more_processes_than_chargers_do_no_harm() -> None:
    assert report_of("--chargers", "2", "--workers", "3")["online"] == 2


def test_people_get_a_table() -> None:
    with fleet("--chargers", "2") as running:
        ended = running.ended(WITHIN_S)
    assert ended.status == 0
    assert all(stage in ended.output for stage in STAGES)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("stop", ["ctrl-c", "SIGTERM"])
def test_stopping_it_ends_chargers_and_cloud_alike(workers: str, stop: str) -> None:
    with fleet("--chargers", "10", "--workers", workers, "--duration", "60") as running:
        children = started(running.pid, at_least=2 if workers == "1" else 4)  # cloud, broker and workers
        if stop == "ctrl-c":
            running.press_ctrl_c()
        else:
            running.send_signal(signal.SIGTERM)
        ended = running.ended(WITHIN_S)
        assert (ended.status, ended.output) == (130, ""), ended
    assert left_over(children) == []


def test_killing_it_ends_its_cloud_its_broker_and_its_workers_too() -> None:
    with fleet("--chargers", "10", "--workers", "2", "--duration", "60") as running:
        watched = [os.pidfd_open(child) for child in started(running.pid, at_least=4)]
        running.send_signal(signal.SIGKILL)
        for child in watched:
            ended, _, _ = select.select([child], [], [], WITHIN_S)
            os.close(child)
            assert ended, "it lives on"


def started(pid: int, *, at_least: int) -> list[int]:
    """Spin until so many processes are there."""
    for _ in range(1_000_000):
        if len(children := descendants(pid)) >= at_least:
            return children
    raise AssertionError(f"never had {at_least} children")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--chargers", "0"), "'--chargers'"),
        (("--workers", "0"), "'--workers'"),
        (("--duration", "-1"), "'--duration'"),
        (("--nonsense",), "No such option: --nonsense"),
        (("--fault", "{"), "--fault {: not JSON"),
        (("--chargers", "1", "--fault", '{"kind": "link.down", "who": "nobody"}'), "who: 'nobody' is not in this"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_bad_options_give_one_line_and_status_2(options: tuple[str, ...], complaint: str) -> None:
    with fleet(*options) as running:
        ended = running.ended(WITHIN_S)
    assert (ended.status, ended.output) == (2, "")
    assert complaint in ended.errors and ended.errors.count("\n") == 1


def test_some_chargers_of_a_fleet_are_broken_and_its_report_tells_what_came_of_updates() -> None:
    """Two of ten have flash that takes nothing; one of them is told to update, as is one whose link is slow."""

    async def main(cloud: CloudProgram) -> dict[str, Any]:
        faults = (
            fleet_fault('{"kind": "device.flash_worn", "share": 0.2}'),
            fleet_fault('{"kind": "link.slow", "delay_s": 0.05, "who": "ZPR000010"}'),
        )
        worn = next(iter(struck(faults[:1], [f"ZPR{number:06}" for number in range(1, 11)], 1)))
        options = FleetOptions(10, workers=2, duration_s=8.0, control=cloud.ready["control"], faults=faults)
        running = asyncio.create_task(run_fleet(options))
        while (await asyncio.to_thread(cloud.call, "GET", "/clients"))[1]["online"] < 10:
            pass
        for serial in (worn, "ZPR000010"):
            command = "POST", f"/devices/{serial}/methods/201"
            while (await asyncio.to_thread(cloud.call, *command))[1].get("status") != 200:
                pass  # it is connected, and takes no methods yet
        return await running

    with CloudProgram() as cloud:
        cloud.call("POST", "/firmware", {"version": "5.4.0.0", "size_bytes": 200_000})
        report = asyncio.run(main(cloud))
    assert (report["ok"], report["updates"]["begun"], report["updates"]["rejected"]) == (True, 2, 1)
    assert report["updates"]["installed"] == 1
    assert report["updates_failed"] == {"flash": 1}
    assert sum(report["firmware"].values()) == 10


def test_a_cloud_that_runs_already_sees_each_come_and_go() -> None:
    with CloudProgram() as cloud:
        options = FleetOptions(chargers=20, workers=2, control=cloud.ready["control"])
        assert asyncio.run(run_fleet(options))["ok"] is True
        _, seen = cloud.call("GET", "/history/hub")
        logins = [each for each in seen["history"] if each["data"]["event"] == "connect"]
        assert sorted(each["data"]["device"] for each in logins) == [f"ZPR{number:06}" for number in range(1, 21)]
        assert {each["reply"] for each in logins} == {"0: accepted"}
        assert len({each["sender"].rpartition(":")[0] for each in logins}) == 20
        until_nobody_is_connected(cloud)


def until_nobody_is_connected(cloud: CloudProgram) -> None:
    for _ in range(1000):
        if cloud.call("GET", "/clients")[1]["connections"] == 0:
            return
    raise AssertionError("connections are left although the fleet has gone")


def test_without_a_cloud_at_the_control_address_it_says_so() -> None:
    with pytest.raises(UsageError, match=r"control http://127\.0\.0\.1:1/ready: no cloud answers there"):
        asyncio.run(run_fleet(FleetOptions(chargers=1, control="http://127.0.0.1:1")))


@pytest.mark.parametrize("module", ["cloud_stub", "emulator.fleet_worker"])
def test_when_the_cloud_or_a_worker_dies_the_fleet_ends_at_once_and_says_so(module: str) -> None:
    with fleet("--chargers", "10", "--workers", "2", "--duration", "60") as running:
        children = started(running.pid, at_least=4)
        victim = next(pid for pid in children if module in Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
        os.kill(victim, signal.SIGKILL)
        ended = running.ended(WITHIN_S)
    assert (ended.status, ended.output, ended.errors.count("\n")) == (2, "", 1), ended
    assert "status -9" in ended.errors
    assert left_over(children) == []

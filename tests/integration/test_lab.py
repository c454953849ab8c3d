"""``python -m cloud_stub lab``: a site with outside judges for neighbours, on true ports, and nothing of it left."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.integration.lab import LabProgram, belonging_to, catches, event, lab, room
from tests.programs import Program, left_over, python

pytestmark = [pytest.mark.needs("root", "nft", "dnsmasq", "chronyd", "mosquitto", "setpriv"), pytest.mark.slow]

BOOT_S, SOON_S, LOOK_S = 30.0, 20.0, 0.05
SERIAL, OTHER = "ZPR000001", "ZPR000002"


def wait_until(there: Callable[[], bool]) -> None:
    for _ in range(round(SOON_S / LOOK_S)):
        if there():
            return
        time.sleep(LOOK_S)  # noqa: TID251 - for other processes
    raise AssertionError(f"not within {SOON_S} s")


def wait_until_gone(pids: list[int]) -> None:
    wait_until(lambda: not left_over(pids))


def _all_catch(pids: list[int]) -> bool:
    return all(catches(pid, signal.SIGTERM) for pid in pids)


def test_dnsmasq_and_chrony_serve_a_whole_boot() -> None:
    with LabProgram("--chargers", "1") as place, place.charger(SERIAL) as charger:
        ready = place.ready
        assert ready["mqtt"] == {"host": "198.51.100.88", "port": 8883}
        assert (ready["dns"]["host"], ready["ntp"]["port"], "loopback" in ready) == ("10.20.0.1", 123, False)
        names = sorted(each["name"] for each in ready["programs"])
        assert names == ["chronyd"] * 4 + ["dnsmasq"]
        address = event(charger.line_with("boot.address.passed", BOOT_S))["data"]
        assert address["server"] == address["router"] == "10.20.0.1"
        assert address["dns"] == ["10.20.0.1"]
        tried = event(charger.line_with("boot.names.passed"))["data"]["tried"]
        assert all(servers == ["10.20.0.1:53 answered"] for servers in tried.values())
        clock = event(charger.line_with("boot.time.passed"))["data"]
        assert clock["tried"][0].endswith(":123 answered")
        charger.line_with("device.online")
        status, seen = place.call("GET", "/history/dns")
        assert status == 200
        assert {entry["sender"].rpartition(":")[0] for entry in seen["history"]} == {"198.18.0.2"}  # it forwards
        charger.press_ctrl_c()
        assert charger.ended().status == 130
        place.press_ctrl_c()
        assert place.ended().status == 0


def test_behind_one_public_address_all_chargers_come_online() -> None:
    with LabProgram("--nat", "masquerade", "--chargers", "2", "--time", "ours") as place:
        with place.charger(SERIAL) as one, place.charger(OTHER) as other:
            for charger in (one, other):
                charger.line_with("device.online", BOOT_S)
            status, hub = place.call("GET", "/history/hub")
            assert status == 200
            assert {entry["sender"].rpartition(":")[0] for entry in hub["history"]} == {"198.18.0.2"}
        status, answer = place.call("POST", "/faults", {"kind": "ntp.silence", "who": SERIAL})
        assert (status, "one-to-one --nat" in answer["error"]) == (400, True)


def test_the_site_is_broken_and_healed_from_outside_for_one_charger() -> None:
    with LabProgram("--chargers", "2", "--site", "ours", "--time", "ours") as place:
        block = {"kind": "site.block", "protocol": "udp", "port": 123, "who": SERIAL}
        heal = place.inject(block)
        with place.charger(SERIAL) as struck, place.charger(OTHER) as other:
            assert event(struck.line_with("boot.time.failed", BOOT_S))["data"]["why"] == "ntp_silent"
            other.line_with("device.online", BOOT_S)
            assert place.call("DELETE", heal)[0] == 200
            assert place.call("GET", "/faults") == (200, {"faults": []})
        with place.charger(SERIAL) as healed:
            healed.line_with("device.online", BOOT_S)
        for fault, words in (
            ({"kind": "site.block", "host": "nowhere.example"}, "host"),
            ({"kind": "site.block", "ports": [1]}, "ports"),
            ({"kind": "site.reset"}, "site.reset"),
        ):
            status, answer = place.call("POST", "/faults", fault)
            assert (status, words in answer["error"]) == (400, True), answer


def test_several_labs_live_side_by_side_and_down_ends_one() -> None:
    with LabProgram("--name", "test-left") as left, LabProgram("--name", "test-right", "--chargers", "1") as right:
        pids = belonging_to(left.pid)
        assert len(pids) >= 7  # itself, dnsmasq, Mosquitto, and four of chronyd
        with Program(*lab("up", "--name", "test-left")) as again:
            ended = again.ended()
            assert (ended.status, ended.errors.count("\n")) == (2, 1)
            assert "test-left" in ended.errors
        with Program(*lab("down")) as which:
            ended = which.ended()
            assert (ended.status, "test-left" in ended.errors, "test-right" in ended.errors) == (2, True, True)
        with Program(*lab("down", "test-left")) as down:
            assert down.ended() == (type(ended)(0, "ended: test-left\n", ""))
        assert left.ended().status == 0
        assert left_over(pids) == []
        with right.charger(SERIAL) as charger:
            charger.line_with("device.online", BOOT_S)
        with Program(*lab("down", "test-left")) as down:
            assert down.ended().status == 2


def test_without_a_lab_there_is_nothing_to_end() -> None:
    with room() as machine, Program(*machine.before, *lab("down")) as down:
        ended = down.ended()
        assert (ended.status, ended.output) == (0, "no lab runs\n")


def test_a_lab_that_is_killed_leaves_nothing() -> None:
    with room() as machine:
        empty = machine.contents()
        with LabProgram("--name", "test-killed", "--chargers", "3", before=machine.before) as place:
            pids = belonging_to(place.pid, started_in=machine.name)
            assert machine.contents() == empty  # not even while it runs
            os.kill(place.pid, signal.SIGKILL)
            wait_until_gone(pids)
            assert machine.contents() == empty
        with Program(*machine.before, *lab("down")) as down:
            assert down.ended().output == "no lab runs\n"
        with LabProgram("--name", "test-killed", before=machine.before):
            pass  # its name is free at once


def test_ctrl_c_at_any_moment_leaves_nothing() -> None:
    """From the first moment of its work on: what it was about to do is not known, and does not matter."""
    with room() as machine, ExitStack() as stack:
        empty = machine.contents()
        for wave in range(2):
            command = (*machine.before, *lab("up", "--json", "--chargers", "2"))
            labs = [stack.enter_context(Program(*command)) for _ in range(3)]
            wait_until(partial(_all_catch, [place.pid for place in labs]))
            for place in labs:
                time.sleep(0.25 + 0.3 * wave)  # noqa: TID251 - any moment will do
                pids = belonging_to(place.pid, started_in=machine.name)
                place.press_ctrl_c()
                ended = place.ended(SOON_S)
                assert ended.status == (0 if '"ready"' in ended.output else 130), ended
                assert "Traceback" not in ended.errors
                wait_until_gone(pids)
        assert machine.contents() == empty


@pytest.mark.parametrize("command", [lab("up"), python("emulator", "play", "dns-silent", "--world", "lab", "--json")])
def test_without_root_one_line_says_what_is_lacking(tmp_path: Path, command: tuple[str, ...]) -> None:
    os.chmod(tmp_path, 0o777)
    as_nobody = ["setpriv", "--reuid", "65534", "--clear-groups", *command]
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    ended = subprocess.run(as_nobody, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "root" in ended.stderr

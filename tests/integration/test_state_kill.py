"""Processes of a hub are killed in the middle of their writing: what they said was kept is there."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from cloud_stub.hub.memory import HubMemory, hub_memory
from cloud_stub.state.database import State
from cloud_stub.state.registry import derived_keys
from emulator.clock import system_utc

WRITER = Path(__file__).with_name("state_writer.py")
ROOT = Path(__file__).parents[2]
WRITERS = ("alpha", "beta")
ROUNDS = 3
CHANGES = 200
"""So many are told of before a process is killed, and those that wait in the pipe."""


def told_by(process: subprocess.Popen[str]) -> Iterator[str]:
    """What a process says, line by line, to its end."""
    assert process.stdout is not None
    return iter(process.stdout.readline, "")


def said(path: Path) -> dict[str, tuple[int, int]]:
    """Two processes that write at once and are killed after a while: the last change each of them has told of."""
    command = [sys.executable, str(WRITER), str(path)]
    processes = {
        name: subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True, cwd=ROOT, env={"PYTHONPATH": "."})
        for name in WRITERS
    }
    told = {name: list(islice(told_by(process), CHANGES)) for name, process in processes.items()}
    last = {}
    for name, process in processes.items():
        with process:
            process.kill()
            number, version = [*told[name], *told_by(process)][-1].split()
        assert process.returncode == -signal.SIGKILL
        last[name] = (int(number), int(version))
    return last


def check(memory: HubMemory, name: str, number: int, version: int) -> None:
    """Everything up to the last change that was told of is there; of the next one, what happened first may be too."""
    twin = memory.twins.get(name)
    assert twin.reported.version in (version, version + 1) and twin.reported.data["n"] in (number, number + 1)
    assert all(memory.registry.get(f"{name}-{n}") for n in range(1, number + 1))
    waiting = {int(delivery.message.message_id) for delivery in memory.queues.due(name)}
    confirmed = set[int]()
    for (message_id,) in memory.state.rows("SELECT message_id FROM feedback WHERE device_id = ?", (name,)):
        assert int(message_id) not in confirmed
        confirmed.add(int(message_id))
    assert waiting.isdisjoint(confirmed) and waiting | confirmed >= set(range(1, number + 1))
    assert max(waiting | confirmed) <= number + 1


def test_what_was_kept_survives_a_kill(tmp_path: Path) -> None:
    for attempt in range(ROUNDS):
        path = tmp_path / f"hub-{attempt}.sqlite"
        last = said(path)
        memory = hub_memory(State(path), derived_keys(b"s" * 32), system_utc)
        memory.begin()
        for name, (number, version) in last.items():
            assert number > 1
            check(memory, name, number, version)
        assert memory.state.row("PRAGMA integrity_check") == ("ok",)
        memory.state.close()

"""A lab as its user has it, and what it has on the machine while it runs."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulator.net.linux_interface import ask_kernel
from emulator.net.namespace import Namespace, entered, new_namespace
from tests.programs import CloudProgram, Program, descendants, python
from tests.requirements import program


class LabProgram(CloudProgram):
    """``python -m cloud_stub lab up --json``, ready."""

    def __init__(self, *options: str, env: Mapping[str, str] | None = None, before: tuple[str, ...] = ()) -> None:
        Program.__init__(self, *before, *lab("up", "--json", *options), env=env)
        self.ready: dict[str, Any] = {}

    def charger(self, serial: str, *options: str) -> Program:
        """A charger in its place, which prints its events."""
        where = ("--interface", self.ready["interface"], "--netns", self.ready["chargers"][serial])
        command = python("emulator", "run", "--json", "--control", self.ready["control"], "--serial", serial)
        return Program(*command, *where, *options)

    def inject(self, fault: Mapping[str, Any]) -> str:
        """Break something from outside: the path that heals it with DELETE."""
        status, answer = self.call("POST", "/faults", fault)
        assert status == 201, answer
        return f"/faults/{answer['id']}"


def lab(*arguments: str) -> tuple[str, ...]:
    """The command for ``python -m cloud_stub lab``."""
    return python("cloud_stub", "lab", *arguments)


def event(line: str) -> dict[str, Any]:
    """What is in a line that a charger prints."""
    read: dict[str, Any] = json.loads(line)
    return read


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for this signal."""
    (caught,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def belonging_to(pid: int, *, started_in: str = "") -> list[int]:
    """A lab's process, its children, and whoever is in one of its namespaces or holds it open.

    `started_in` is the namespace that it was started in, which is none of its own.
    """
    own = _held(Path(f"/proc/{pid}/fd")) - {started_in}
    found = {pid, *descendants(pid)}
    for process in Path("/proc").glob("[0-9]*"):
        if own & (_held(process / "fd") | _held(process / "ns")):
            found.add(int(process.name))
    return sorted(found)


def _held(directory: Path) -> set[str]:
    """The network namespaces that links in a directory of /proc lead to; none if the process has ended."""
    found = set[str]()
    try:
        links = list(directory.iterdir())
    except OSError:
        return found
    for link in links:
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("net:"):
            found.add(target)
    return found - {os.readlink("/proc/self/ns/net")}


class Room:
    """A network namespace that stands for the machine, so that nobody else's doings are in the way."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.name = f"net:[{os.fstat(namespace.fd).st_ino}]"
        self.before = ("nsenter", f"--net={namespace.path}")
        """Prefix of a command that is to run in it."""

    def contents(self) -> tuple[list[str], str]:
        """Its interfaces, and its nftables."""
        with entered(self._namespace):
            interfaces = [name for _, name in socket.if_nameindex()]
        listing = subprocess.run(
            [*self.before, program("nft"), "list", "ruleset"], check=True, capture_output=True, text=True
        )
        return interfaces, listing.stdout


@contextmanager
def room() -> Iterator[Room]:
    """An empty one, with a loopback interface that is up."""
    with new_namespace() as namespace:
        ask_kernel(namespace, lambda kernel: kernel.link("set", index=1, state="up"))
        yield Room(namespace)

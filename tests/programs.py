"""Programs that tests start as a user would, and look at from outside. Nothing outlives its ``with`` block."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

START_S = 30.0
STOP_S = 15.0
CHUNK_BYTES = 65_536

WITHOUT_STDIN = ("sh", "-c", 'exec "$@" <&-', "sh")
"""Prefix of a command that is to run with no standard input at all, as under some supervisors."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. `output` and `errors` are what it wrote that nobody had read."""

    status: int
    output: str
    errors: str


class Program:
    """A running program in a process group of its own. Its standard error is read at the end."""

    def __init__(
        self,
        *command: str,
        env: Mapping[str, str] | None = None,
        tell: int = subprocess.PIPE,
        hear: int = subprocess.DEVNULL,
    ) -> None:
        """With `tell` = `subprocess.STDOUT`, lines of standard error can be waited for too.

        With `hear` = `subprocess.PIPE`, it reads what `say` is given.
        """
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            stdin=hear,
            stdout=subprocess.PIPE,
            stderr=tell,
            process_group=0,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self._unread = b""
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill what is left: only after a failed test is anything left."""
        if self._process.poll() is None:
            for pid in (*descendants(self.pid), self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait(STOP_S)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def line(self, within_s: float = START_S) -> str:
        """The next line that it prints."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                assert selector.select(within_s), f"no line within {within_s} s, only {self._unread!r}"
                chunk = os.read(self._output.fileno(), CHUNK_BYTES)
                assert chunk, f"it ended instead of printing a line: {self.ended()}"
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode().rstrip("\r")

    def line_with(self, text: str, within_s: float = START_S) -> str:
        """The next line that contains `text`; those before it are dropped."""
        while text not in (line := self.line(within_s)):
            pass
        return line

    def say(self, line: str) -> None:
        """Type a line at it."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def send_signal(self, number: signal.Signals) -> None:
        """As ``kill`` does."""
        self._process.send_signal(number)

    def press_ctrl_c(self) -> None:
        """As a terminal does: its whole process group gets SIGINT."""
        os.killpg(self.pid, signal.SIGINT)

    def ended(self, within_s: float = STOP_S) -> Ended:
        """Wait for its end."""
        output, errors = self._process.communicate(timeout=within_s)
        return Ended(self._process.returncode, (self._unread + output).decode(), (errors or b"").decode())


class CloudProgram(Program):
    """``python -m cloud_stub up --json``, ready."""

    def __init__(self, *options: str, env: Mapping[str, str] | None = None, before: tuple[str, ...] = ()) -> None:
        super().__init__(*before, *up(*options), env=env)
        self.ready: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self.ready = json.loads(self.line())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def call(self, method: str, path: str, body: object = None, timeout_s: float = STOP_S) -> tuple[int, Any]:
        """Status and answer of the control API."""
        with httpx.Client(trust_env=False, timeout=timeout_s) as client:
            answer = client.request(method, self.ready["control"] + path, json=body)
        return answer.status_code, answer.json()


def up(*options: str) -> tuple[str, ...]:
    """The command that starts a cloud."""
    return python("cloud_stub", "up", "--json", *options)


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command for ``python -m module``."""
    return (sys.executable, "-m", module, *arguments)


def descendants(pid: int) -> list[int]:
    """Process ids of everything that `pid` has started and that is still there, zombies included (Linux only)."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found, unseen = list[int](), [pid]
    while unseen:
        found += (born := children.get(unseen.pop(), []))
        unseen += born
    return found


def left_over(pids: list[int]) -> list[int]:
    """Those that still run. One that ended and waits for init to take note of it does not."""
    return [pid for pid in pids if _state(pid) not in ("", "Z")]


def _state(pid: int) -> str:
    """The kernel's letter for the state of a process; empty: there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _parents() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended while we looked
            after_name = stat.read_text(errors="replace").rpartition(")")[2]  # a name may hold anything
            yield int(stat.parent.name), int(after_name.split()[1])

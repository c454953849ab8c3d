"""Outside programs of a lab, each on a machine of its own: they die with us, and what they say is kept."""

import asyncio
import shutil
from collections import deque
from contextlib import suppress
from pathlib import Path

from emulator.errors import UsageError
from emulator.net.namespace import Namespace, enter_in_child

ELSEWHERE = "/usr/sbin:/sbin:/usr/local/sbin"
"""Where Debian keeps servers; an ordinary PATH leaves it out."""
START_S, STOP_S = 10.0, 3.0
LINES_MAX = 500
LINE_BYTES_MAX = 8192


def program_path(name: str, package: str) -> str:
    """Where a program is. UsageError: it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=ELSEWHERE)
    if found is None:
        raise UsageError(f"{name}: no such program; install the package {package}")
    return found


class OutsideProgram:
    """A program that runs in a namespace, in the foreground, and says so when it is ready."""

    def __init__(self, namespace: Namespace, *command: str, ready: str) -> None:
        """`ready`: what the line contains that it prints once it serves."""
        self._namespace = namespace
        self._command = command
        self._ready = ready
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self.name = Path(command[0]).name
        self.lines: deque[str] = deque(maxlen=LINES_MAX)
        """What it said, the newest."""
        self.died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when it ends without `stop`."""

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start it, and wait until it serves. UsageError: it does not."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES_MAX,
            preexec_fn=enter_in_child(self._namespace),
        )
        serves = asyncio.Event()
        self._reader = asyncio.create_task(self._read(self._process, serves), name=self.name)
        waiting = asyncio.create_task(serves.wait())
        try:
            await asyncio.wait([waiting, self._reader], timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not serves.is_set():
            await self.stop()
            raise UsageError(f"{self.name} does not start: {self._last_words()}")

    async def stop(self) -> None:
        """End it. May be called at any time, and twice."""
        process, reader = self._process, self._reader
        self._process = self._reader = None
        if process is None or reader is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        ended, _ = await asyncio.wait([reader], timeout=STOP_S)
        if not ended:
            with suppress(ProcessLookupError):
                process.kill()
        await reader

    async def _read(self, process: asyncio.subprocess.Process, serves: asyncio.Event) -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # too long for us, and skipped
                continue
            if not line:
                break
            self.lines.append(line.decode(errors="replace").rstrip())
            if self._ready in self.lines[-1]:
                serves.set()
        status = await process.wait()
        if process is self._process and serves.is_set() and not self.died.done():
            self.died.set_result(f"{self.name} has ended with status {status}: {self._last_words()}")

    def _last_words(self) -> str:
        return self.lines[-1] if self.lines else "it says nothing"

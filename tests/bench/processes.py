"""Processes that the benchmarks start, watch and end. The load is in them; the benchmark itself only waits."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from emulator.remote import RemoteCloud

ROOT = Path(__file__).parents[2]
START_S, STOP_S, RUN_S = 60.0, 10.0, 180.0
LINE_MAX_BYTES = 1 << 22
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A benchmark could not run. The message says which and why."""


@asynccontextmanager
async def child(*command: str, job: Mapping[str, Any] | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process in a session of its own, so that Ctrl-C reaches us alone; it is ended with the block.

    `job` goes in as JSON on stdin (it may hold keys); stdout is a pipe, stderr is ours.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_MAX_BYTES,
        start_new_session=True,
    )
    try:
        assert process.stdin is not None
        if job is not None:
            process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
        yield process
    finally:
        await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def say(process: asyncio.subprocess.Process, what: str, within_s: float) -> dict[str, Any]:
    """The next line of a child, as JSON. BenchError when it says nothing or something else."""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(within_s):
            line = await process.stdout.readline()
        said: dict[str, Any] = json.loads(line)
    except TimeoutError:
        raise BenchError(f"{what}: nothing heard in {within_s:.0f} s") from None
    except ValueError:
        raise BenchError(f"{what}: ended before it was done; its error is above") from None
    return said


async def run_module(module: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Run a module of this folder in a process of its own to its end and return the JSON line that it prints."""
    async with child(sys.executable, "-m", f"tests.bench.{module}", job=job) as process:
        return await say(process, module, RUN_S)


def cpu_s(pid: int) -> float:
    """Processor time that a process has used so far, in user and in system mode; the clock ticks every 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


@dataclass(frozen=True, slots=True)
class CpuUse:
    """Processor time in seconds since a process started, or between two readings."""

    cloud_s: float
    """Of the main process."""
    mosquitto_s: float
    workers_s: float = 0.0
    """Of all endpoint workers."""

    def __sub__(self, earlier: "CpuUse") -> "CpuUse":
        return CpuUse(
            self.cloud_s - earlier.cloud_s,
            self.mosquitto_s - earlier.mosquitto_s,
            self.workers_s - earlier.workers_s,
        )


@dataclass(frozen=True)
class Cloud:
    """A running ``python -m cloud_stub up`` with the processes that it has started."""

    ready: Mapping[str, Any]
    remote: RemoteCloud
    pid: int
    mosquitto_pid: int | None
    """None with the local bus."""
    worker_pids: tuple[int, ...]
    _control: httpx.AsyncClient

    def cpu(self) -> CpuUse:
        """What all have used so far."""
        mosquitto_s = cpu_s(self.mosquitto_pid) if self.mosquitto_pid else 0.0
        return CpuUse(cpu_s(self.pid), mosquitto_s, sum(map(cpu_s, self.worker_pids)))

    async def clients(self) -> dict[str, Any]:
        """What the cloud says of its clients and of itself."""
        clients: dict[str, Any] = (await self._control.get("/clients")).json()
        return clients

    async def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Call its control API. BenchError: it refuses."""
        answer = await self._control.request(method, path, json=body)
        told: dict[str, Any] = answer.json()
        if answer.is_error:
            raise BenchError(f"cloud: {method} {path}: {told.get('error')}")
        return told

    async def all_online(self, chargers: int) -> None:
        """Wait until so many are. BenchError when that takes too long."""
        await self._until(
            lambda clients: clients["online"] >= chargers, f"not all {chargers} chargers are online", START_S
        )

    async def drained(self) -> None:
        """Wait until nobody is connected. BenchError when that takes too long."""
        await self._until(lambda clients: not clients["connections"], "clients are still connected")

    async def arrived(self, messages: int) -> None:
        """Wait until the backend has had so many messages in all. BenchError when that takes too long."""
        await self._until(lambda clients: clients["messages_up"] >= messages, f"not all {messages} messages arrived")

    async def _until(self, done: Callable[[dict[str, Any]], bool], otherwise: str, within_s: float = STOP_S) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not done(await self.clients()):
                    pass
        except TimeoutError:
            raise BenchError(f"cloud: {otherwise} after {within_s:.0f} s") from None


@asynccontextmanager
async def cloud(bus: str = "mosquitto", *, workers: int = 0) -> AsyncIterator[Cloud]:
    """A fresh cloud on one of its buses, with the endpoint in the main process or in workers."""
    command = (sys.executable, "-m", "cloud_stub", "up", "--json", "--bus", bus, "--workers", str(workers))
    async with child(*command) as process:
        ready = await say(process, "cloud_stub up", START_S)
        async with httpx.AsyncClient(base_url=ready["control"], trust_env=False) as control:
            clients = (await control.get("/clients")).json()
            worker_pids = tuple(worker["pid"] for worker in clients["workers"])
            mosquitto_pid = clients["mosquitto"]["pid"]
            yield Cloud(ready, RemoteCloud.from_ready(ready), process.pid, mosquitto_pid, worker_pids, control)

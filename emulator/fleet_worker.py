"""One process of a fleet: boots its share of the chargers, keeps them running, and counts."""

import asyncio
import gc
import json
import sys
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import quantiles
from typing import Any

import uvloop

from emulator.device.charger import Charger
from emulator.flash.pool import SectorPool
from emulator.memory import resident_kib
from emulator.net.capture import NO_FILES, Capture, CaptureFiles, capturing
from emulator.net.loopback import LoopbackPlan
from emulator.net.meter import Usage
from emulator.profile import load_profile
from emulator.remote import Anchors, Produced, RemoteCloud, loopback_env
from emulator.trace import TraceEvent

ALL_ONLINE_TIMEOUT_S = 600.0
GARBAGE_THRESHOLD = 5000
"""Objects made, less those gone, before the collector looks for cycles; Python's own 700 is for small programs."""
NOT_ALL_ONLINE = "fleet.not_all_online"
"""In the failures when some charger was never online within `ALL_ONLINE_TIMEOUT_S`."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one worker process has to do."""

    devices: tuple[Produced, ...]
    cloud: RemoteCloud
    duration_s: float
    ramp_per_s: float
    boots_at_once: int
    seed: int
    profile: str
    files: CaptureFiles = NO_FILES
    """Where the traffic of the first charger goes."""

    def to_json(self) -> dict[str, Any]:
        """As it travels over the worker's stdin. Holds keys: never print it."""
        return {
            "devices": [[made.serial, b64encode(made.key).decode()] for made in self.devices],
            "cloud": [self.cloud.control, self.cloud.loopback.to_json(), self.cloud.anchors.to_json()],
            "numbers": [self.duration_s, self.ramp_per_s, self.boots_at_once, self.seed, self.profile],
            "files": self.files.to_json(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Job":
        """The inverse of `to_json`."""
        control, plan, anchors = data["cloud"]
        cloud = RemoteCloud(control, LoopbackPlan.from_json(plan), Anchors.from_json(anchors))
        devices = tuple(Produced(serial, b64decode(secret)) for serial, secret in data["devices"])
        return replace(cls(devices, cloud, *data["numbers"]), files=CaptureFiles.from_json(data["files"]))


@dataclass(slots=True)
class Tally:
    """What the chargers of one process did; only numbers cross the process boundary."""

    online: int = 0
    boots: int = 0
    first_online_s: float | None = None
    storm_s: float = 0.0
    """From the first power-on to the last first boot."""
    messages_up: int = 0
    messages_down: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    cpu_s: float = 0.0
    kib_per_charger: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Stage name to the seconds of every passed attempt."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Tally":
        """The inverse of `to_json`."""
        return cls(**data)

    def latencies(self) -> dict[str, dict[str, float]]:
        """Median, 90th and 99th percentile and maximum of each stage, in milliseconds."""
        return {stage: _spread(seconds) for stage, seconds in self.seconds.items()}


def _spread(seconds: list[float]) -> dict[str, float]:
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    picks = {"p50_ms": cuts[49], "p90_ms": cuts[89], "p99_ms": cuts[98], "max_ms": max(seconds)}
    return {name: round(value * 1000, 2) for name, value in picks.items()}


def merged(tallies: Iterable[Tally]) -> Tally:
    """The sum over all worker processes; memory per charger is their mean."""
    total, weights = Tally(), 0
    for tally in tallies:
        total.kib_per_charger = (total.kib_per_charger * weights + tally.kib_per_charger * tally.online) / max(
            weights + tally.online, 1
        )
        weights += tally.online
        for name in ("online", "boots", "messages_up", "messages_down", "bytes_up", "bytes_down", "cpu_s"):
            setattr(total, name, getattr(total, name) + getattr(tally, name))
        firsts = [t for t in (total.first_online_s, tally.first_online_s) if t is not None]
        total.first_online_s = min(firsts, default=None)
        total.storm_s = max(total.storm_s, tally.storm_s)
        total.failures = dict(Counter(total.failures) + Counter(tally.failures))
        for stage, seconds in tally.seconds.items():
            total.seconds.setdefault(stage, []).extend(seconds)
    return total


class _Counter:
    """A trace sink that counts and lets the next charger start when one is through."""

    def __init__(self, chargers: int, boots_at_once: int) -> None:
        self.tally = Tally()
        self.began = time.perf_counter()
        self.room = asyncio.Semaphore(boots_at_once)
        self.all_online = asyncio.Event()
        self._chargers = chargers
        self._booting: set[str] = set()
        self._online: set[str] = set()

    async def admit(self, serial: str) -> None:
        """Wait until there is room for one more boot."""
        await self.room.acquire()
        self._booting.add(serial)

    def __call__(self, event: TraceEvent) -> None:
        name = event.name
        if name.startswith("boot."):
            self._stage(event)
        elif name == "device.online":
            self._went_online(event.who)
        elif name == "device.publish":
            self.tally.messages_up += 1
        elif name == "device.command":
            self.tally.messages_down += 1
        elif name == "device.offline":
            self._online.discard(event.who)

    def _stage(self, event: TraceEvent) -> None:
        _, stage, word = event.name.split(".")
        if word in ("passed", "degraded"):
            self.tally.seconds.setdefault(stage, []).append(event.data["seconds"])
        elif word == "failed":
            key = f"{stage}.{event.data['why']}"
            self.tally.failures[key] = self.tally.failures.get(key, 0) + 1
            self._through(event.who)

    def _went_online(self, serial: str) -> None:
        elapsed_s = time.perf_counter() - self.began
        if self.tally.first_online_s is None:
            self.tally.first_online_s = round(elapsed_s, 4)
        self._online.add(serial)
        self.tally.boots += 1
        if not self.all_online.is_set():
            self.tally.storm_s = elapsed_s
            if len(self._online) == self._chargers:
                self.all_online.set()
        self._through(serial)

    def _through(self, serial: str) -> None:
        if serial in self._booting:
            self._booting.discard(serial)
            self.room.release()

    def finish(self, usages: Iterable[Usage]) -> Tally:
        """The counts so far; `usages` are the data of each charger."""
        self.tally.online = len(self._online)
        for usage in usages:
            self.tally.bytes_up += usage.up_bytes
            self.tally.bytes_down += usage.down_bytes
        return self.tally


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for garbage seldom, and not among what the imports have made: 0.3 of 0.4 ms of each of 700 boots."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def run_job(job: Job) -> Tally:
    """Boot every charger of the job, keep them for its duration, pull their plugs, and return the counts.

    No lease is given back: a thousand releases at once would be a load of their own, that nobody asked for.
    """
    with _rare_collections(), capturing(job.files) as capture:
        return await _run(job, capture)


async def _run(job: Job, capture: Capture | None) -> Tally:
    loop = asyncio.get_running_loop()
    counter = _Counter(len(job.devices), job.boots_at_once)
    profile = load_profile(job.profile)
    pool = SectorPool()
    memory_kib, cpu_s = resident_kib(), time.process_time()
    async with asyncio.TaskGroup() as group:
        tasks, meters = [], []
        for number, made in enumerate(job.devices):
            if job.ramp_per_s:
                await asyncio.sleep(counter.began + number / job.ramp_per_s - time.perf_counter())
            await counter.admit(made.serial)
            spec = job.cloud.spec(made, profile)
            env = loopback_env(
                job.cloud.loopback,
                spec,
                (counter,),
                loop.time,
                seed=str(job.seed),
                flash=job.cloud.flash(pool=pool),
                capture=capture if number == 0 else None,
            )
            meters.append(env.meter)
            tasks.append(group.create_task(Charger(spec, env).run(), name=made.serial))
        try:
            async with asyncio.timeout(ALL_ONLINE_TIMEOUT_S):
                await counter.all_online.wait()
        except TimeoutError:
            counter.tally.failures[NOT_ALL_ONLINE] = 1
        counter.tally.kib_per_charger = round((resident_kib() - memory_kib) / max(len(tasks), 1), 1)
        counter.tally.cpu_s = time.process_time() - cpu_s
        await asyncio.sleep(counter.began + job.duration_s - time.perf_counter())
        tally = counter.finish(meter.usage() for meter in meters)
        for task in tasks:
            task.cancel()
    return tally


def main() -> None:
    """Entry of a worker process: a job on stdin, its tally on stdout."""
    job = Job.from_json(json.load(sys.stdin))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tally = runner.run(run_job(job))
    json.dump(tally.to_json(), sys.stdout)


if __name__ == "__main__":
    main()

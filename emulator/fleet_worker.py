"""One process of a fleet: boots its share of the chargers, keeps them running, and counts."""

import asyncio
import gc
import json
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import uvloop

from emulator.device.charger import Charger
from emulator.flash.pool import SectorPool
from emulator.fleet_faults import Breakage, FaultData
from emulator.fleet_tally import FleetCounter, Tally
from emulator.memory import resident_kib
from emulator.net.capture import NO_FILES, Capture, CaptureFiles, capturing
from emulator.net.loopback import LoopbackPlan
from emulator.profile import load_profile
from emulator.remote import Anchors, Produced, RemoteCloud, loopback_env

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
    faults: Mapping[str, list[FaultData]] = field(default_factory=dict)
    """What is wrong with which charger, by serial."""

    def to_json(self) -> dict[str, Any]:
        """As it travels over the worker's stdin. Holds keys: never print it."""
        return {
            "devices": [[made.serial, b64encode(made.key).decode()] for made in self.devices],
            "cloud": [self.cloud.control, self.cloud.loopback.to_json(), self.cloud.anchors.to_json()],
            "numbers": [self.duration_s, self.ramp_per_s, self.boots_at_once, self.seed, self.profile],
            "files": self.files.to_json(),
            "faults": self.faults,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Job":
        """The inverse of `to_json`."""
        control, plan, anchors = data["cloud"]
        cloud = RemoteCloud(control, LoopbackPlan.from_json(plan), Anchors.from_json(anchors))
        devices = tuple(Produced(serial, b64decode(secret)) for serial, secret in data["devices"])
        files = CaptureFiles.from_json(data["files"])
        return replace(cls(devices, cloud, *data["numbers"]), files=files, faults=data["faults"])


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
    counter = FleetCounter(len(job.devices), job.boots_at_once, time.perf_counter)
    breakage = Breakage(job.faults, str(job.seed), loop.time)
    profile = load_profile(job.profile)
    pool = SectorPool()
    memory_kib, cpu_s = resident_kib(), time.process_time()
    async with asyncio.TaskGroup() as group:
        tasks, chargers = [], []
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
                around=breakage.around,
            )
            chargers.append(charger := Charger(spec, env))
            breakage.strike(charger)
            tasks.append(group.create_task(charger.run(), name=made.serial))
        try:
            async with asyncio.timeout(ALL_ONLINE_TIMEOUT_S):
                await counter.all_online.wait()
        except TimeoutError:
            counter.tally.failures[NOT_ALL_ONLINE] = 1
        counter.tally.kib_per_charger = round((resident_kib() - memory_kib) / max(len(tasks), 1), 1)
        counter.tally.cpu_s = time.process_time() - cpu_s
        await asyncio.sleep(counter.began + job.duration_s - time.perf_counter())
        tally = counter.finish(chargers)
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

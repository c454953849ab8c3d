"""Thousands of chargers on loopback: one worker process per core, a ramp, counts and latencies per stage."""

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from emulator.cloud_process import cloud_at, end, start_module
from emulator.errors import UsageError
from emulator.fleet_faults import FleetFault, struck
from emulator.fleet_tally import Tally, merged
from emulator.fleet_worker import NOT_ALL_ONLINE, Job, run_job
from emulator.net.capture import NO_FILES, CaptureFiles
from emulator.remote import Produced, RemoteCloud

STORM_BUS = "lean"


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What ``python -m emulator fleet`` was asked for."""

    chargers: int
    workers: int = 1
    duration_s: float = 0.0
    """How long to keep them running after the start; 0: until all are online once."""
    ramp_per_s: float = 0.0
    """Power-ons per second over all workers; 0: as fast as `boots_at_once` allows."""
    boots_at_once: int = 64
    """How many chargers of one worker may be between power-on and online."""
    seed: int = 1
    profile: str = "pro"
    control: str | None = None
    """Control URL of a running cloud; None: one is started for the run."""
    bus: str | None = None
    """The bus of a cloud that is started; None: the one that is best for many chargers."""
    files: CaptureFiles = NO_FILES
    """Where the traffic of the first charger goes."""
    faults: tuple[FleetFault, ...] = ()
    """What is wrong with some of the chargers, from their power-on."""


async def run_fleet(options: FleetOptions) -> dict[str, Any]:
    """Run the fleet and return its report (JSON-able). UsageError: no cloud, no file to capture into."""
    options.files.make()
    async with cloud_at(options.control, bus=options.bus or STORM_BUS) as cloud:
        made = await cloud.produce(options.chargers)
        began = time.monotonic()
        tallies = await _run_workers(options, cloud, made)
        wall_s = time.monotonic() - began
        clients = await cloud.get("/clients")
    return _report(options, merged(tallies), tallies, wall_s, clients)


async def _run_workers(options: FleetOptions, cloud: RemoteCloud, made: list[Produced]) -> list[Tally]:
    workers = min(options.workers, len(made))
    faults = struck(options.faults, [each.serial for each in made], options.seed)
    jobs = [
        Job(
            devices=tuple(made[number::workers]),
            cloud=cloud,
            duration_s=options.duration_s,
            ramp_per_s=options.ramp_per_s / workers,
            boots_at_once=options.boots_at_once,
            seed=options.seed,
            profile=options.profile,
            files=options.files if number == 0 else NO_FILES,
            faults={each.serial: faults[each.serial] for each in made[number::workers] if each.serial in faults},
        )
        for number in range(workers)
    ]
    if len(jobs) == 1:
        return [await run_job(jobs[0])]
    running = [asyncio.create_task(_in_process(job)) for job in jobs]
    try:
        return await asyncio.gather(*running)
    finally:
        for task in running:
            if not task.cancelling():  # a second cancel would break off its cleaning up
                task.cancel()
        await asyncio.wait(running)


async def _in_process(job: Job) -> Tally:
    """Run a job in a Python process of its own: the job goes in on stdin (it holds keys), the tally comes back."""
    process = await start_module("emulator.fleet_worker", stdin=asyncio.subprocess.PIPE)
    try:
        output = await _exchange(process, json.dumps(job.to_json()).encode())
        await process.wait()
    finally:
        await end(process)
    if process.returncode:
        raise UsageError(f"fleet: a worker process ended with status {process.returncode}")
    return Tally.from_json(json.loads(output))


async def _exchange(process: asyncio.subprocess.Process, job: bytes) -> bytes:
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - asked for above
    with suppress(OSError, RuntimeError):  # uvloop's word for a broken pipe; a dead worker is told by its status
        process.stdin.write(job)
        await process.stdin.drain()
        process.stdin.close()
    return await process.stdout.read()


def _report(
    options: FleetOptions, total: Tally, tallies: list[Tally], wall_s: float, clients: dict[str, Any]
) -> dict[str, Any]:
    storm_s = max((tally.storm_s for tally in tallies), default=0.0)
    return {
        "ok": total.online == options.chargers and NOT_ALL_ONLINE not in total.failures,
        "chargers": options.chargers,
        "workers": options.workers,
        "online": total.online,
        "boots": total.boots,
        "boots_per_s": round(total.storm_boots / storm_s, 1) if storm_s else None,
        "first_connack_s": total.first_online_s,
        "stages": total.latencies(),
        "failures": dict(Counter(total.failures)),
        "updates": total.updates,
        "updates_failed": total.updates_failed,
        "firmware": total.firmware,
        "messages": {"up": total.messages_up, "down": total.messages_down},
        "data_bytes": {"up": total.bytes_up, "down": total.bytes_down},
        "source_addresses": clients["source_addresses"],
        "kib_per_charger": total.kib_per_charger,
        "cpu_s": {"chargers": round(total.cpu_s, 3), "cloud": clients["cpu_s"]},
        "seconds": round(wall_s, 3),
    }

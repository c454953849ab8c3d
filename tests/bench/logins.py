"""Bare logins by our client and by others, one after the other at the same endpoint."""

from collections import defaultdict
from dataclasses import dataclass
from string import ascii_uppercase

from tests.bench.figure import Figure, Peer, figure
from tests.bench.login_job import LoginJob
from tests.bench.processes import Cloud, cloud, run_module
from tests.bench.scale import Scale

AT_ONCE = 64
CLIENTS = ("ours", "aiomqtt", "locust")


@dataclass(frozen=True, slots=True)
class Run:
    """One client process and its logins; processor time in milliseconds per login."""

    per_s: float
    client_cpu_ms: float
    cloud_cpu_ms: float


async def logins(scale: Scale) -> list[Figure]:
    """Rounds in which each client has its turn, in an order that rotates; a device logs in only once."""
    runs: dict[str, list[Run]] = defaultdict(list)
    async with cloud() as place:
        for client in CLIENTS:
            await _run(place, client, min(scale.logins, AT_ONCE), "W")
        for number in range(scale.runs):
            turn = number % len(CLIENTS)
            for client in CLIENTS[turn:] + CLIENTS[:turn]:
                runs[client].append(await _run(place, client, scale.logins, ascii_uppercase[number]))
    return _figures(runs, scale)


async def _run(place: Cloud, client: str, count: int, letter: str) -> Run:
    devices = await place.remote.produce(count, f"B{client[0].upper()}{letter}")
    job = LoginJob.of(place.ready, devices, at_once=AT_ONCE)
    await place.drained()
    before = place.cpu()
    took = await run_module(f"login_{client}", job.as_json())
    used = place.cpu() - before
    return Run(count / took["seconds"], 1000 * took["cpu_s"] / count, 1000 * used.cloud_s / count)


def _figures(runs: dict[str, list[Run]], scale: Scale) -> list[Figure]:
    def peer(name: str) -> Peer:
        return Peer(name, tuple(run.per_s for run in runs[name]))

    def note(name: str) -> str:
        cpu = sorted(run.client_cpu_ms for run in runs[name])[len(runs[name]) // 2]
        return f"{scale.logins} logins, {AT_ONCE} at once; {name} spends {cpu:.1f} ms of processor time on each"

    ours = runs["ours"]
    per_s = [run.per_s for run in ours]
    return [
        figure("fleet.connects_per_s_vs_aiomqtt", per_s, peer=peer("aiomqtt"), note=note("aiomqtt")),
        figure("fleet.connects_per_s_vs_locust", per_s, peer=peer("locust"), note=note("locust")),
        figure("fleet.cpu_ms_per_login", [run.client_cpu_ms for run in ours]),
        figure("cloud.cpu_ms_per_login", [run.cloud_cpu_ms for run in ours]),
    ]

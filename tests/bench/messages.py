"""Messages from chargers that are logged in, through endpoint and bus: how many, how late, and at what cost."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from emulator.remote import Produced
from tests.bench.figure import Figure
from tests.bench.latency import Waits
from tests.bench.login_job import LoginJob
from tests.bench.message_figures import AIOMQTT, CLIENTS, LEAN, LOCAL, PACE_PER_S, WORKER, Round, Sent, figures
from tests.bench.processes import RUN_S, START_S, BenchError, Cloud, child, cloud, run_module, say
from tests.bench.scale import Scale

CLOUDS = {WORKER: ("lean", 1), LEAN: ("lean", 0), AIOMQTT: ("mosquitto", 0), LOCAL: ("local", 0)}
"""The bus and the number of workers."""
CLIENT = "message_ours"


@dataclass(frozen=True, slots=True)
class _Place:
    cloud: Cloud
    devices: Sequence[Produced]

    async def send(self, messages: int, per_s: float = 0.0) -> Sent:
        """One run with clients in a process of their own. BenchError: a message was not acknowledged, or got lost."""
        job = LoginJob.of(self.cloud.ready, self.devices, at_once=CLIENTS, messages=messages, per_s=per_s)
        await self.cloud.drained()
        had = (await self.cloud.clients())["messages_up"]
        async with child(sys.executable, "-m", f"tests.bench.{CLIENT}", job=job.as_json()) as process:
            await say(process, CLIENT, START_S)
            before = self.cloud.cpu()
            took = await say(process, CLIENT, RUN_S)
        if took["acknowledged"] < messages:
            raise BenchError(f"endpoint: acknowledged {took['acknowledged']} of {messages} messages")
        await self.cloud.arrived(had + messages)
        used = self.cloud.cpu() - before
        spread = Waits(took["p50_ms"], took["p99_ms"], took["max_ms"])
        return Sent(messages, took["seconds"], took["cpu_s"], used, spread)


async def messages(scale: Scale) -> list[Figure]:
    """Rounds in which each cloud has its turn; the others wait meanwhile."""
    async with AsyncExitStack() as stack:
        places: dict[str, _Place] = {}
        for name, (bus, workers) in CLOUDS.items():
            place = await stack.enter_async_context(cloud(bus, workers=workers))
            places[name] = _Place(place, await place.remote.produce(CLIENTS, "BMA"))
        return figures([await _round(places, scale) for _ in range(scale.runs)])


async def _round(places: Mapping[str, _Place], scale: Scale) -> Round:
    fast = {name: await places[name].send(scale.messages) for name in (WORKER, LEAN, AIOMQTT)}
    paced = {name: await place.send(round(PACE_PER_S * scale.paced_s), PACE_PER_S) for name, place in places.items()}
    half_per_s = fast[WORKER].per_s / 2
    half = await places[WORKER].send(round(half_per_s * scale.paced_s), half_per_s)
    job = {**places[WORKER].cloud.ready["mosquitto"], "clients": CLIENTS, "messages": scale.messages}
    bare = await run_module("message_aiomqtt", job)
    return Round(fast, paced, half, scale.messages / bare["seconds"])

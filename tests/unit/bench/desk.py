"""A bench without a socket: a charger in the simulation, and its bench called in the same process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import httpx

from cloud_stub.worlds import OneProcessWorld, sim_world
from emulator.bench.app import BenchApi
from emulator.bench.condition import Condition
from emulator.bench.faults import Faults
from emulator.bench.timeline import Timeline
from emulator.bench.token import Access, Token
from emulator.bench.visible import Reported
from emulator.clock import SimLoop
from emulator.device.charger import Charger
from emulator.world import WorldOptions

SERIAL = "ZPR000001"
SECRET = "correct-horse-battery"
SITE_SECRET = "plc-key-of-the-site"
BEGAN = "2026-06-01T12:00:00+00:00"


@dataclass
class Desk:
    """Who calls the bench, and what is behind it."""

    http: httpx.AsyncClient
    charger: Charger
    world: OneProcessWorld
    timeline: Timeline

    async def ask(self, method: str, path: str, body: object = None, **query: Any) -> tuple[int, Any]:
        """Status and answer."""
        answer = await self.http.request(method, path, json=body, params=query or None)
        return answer.status_code, answer.json()

    async def until(self, name: str, after: int = 0) -> Mapping[str, Any]:
        """The next event of this name."""
        while True:
            status, page = await self.ask("GET", "/timeline", after=after, wait_s=60)
            assert status == 200 and page["events"], f"no {name} in a minute"
            for event in page["events"]:
                after = event["n"]
                if event["name"] == name:
                    return dict(event)


Story = Callable[[Desk], Awaitable[None]]


def at_the_bench(
    story: Story, *, token: str | None = SECRET, callers: str | None = None, caller: str = "127.0.0.1", seed: int = 1
) -> None:
    """Tell a story from power-on, in virtual time. `caller` is where the calls come from."""
    print(f"seed {seed}")

    async def tell() -> None:
        timeline, condition, reported = Timeline(BEGAN), Condition(), Reported()
        world = sim_world(WorldOptions(seed=seed, sinks=(timeline.see, condition.see)))
        try:
            await world.start()
            charger = Charger(*world.produce(SERIAL, local={"plc_key": SITE_SECRET}))
            charger.uplink.acknowledged = reported.heard
            faults = Faults(charger, world.surroundings, asyncio.get_running_loop().time)
            key = None if token is None else Token(token, where="test")
            access = Access(key, None if callers is None else ip_network(callers))
            app = BenchApi(charger, faults, timeline, condition, reported, access).app()
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            transport = httpx.ASGITransport(app, client=(caller, 50_000))
            async with (
                httpx.AsyncClient(transport=transport, base_url="http://bench", headers=headers) as http,
                asyncio.TaskGroup() as group,
            ):
                running = group.create_task(charger.run())
                try:
                    await story(Desk(http, charger, world, timeline))
                finally:
                    running.cancel()
        finally:
            await world.close()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(tell())

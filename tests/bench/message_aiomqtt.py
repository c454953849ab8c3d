"""The same messages by aiomqtt straight to Mosquitto: plain TCP, no hub in between, nobody listening."""

import asyncio
import json
import logging
import sys
from typing import Any

import aiomqtt
import uvloop

from tests.bench.login_job import QOS, Stopwatch, done
from tests.bench.message import PAYLOAD, WINDOW, shares


async def _send(client: aiomqtt.Client, topic: str, count: int) -> None:
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            await client.publish(topic, PAYLOAD, QOS)

    await asyncio.gather(*(one_after_the_other() for _ in range(WINDOW)))


async def _run(job: dict[str, Any]) -> None:
    names = [f"bench-{number}" for number in range(job["clients"])]
    clients = [
        aiomqtt.Client(job["host"], job["port"], identifier=name, protocol=aiomqtt.ProtocolVersion.V311)
        for name in names
    ]
    for client in clients:
        await client.__aenter__()
    counts = shares(job["messages"], len(clients))
    watch = Stopwatch()
    await asyncio.gather(
        *(_send(*each) for each in zip(clients, (f"{name}/d2c" for name in names), counts, strict=True))
    )
    done(watch.read())
    for client in clients:
        await client.__aexit__(None, None, None)


if __name__ == "__main__":
    logging.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(json.load(sys.stdin)))

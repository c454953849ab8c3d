"""``python -m cloud_stub.workers``: one process with a device endpoint. The main process starts it and talks to it."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from random import Random

import uvloop

from certs.layout import CertsDir
from cloud_stub.backbone import client
from cloud_stub.bus.api import BusError
from cloud_stub.bus.lean import LeanMosquittoBus
from cloud_stub.bus.mosquitto import MosquittoBus
from cloud_stub.hub.policies import Policies
from cloud_stub.hub.process import endpoint_of, memory_of
from cloud_stub.hub.settings import HubSettings
from cloud_stub.state.database import State
from cloud_stub.workers.job import LINE_BYTES_MAX, Message, WorkerJob, encoded
from cloud_stub.workers.orders import Orders
from emulator.clock import system_utc
from emulator.errors import NetError, UsageError
from emulator.memory import resident_kib
from emulator.net.loopback import LoopbackHost

Say = Callable[[Message], None]


async def work(job: WorkerJob, lines: asyncio.StreamReader, say: Say) -> None:
    """Serve until the lines end. UsageError or BusError when it cannot."""
    settings, now = HubSettings.model_validate(job.settings), asyncio.get_running_loop().time
    bus = client(job.bus, job.broker, job.journal)
    with closing(State(job.state)) as state:
        endpoint = endpoint_of(
            certs=CertsDir(job.certs),
            hub_host=job.hub_host,
            bus=bus,
            memory=memory_of(state, job.secret, system_utc, settings.c2d),
            policies=Policies(job.secret),
            rng=Random(f"{job.seed}/{job.label}"),  # noqa: S311 - for faults, never for keys
            utc=system_utc,
            now=now,
            settings=settings,
            throttle=settings.throttle(now=now, utc=system_utc, processes=job.processes),
            worker=job.label,
        )
        orders = Orders(endpoint, job.label, lambda number: say({"struck": number}))
        office = _Office(orders, bus, say)
        await office.obey(lines, until="serve")
        await bus.start()
        try:
            await endpoint.start(LoopbackHost(job.plan, "hub", address=job.address, share_ports=True))
            say({"ready": True})
            await office.obey(lines)
            await endpoint.stop()
        finally:
            await bus.stop()


class _Office:
    """Between the lines and the orders; adds what is the process's own to the counters."""

    def __init__(self, orders: Orders, bus: LeanMosquittoBus | MosquittoBus, say: Say) -> None:
        self._orders = orders
        self._bus = bus
        self._say = say

    async def obey(self, lines: asyncio.StreamReader, *, until: str | None = None) -> None:
        """Obey until a line with this word, or their end."""
        async for line in lines:
            message = json.loads(line)
            if until in message:
                return
            answer = self._orders.obey(message)
            if answer is not None:
                weighed = {"counts": {**answer["counts"], **self._weight()}} if "counts" in answer else {}
                self._say({**answer, **weighed})

    def _weight(self) -> dict[str, float]:
        return {
            "resident_kib": resident_kib(),
            "cpu_s": round(sum(os.times()[:2]), 3),
            "messages_repeated": self._bus.repeated,
        }


async def _run() -> int:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    out, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)

    def say(message: Message) -> None:
        out.write(encoded(message))

    try:
        await work(WorkerJob.from_line(await lines.readline()), lines, say)
    except (UsageError, BusError, NetError) as error:
        say({"failed": str(error)})
        return 2
    finally:
        out.close()
    return 0


def main() -> None:
    """Entry of a worker process. It ends when its standard input does, so it never outlives the main process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(_run()))


if __name__ == "__main__":
    main()

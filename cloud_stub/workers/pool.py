"""The device endpoint in several processes behind one port, as one service of the cloud.

The main process keeps everything else: registry, service API, methods, the vendor's backend, control. Each worker has
a bus connection of its own and the same database. The kernel spreads new connections over them (SO_REUSEPORT). Faults
that are injected here go to every worker; histories and counters are put together from theirs.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from math import isinf
from random import Random
from typing import Any

from cloud_stub.hub.endpoint import Endpoint, check_fault
from cloud_stub.hub.faults import FAULTS
from cloud_stub.service import HISTORY_MAX, Exchange, Service
from cloud_stub.workers.job import Message, WorkerJob
from cloud_stub.workers.orders import Orders
from cloud_stub.workers.process import WorkerProcess
from emulator.clock import Utc
from emulator.errors import NetError, UsageError
from emulator.faults import Fault, FaultSet, Injected
from emulator.net.api import Closer, Host

WORKERS_MAX = 64
LEAST_S = 0.001
"""A fault with less time left gets this much."""
COUNTERS = ("connections", "online", "source_addresses", "resident_kib", "cpu_s", "messages_repeated")
"""What is added up over workers. A source address that has met several of them counts once for each."""


class SharedFaults(FaultSet):
    """The faults of all workers. `changed` gets every command that has to go to them.

    A worker tells when a fault has struck there. One with a count may strike a few times more often than that, when
    several workers find it at the same moment.
    """

    def __init__(self, rng: Random, now: Callable[[], float], changed: Callable[[Message], None]) -> None:
        super().__init__(rng, now)
        self._changed = changed

    def inject(self, fault: Fault) -> Injected:
        injected = super().inject(fault)
        self._changed(self._command(self.injected - 1))
        return injected

    def heal(self, key: int) -> None:
        if key in self._active:
            self._changed({"heal": key})
        super().heal(key)

    def has_struck(self, key: int) -> None:
        """One strike, somewhere."""
        if key not in self._active:
            return
        self._strikes[key] = self._strikes.get(key, 0) + 1
        count = self._active[key].fault.count
        if count is not None and self._strikes[key] >= count:
            self.heal(key)

    def commands(self) -> Iterator[Message]:
        """What a worker that has just started must be told."""
        self._forget_expired()
        return map(self._command, tuple(self._active))

    def _command(self, key: int) -> Message:
        active = self._active[key]
        data = {"kind": active.fault.kind, **asdict(active.fault)}
        if not isinf(active.until):
            data["for_s"] = max(active.until - self._now(), LEAST_S)
        if active.fault.count is not None:
            data["count"] = active.fault.count - self._strikes.get(key, 0)
        return {"inject": key, "fault": {name: value for name, value in data.items() if value is not None}}


class Workers(Service):
    """Stands where a single process has its `Endpoint`."""

    name = "hub"
    FAULTS = FAULTS

    def __init__(
        self,
        *,
        rng: Random,
        utc: Utc,
        now: Callable[[], float],
        count: int,
        reserve: Callable[[], Closer],
        job_for: Callable[[int, str], WorkerJob],
        lost: Callable[[str], None],
        beside: Endpoint,
    ) -> None:
        """`reserve` keeps the port, `job_for` makes the job of a place and a label, `lost` hears of dead workers.

        `beside` is an endpoint in this process, which is counted and struck as they are.
        """
        super().__init__(rng=rng, utc=utc, now=now)
        if not 1 <= count <= WORKERS_MAX:
            raise UsageError(f"--workers {count}: must be 1 to {WORKERS_MAX}")
        self.faults = self._shared = SharedFaults(rng, now, self._tell_all)
        self._beside = Orders(beside, "0", self._shared.has_struck)
        self._reserve = reserve
        self._held: Closer | None = None
        self._counts: dict[int, Message] = {}
        self._places = [
            WorkerProcess(
                number,
                partial(job_for, number),
                greeting=self._shared.commands,
                told=self._told,
                lost=lost,
            )
            for number in range(1, count + 1)
        ]

    @property
    def connections(self) -> int:
        """As of the last `count`."""
        return int(self._sum("connections"))

    @property
    def online(self) -> int:
        """As of the last `count`."""
        return int(self._sum("online"))

    @property
    def source_addresses(self) -> int:
        """As of the last `count`."""
        return int(self._sum("source_addresses"))

    @property
    def sums(self) -> dict[str, float]:
        """All `COUNTERS`, as of the last `count`."""
        return {name: self._sum(name) for name in COUNTERS}

    @property
    def places(self) -> list[dict[str, Any]]:
        """Each worker: its label, process id and counters."""
        return [
            {"label": place.label, "pid": place.pid, "starts": place.starts, **self._counts.get(place.number, {})}
            for place in self._places
        ]

    def inject(self, fault: Fault) -> Injected:
        check_fault(fault)
        return super().inject(fault)

    async def start(self, host: Host) -> None:
        """Start every worker. UsageError when one does not come up."""
        try:
            self._held = self._reserve()
        except NetError as error:
            raise UsageError(str(error)) from None
        await asyncio.gather(*(place.start() for place in self._places))

    async def stop(self) -> None:
        await asyncio.gather(*(place.stop() for place in self._places))
        held, self._held = self._held, None
        if held is not None:
            held.close()

    async def count(self) -> None:
        """Ask every worker for its counters: cheap enough to be done all the time, which their histories are not."""
        told = await self._ask_all("count")
        self._counts = {number: answer["counts"] for number, answer in told.items()}

    async def collect(self) -> None:
        told = await self._ask_all("history")
        seen = [Exchange(**record) for answer in told.values() for record in answer["history"]]
        self.history.clear()
        self.history.extend(sorted(seen, key=lambda exchange: exchange.t)[-HISTORY_MAX:])

    async def forget(self) -> None:
        await self._ask_all("forget")
        await super().forget()

    async def device_history(self, device_id: str) -> list[dict[str, Any]]:
        told = await self._ask_all("device", device=device_id)
        return sorted((entry for answer in told.values() for entry in answer["history"]), key=lambda entry: entry["t"])

    async def forget_device(self, device_id: str) -> None:
        await self._ask_all("forget_device", device=device_id)

    async def _ask_all(self, what: str, **more: Any) -> dict[int, Message]:
        """The answers by worker, 0 for the endpoint beside them; those that have died or are stuck have none."""
        answers = [self._beside.obey({"ask": 0, "what": what, **more})]
        answers += await asyncio.gather(*(place.ask(what, **more) for place in self._places))
        return {number: told for number, told in enumerate(answers) if told is not None}

    def _tell_all(self, command: Message) -> None:
        self._beside.obey(command)
        for place in self._places:
            place.say(command)

    def _told(self, message: Message) -> None:
        if "struck" in message:
            self._shared.has_struck(int(message["struck"]))

    def _sum(self, name: str) -> float:
        return sum(float(counts.get(name, 0)) for counts in self._counts.values())

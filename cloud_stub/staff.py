"""The workers of a hub: what each is told, and the pool that stands where a single process has its endpoint."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from certs.layout import CertsDir
from cloud_stub.backbone import Backbone
from cloud_stub.cloud import WorkersFor
from cloud_stub.hub.endpoint import Endpoint
from cloud_stub.hub.settings import HubSettings
from cloud_stub.workers.job import WorkerJob
from cloud_stub.workers.pool import Workers
from emulator.clock import system_utc
from emulator.net.loopback import LoopbackHost, LoopbackPlan
from emulator.profile import load_profile


@dataclass(frozen=True)
class Staff:
    """`count` processes that share the hub's MQTT port at `address`. Their bus is never a local one."""

    count: int
    plan: LoopbackPlan
    address: str
    spine: Backbone
    state: Path
    certs: CertsDir
    secret: bytes = field(repr=False)
    seed: str
    settings: HubSettings

    def workers_for(self) -> WorkersFor:
        """The pool, once it is known who wants to hear of dead workers."""

        def workers(lost: Callable[[str], None], beside: Endpoint) -> Workers:
            return Workers(
                rng=Random(f"{self.seed}/workers"),  # noqa: S311 - for faults, never for keys
                utc=system_utc,
                now=asyncio.get_running_loop().time,
                count=self.count,
                reserve=lambda: LoopbackHost(self.plan, "hub", address=self.address).reserve(Endpoint.port),
                job_for=self._job,
                lost=lost,
                beside=beside,
            )

        return workers

    def _job(self, number: int, label: str) -> WorkerJob:
        assert self.spine.home and self.spine.mosquitto  # noqa: S101 - not a local bus
        return WorkerJob(
            label=label,
            plan=self.plan,
            address=self.address,
            broker=self.spine.mosquitto,
            bus="lean",
            state=self.state,
            journal=self.spine.home.journals / f"worker-{number}",
            certs=self.certs.path,
            hub_host=load_profile().network.hub_host,
            secret=self.secret,
            seed=self.seed,
            settings=self.settings.to_json(),
            processes=self.count,
        )

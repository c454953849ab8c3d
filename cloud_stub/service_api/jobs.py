"""Jobs: one direct method or twin change for every device that a condition finds (iothub-mqtt.md section 2.2).

Jobs are kept in memory: those of a hub that ends are gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from cloud_stub.bus.api import BusError
from cloud_stub.service_api.query_terms import Term
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.time import hub_time
from emulator.clock import Utc

JOBS_MAX = 256
"""Jobs that are remembered; the oldest that is over is forgotten when there are more."""
WAITING_MAX = 100
"""Jobs that are not over yet."""
DEVICES_AT_ONCE = 16
"""Of one job."""

Find = Callable[[Term], Awaitable[list[str]]]
"""The ids of the devices that a condition finds."""
Act = Callable[[str], Awaitable[None]]
"""What a job does with one device. HubError or BusError when it fails."""


class JobType(StrEnum):
    """What a job does."""

    METHOD = "scheduleDeviceMethod"
    TWIN = "scheduleUpdateTwin"


class JobStatus(StrEnum):
    """How far a job is."""

    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing more happens."""
        return self not in (JobStatus.SCHEDULED, JobStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What is asked for. `asked` are the fields of the request that say what is done, given back as they came."""

    job_id: str
    type: JobType
    query_condition: str
    condition: Term
    starts_at: datetime
    max_execution_s: int
    act: Act
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Job:
    """A job and how far it is."""

    spec: JobSpec
    created_at: datetime
    status: JobStatus = JobStatus.SCHEDULED
    ended_at: datetime | None = None
    failure: str | None = None
    devices: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the API shows it."""
        spec = self.spec
        pending = self.devices - self.running - self.succeeded - self.failed
        return {
            "jobId": spec.job_id,
            "queryCondition": spec.query_condition,
            "createdTime": hub_time(self.created_at),
            "startTime": hub_time(spec.starts_at),
            "endTime": hub_time(self.ended_at) if self.ended_at else None,
            "maxExecutionTimeInSeconds": spec.max_execution_s,
            "type": spec.type.value,
            **spec.asked,
            "status": self.status.value,
            "failureReason": self.failure,
            "statusMessage": None,
            "deviceJobStatistics": {
                "deviceCount": self.devices,
                "failedCount": self.failed,
                "succeededCount": self.succeeded,
                "runningCount": self.running,
                "pendingCount": pending,
            },
        }


class Jobs:
    """The jobs of one hub, each a task from its creation to its end."""

    def __init__(self, find: Find, utc: Utc) -> None:
        self._find = find
        self._utc = utc
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def create(self, spec: JobSpec) -> Job:
        """Schedule a job. HubError 409003 for an id that is known, 403001 when too many wait."""
        if spec.job_id in self._jobs:
            raise HubError(ErrorCode.JOB_ALREADY_EXISTS, f"There is a job {spec.job_id}.")
        if sum(not job.status.over for job in self._jobs.values()) >= WAITING_MAX:
            raise HubError(ErrorCode.JOB_QUOTA_EXCEEDED, f"{WAITING_MAX} jobs are not over yet.")
        if len(self._jobs) >= JOBS_MAX:
            del self._jobs[next(job_id for job_id, job in self._jobs.items() if job.status.over)]
        job = self._jobs[spec.job_id] = Job(spec, self._utc())
        task = asyncio.get_running_loop().create_task(self._run(job), name=f"job {spec.job_id}")
        self._tasks[spec.job_id] = task
        task.add_done_callback(lambda done: self._done(spec.job_id, done))
        return job

    def get(self, job_id: str) -> Job:
        """A job. HubError 404002."""
        job = self._jobs.get(job_id)
        if job is None:
            raise HubError(ErrorCode.JOB_NOT_FOUND, f"There is no job {job_id}.")
        return job

    def __iter__(self) -> Iterator[Job]:
        """The jobs, the oldest first."""
        return iter(tuple(self._jobs.values()))

    def cancel(self, job_id: str) -> Job:
        """End a job that is not over; what it has done stays done. HubError 404002."""
        job = self.get(job_id)
        if not job.status.over:
            self._end(job, JobStatus.CANCELLED)
            self._tasks[job_id].cancel()
        return job

    async def stop(self) -> None:
        """Cancel all jobs and wait for them."""
        tasks = tuple(self._tasks.values())
        for job in self:
            self.cancel(job.spec.job_id)
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, job: Job) -> None:
        await asyncio.sleep(max(0.0, (job.spec.starts_at - self._utc()).total_seconds()))
        job.status = JobStatus.RUNNING
        try:
            async with asyncio.timeout(job.spec.max_execution_s):
                await self._work(job)
        except TimeoutError:
            self._end(job, JobStatus.FAILED, "maxExecutionTimeInSeconds is over")
        except HubError as error:
            self._end(job, JobStatus.FAILED, error.text)
        else:
            self._end(job, JobStatus.COMPLETED)

    async def _work(self, job: Job) -> None:
        found = await self._find(job.spec.condition)
        job.devices = len(found)
        left = iter(found)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(DEVICES_AT_ONCE, len(found))):
                group.create_task(self._take_turns(job, left))

    async def _take_turns(self, job: Job, left: Iterator[str]) -> None:
        for device_id in left:
            job.running += 1
            try:
                await job.spec.act(device_id)
                job.succeeded += 1
            except (HubError, BusError):
                job.failed += 1
            finally:
                job.running -= 1

    def _end(self, job: Job, status: JobStatus, failure: str | None = None) -> None:
        job.status, job.failure, job.ended_at = status, failure, self._utc()

    def _done(self, job_id: str, task: "asyncio.Task[None]") -> None:
        del self._tasks[job_id]
        if not task.cancelled():
            task.result()  # anything that it raises is a bug, and the loop reports it

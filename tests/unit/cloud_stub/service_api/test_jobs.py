"""Jobs, by themselves and through the service API."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloud_stub.bus.api import BusError
from cloud_stub.service_api.jobs import DEVICES_AT_ONCE, JOBS_MAX, WAITING_MAX, Job, Jobs, JobSpec, JobStatus, JobType
from cloud_stub.service_api.query_parser import EVERYTHING
from cloud_stub.state.errors import ErrorCode, HubError
from emulator.clock import SimLoop
from emulator.wire.mqtt import Publish
from tests.unit.cloud_stub.service_api.service_lab import serving
from tests.unit.cloud_stub.service_api.test_app import is_new

SERIAL = "ZPR000001"
METHODS = "$iothub/methods/POST/#"
EPOCH = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class JobLab:
    """Jobs over ten devices, whose actions the test decides."""

    def __init__(self) -> None:
        self.acted: list[str] = []
        self.found = [f"d{n}" for n in range(10)]
        self.act: Callable[[str], Awaitable[None]] = self.note
        self.jobs = Jobs(self.find, self.utc)

    def utc(self) -> datetime:
        return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())

    async def find(self, condition: object) -> list[str]:
        return self.found

    async def note(self, device_id: str) -> None:
        self.acted.append(device_id)

    def create(self, job_id: str = "j", *, in_s: float = 0.0, max_s: int = 60) -> Job:
        start = self.utc() + timedelta(seconds=in_s)
        return self.jobs.create(JobSpec(job_id, JobType.METHOD, "*", EVERYTHING, start, max_s, self.act))

    def run(self, story: Callable[["JobLab"], Awaitable[None]]) -> None:
        async def main() -> None:
            await story(self)
            await self.jobs.stop()

        with asyncio.Runner(loop_factory=SimLoop) as runner:
            runner.run(main())


def status(job: Job) -> JobStatus:
    return job.status


def counts(job: Job) -> tuple[int, int, int, int]:
    return job.devices, job.succeeded, job.failed, job.running


def test_a_job_waits_for_its_time_and_does_every_device_once() -> None:
    async def story(lab: JobLab) -> None:
        job = lab.create(in_s=30)
        await asyncio.sleep(29)
        assert status(job) is JobStatus.SCHEDULED and lab.acted == []
        await asyncio.sleep(2)
        assert status(job) is JobStatus.COMPLETED and sorted(lab.acted) == lab.found and counts(job) == (10, 10, 0, 0)
        shown = job.to_json()
        assert shown["startTime"] == shown["endTime"] == "2026-06-01T12:00:30.000000Z"
        assert shown["deviceJobStatistics"]["pendingCount"] == 0

    JobLab().run(story)


def test_devices_that_fail_do_not_keep_the_others_from_their_turn() -> None:
    async def story(lab: JobLab) -> None:
        async def act(device_id: str) -> None:
            if device_id in ("d3", "d4"):
                raise HubError(ErrorCode.NOT_ONLINE, "") if device_id == "d3" else BusError("gone")

        lab.act = act
        job = lab.create()
        await asyncio.sleep(1)
        assert status(job) is JobStatus.COMPLETED and counts(job) == (10, 8, 2, 0)

    JobLab().run(story)


def test_a_job_works_on_so_many_devices_at_once_and_ends_when_its_time_is_over() -> None:
    async def story(lab: JobLab) -> None:
        async def act(device_id: str) -> None:
            await asyncio.sleep(40)

        lab.act, lab.found = act, [f"d{n}" for n in range(100)]
        job = lab.create(max_s=60)
        await asyncio.sleep(1)
        assert status(job) is JobStatus.RUNNING and counts(job) == (100, 0, 0, DEVICES_AT_ONCE)
        assert job.to_json()["deviceJobStatistics"]["pendingCount"] == 100 - DEVICES_AT_ONCE
        await asyncio.sleep(60)
        assert status(job) is JobStatus.FAILED and job.failure == "maxExecutionTimeInSeconds is over"
        assert counts(job) == (100, DEVICES_AT_ONCE, 0, 0)

    JobLab().run(story)


def test_a_job_whose_devices_cannot_be_found_fails() -> None:
    async def story(lab: JobLab) -> None:
        async def find(condition: object) -> list[str]:
            raise HubError(ErrorCode.SERVER_ERROR, "the database is gone")

        lab.jobs = Jobs(find, lab.utc)
        job = lab.create()
        await asyncio.sleep(1)
        assert status(job) is JobStatus.FAILED and job.failure == "the database is gone"

    JobLab().run(story)


def test_a_job_can_be_cancelled_before_and_while_it_runs() -> None:
    async def story(lab: JobLab) -> None:
        later = lab.create("later", in_s=10)
        assert lab.jobs.cancel("later").status is JobStatus.CANCELLED

        async def act(device_id: str) -> None:
            await asyncio.sleep(5)

        lab.act = act
        running = lab.create("running")
        await asyncio.sleep(1)
        lab.jobs.cancel("running")
        await asyncio.sleep(20)
        assert (later.status, running.status) == (JobStatus.CANCELLED, JobStatus.CANCELLED) and lab.acted == []
        assert running.running == 0 and lab.jobs.cancel("running") is running, "once more does nothing"

    JobLab().run(story)


def test_too_many_jobs_are_refused_and_old_ones_forgotten() -> None:
    async def story(lab: JobLab) -> None:
        for number in range(WAITING_MAX):
            lab.create(f"w{number}", in_s=100)
        with pytest.raises(HubError, match="403001"):
            lab.create("one more")
        with pytest.raises(HubError, match="409003"):
            lab.create("w1")
        for number in range(WAITING_MAX):
            lab.jobs.cancel(f"w{number}")
        for number in range(JOBS_MAX):
            lab.create(f"n{number}")
            await asyncio.sleep(1)
        assert [job.spec.job_id for job in lab.jobs][:2] == ["n0", "n1"] and len(list(lab.jobs)) == JOBS_MAX
        with pytest.raises(HubError, match="404002"):
            lab.jobs.get("w1")

    JobLab().run(story)


def test_stopping_ends_every_job() -> None:
    async def story(lab: JobLab) -> None:
        lab.create("a", in_s=1000)
        lab.create("b", in_s=0)

    lab = JobLab()
    lab.run(story)
    assert {job.status for job in lab.jobs} <= {JobStatus.CANCELLED, JobStatus.COMPLETED}


# Through the service API


METHOD = {"type": "scheduleDeviceMethod", "cloudToDeviceMethod": {"methodName": "502", "responseTimeoutInSeconds": 5}}
TWIN = {
    "type": "scheduleUpdateTwin",
    "updateTwin": {"etag": "*", "tags": {"a": 1}, "properties": {"desired": {"b": 2}}},
}


def test_a_job_calls_a_method_on_every_device_that_its_condition_finds(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            await api.make("asleep", "other")
            device = await hub.online(METHODS)
            condition = f"deviceId IN ['{SERIAL}', 'asleep']"
            made = await api.ok("PUT", "/jobs/v2/j1", METHOD | {"jobId": "j1", "queryCondition": condition})
            assert made["status"] == "scheduled" and made["endTime"] is None
            asked = await device.next(Publish)
            device.send(Publish(f"$iothub/methods/res/200/?$rid={asked.topic.partition('$rid=')[2]}", b""))
            await hub.sleep(1)
            job = await api.ok("GET", "/jobs/v2/j1")
            assert job == {
                "jobId": "j1",
                "queryCondition": condition,
                "createdTime": made["createdTime"],
                "startTime": made["startTime"],
                "endTime": job["endTime"],
                "maxExecutionTimeInSeconds": 3600,
                "type": "scheduleDeviceMethod",
                "cloudToDeviceMethod": METHOD["cloudToDeviceMethod"],
                "status": "completed",
                "failureReason": None,
                "statusMessage": None,
                "deviceJobStatistics": {
                    "deviceCount": 2,
                    "failedCount": 1,
                    "succeededCount": 1,
                    "runningCount": 0,
                    "pendingCount": 0,
                },
            }

    hub.run(story)


def test_a_job_changes_twins_at_its_time(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            await api.make("d")
            await api.ok("PUT", "/jobs/v2/j", TWIN | {"startTime": "2026-06-01T12:10:00Z"})
            await hub.sleep(599)
            assert "tags" not in await api.ok("GET", "/twins/d")
            await hub.sleep(2)
            twin = await api.ok("GET", "/twins/d")
            assert twin["tags"] == {"a": 1} and twin["properties"]["desired"]["b"] == 2
            assert (await api.ok("GET", "/jobs/v2/j"))["deviceJobStatistics"]["succeededCount"] == 2

    hub.run(story)


def test_a_twin_job_with_an_old_etag_fails_at_those_devices(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            await api.ok("PUT", "/jobs/v2/j", TWIN | {"updateTwin": {"etag": '"AAAAAAAAAAk="', "tags": {"a": 1}}})
            await hub.sleep(1)
            job = await api.ok("GET", "/jobs/v2/j")
            assert job["status"] == "completed" and job["deviceJobStatistics"]["failedCount"] == 1

    hub.run(story)


def test_jobs_are_listed_by_type_and_status_page_by_page_and_cancelled(hub) -> None:
    async def story(hub):
        async with serving(hub) as api:
            for number in range(3):
                await api.ok("PUT", f"/jobs/v2/t{number}", TWIN | {"startTime": "2026-06-02T00:00:00Z"})
            await api.ok("PUT", "/jobs/v2/m", METHOD)
            await hub.sleep(1)
            cancelled = await api.ok("POST", "/jobs/v2/t1/cancel")
            assert cancelled["status"] == "cancelled"

            async def ids(query: str, **headers: Any) -> list[str]:
                return [job["jobId"] for job in await api.ok("GET", f"/jobs/v2/query{query}", **headers)]

            assert await ids("") == ["t0", "t1", "t2", "m"]
            assert await ids("?jobType=scheduleDeviceMethod&jobStatus=completed") == ["m"]
            assert await ids("?jobType=scheduleUpdateTwin&jobStatus=scheduled") == ["t0", "t2"]
            first = await api.send("GET", "/jobs/v2/query", x_ms_max_item_count="3")
            assert first.headers["x-ms-item-type"] == "JobResponse" and len(first.json()) == 3
            assert await ids("", x_ms_continuation=first.headers["x-ms-continuation"]) == ["m"]
            for bad in ("?jobType=export", "?jobStatus=lost"):
                assert is_new((await api.send("GET", f"/jobs/v2/query{bad}")).text, 400004, "jobType or .*")

    hub.run(story)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"type": "export"}, "type must be one of .*"),
        ({"jobId": "other"}, "jobId must be .*"),
        ({"queryCondition": "deviceId ="}, "queryCondition: position 11: expected a name, found the end"),
        ({"cloudToDeviceMethod": None}, "cloudToDeviceMethod is needed .*"),
        ({"cloudToDeviceMethod": {}}, "methodName must be .*"),
        ({"startTime": "tomorrow"}, "startTime must be a time .*"),
        ({"startTime": "2099-01-01T00:00:00Z"}, "startTime must be within 365 days."),
        ({"maxExecutionTimeInSeconds": 0}, "The field maxExecutionTimeInSeconds must .*"),
        ({"type": "scheduleUpdateTwin", "updateTwin": {"etag": 5}}, "updateTwin.etag must be a text."),
    ],
)
def test_a_job_that_cannot_be(hub, changes: dict[str, Any], says: str) -> None:
    async def story(hub):
        async with serving(hub) as api:
            reply = await api.send("PUT", "/jobs/v2/j", METHOD | changes)
            assert reply.status_code == 400 and is_new(reply.text, 400004, says)
            missing = await api.send("GET", "/jobs/v2/j")
            assert missing.status_code == 404 and is_new(missing.text, 404002, "There is no job j.")

    hub.run(story)

"""The job routes of the service API (iothub-mqtt.md section 2.2)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cloud_stub.hub.policies import Permission
from cloud_stub.hub.throttle import Operation
from cloud_stub.service_api.desk import Desk
from cloud_stub.service_api.jobs import JOBS_MAX, Act, Job, Jobs, JobSpec, JobStatus, JobType
from cloud_stub.service_api.query import ItemType, continuation_of, place_in
from cloud_stub.service_api.query_parser import condition_of
from cloud_stub.service_api.query_tokens import QUERY_CHARACTERS_MAX, QueryError
from cloud_stub.service_api.request import Row, bad, object_of, part_of, reply, text_of, whole_of
from cloud_stub.service_api.twins import MethodAsked, twin_change
from cloud_stub.state.etags import bare
from emulator.clock import Utc

EXECUTION_S = 3_600
EXECUTION_S_MAX = 172_800
AHEAD_MAX = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class JobRoutes:
    """``/jobs/v2``."""

    desk: Desk
    jobs: Jobs
    utc: Utc

    def rows(self) -> tuple[Row, ...]:
        """The routes."""
        needs = Permission.SERVICE_CONNECT
        return (
            Row("GET", "/jobs/v2/query", needs, self._query, Operation.REGISTRY),
            Row("PUT", "/jobs/v2/{id}", needs, self._create, Operation.REGISTRY),
            Row("GET", "/jobs/v2/{id}", needs, self._get, Operation.REGISTRY),
            Row("POST", "/jobs/v2/{id}/cancel", needs, self._cancel, Operation.REGISTRY),
        )

    async def _create(self, request: Request) -> Response:
        return reply(self.jobs.create(self._spec(request.path_params["id"], await object_of(request))).to_json())

    async def _get(self, request: Request) -> Response:
        return reply(self.jobs.get(request.path_params["id"]).to_json())

    async def _cancel(self, request: Request) -> Response:
        return reply(self.jobs.cancel(request.path_params["id"]).to_json())

    async def _query(self, request: Request) -> Response:
        """Pages of jobs, the oldest first, by type and status where they are given."""
        params, headers = request.query_params, request.headers
        asked = {name: params[name] for name in ("jobType", "jobStatus") if params.get(name)}
        found = [job for job in self.jobs if _fits(job, asked)]
        limit = whole_of(headers.get("x-ms-max-item-count") or JOBS_MAX, "x-ms-max-item-count", 1, JOBS_MAX)
        try:
            _, given = place_in(str(asked), headers.get("x-ms-continuation"))
        except QueryError as error:
            raise bad(str(error)) from None
        page = found[given : given + limit]
        more = {"x-ms-item-type": ItemType.JOB_RESPONSE.value}
        if given + limit < len(found):
            more["x-ms-continuation"] = continuation_of(str(asked), "", given + limit)
        return reply([job.to_json() for job in page], headers=more)

    def _spec(self, job_id: str, data: dict[str, Any]) -> JobSpec:
        if text_of(data, "jobId", default=job_id) != job_id:
            raise bad("jobId must be the one in the address.")
        kind = data.get("type")
        if kind not in tuple(JobType):
            raise bad(f"type must be one of {', '.join(JobType)}.")
        text = text_of(data, "queryCondition", default="*", characters_max=QUERY_CHARACTERS_MAX)
        try:
            condition = condition_of(text)
        except QueryError as error:
            raise bad(f"queryCondition: {error}") from None
        seconds = data.get("maxExecutionTimeInSeconds")
        return JobSpec(
            job_id,
            JobType(kind),
            text,
            condition,
            self._start(data.get("startTime")),
            whole_of(EXECUTION_S if seconds is None else seconds, "maxExecutionTimeInSeconds", 1, EXECUTION_S_MAX),
            self._method(data) if kind == JobType.METHOD else self._twin(data),
            {name: data[name] for name in ("cloudToDeviceMethod", "updateTwin") if data.get(name) is not None},
        )

    def _start(self, text: Any) -> datetime:
        """When a job starts: now, unless it says a later time."""
        now = self.utc()
        if not text:
            return now
        try:
            at = datetime.fromisoformat(text)
        except (TypeError, ValueError):
            raise bad("startTime must be a time such as 2026-06-01T12:00:00Z.") from None
        start = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        if start - now > AHEAD_MAX:
            raise bad(f"startTime must be within {AHEAD_MAX.days} days.")
        return max(start, now)

    def _method(self, data: dict[str, Any]) -> Act:
        asked = MethodAsked.from_json(_needed(data, "cloudToDeviceMethod"))

        async def act(device_id: str) -> None:
            await self.desk.paced(Operation.JOB_DEVICE)
            await self.desk.methods.invoke(
                device_id, asked.name, asked.payload, asked.timeout_s, asked.connect_timeout_s
            )

        return act

    def _twin(self, data: dict[str, Any]) -> Act:
        asked = _needed(data, "updateTwin")
        wanted, etag = twin_change(asked), asked.get("etag")
        if etag is not None and not isinstance(etag, str):
            raise bad("updateTwin.etag must be a text.")

        async def act(device_id: str) -> None:
            await self.desk.paced(Operation.JOB_DEVICE)
            await self.desk.change_twin(device_id, wanted, bare(etag) or None)

        return act


def _needed(data: dict[str, Any], name: str) -> dict[str, Any]:
    part = part_of(data, name)
    if part is None:
        raise bad(f"{name} is needed for this type.")
    return dict(part)


def _fits(job: Job, asked: dict[str, str]) -> bool:
    types, statuses = tuple(JobType), tuple(JobStatus)
    wanted_type, wanted_status = asked.get("jobType", job.spec.type), asked.get("jobStatus", job.status)
    if wanted_type not in types or wanted_status not in statuses:
        raise bad("jobType or jobStatus is not known.")
    return (wanted_type, wanted_status) == (job.spec.type, job.status)

"""What HTTP has of cloud-to-device messages: emptying a queue, and feedback (iothub-mqtt.md sections 1.12 and 2.2)."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from cloud_stub.hub.policies import Permission
from cloud_stub.service_api.desk import Desk
from cloud_stub.service_api.request import Row, nothing, reply
from cloud_stub.service_api.wire import quoted
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.feedback import CONTENT_TYPE

FEEDBACK = "/messages/serviceBound/feedback"


@dataclass(frozen=True, slots=True)
class C2dRoutes:
    """``/devices/{id}/commands`` and ``/messages/serviceBound/feedback``."""

    desk: Desk

    def rows(self) -> tuple[Row, ...]:
        """The routes."""
        needs = Permission.SERVICE_CONNECT
        return (
            Row("DELETE", "/devices/{id}/commands", needs, self._purge),
            Row("GET", FEEDBACK, needs, self._receive),
            Row("DELETE", f"{FEEDBACK}/{{lock}}", needs, self._complete),
            Row("POST", f"{FEEDBACK}/{{lock}}/abandon", needs, self._abandon),
        )

    async def _purge(self, request: Request) -> Response:
        device_id = request.path_params["id"]
        purged = self.desk.memory.queues.purge(device_id)
        return reply({"deviceId": device_id, "moduleId": None, "totalMessagesPurged": purged})

    async def _receive(self, request: Request) -> Response:
        """A batch, with its lock token as ``ETag`` (assumed); 204 while none is ready."""
        batch = self.desk.memory.queues.feedback.receive()
        if batch is None:
            return nothing()
        return Response(batch.body, headers={"Content-Type": CONTENT_TYPE, "ETag": quoted(batch.lock)})

    async def _complete(self, request: Request) -> Response:
        return _settled(self.desk.memory.queues.feedback.complete(request.path_params["lock"]))

    async def _abandon(self, request: Request) -> Response:
        return _settled(self.desk.memory.queues.feedback.abandon(request.path_params["lock"]))


def _settled(held: bool) -> Response:
    if not held:
        raise HubError(ErrorCode.LOCK_LOST, "The lock token is of no batch, or its time is over.")
    return nothing()

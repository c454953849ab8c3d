"""The twin and method routes of the service API (iothub-mqtt.md sections 2.2, 2.4 and 2.5)."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cloud_stub.hub.methods import TIMEOUT_S, MethodError
from cloud_stub.hub.policies import Permission
from cloud_stub.hub.throttle import Operation, method_bytes
from cloud_stub.service_api.desk import Desk
from cloud_stub.service_api.request import Row, body_of, object_in, object_of, part_of, reply, text_of, whole_of
from cloud_stub.state.errors import ErrorCode
from cloud_stub.state.twin import TwinChange

METHOD_NAME_CHARACTERS_MAX = 100
RESPONSE_S = (5, 300)
CONNECT_S = (0, 300)


@dataclass(frozen=True, slots=True)
class MethodAsked:
    """A direct method as a request describes it."""

    name: str
    payload: Any
    timeout_s: int
    connect_timeout_s: int

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "MethodAsked":
        """HubError 400004."""
        response_s, connect_s = data.get("responseTimeoutInSeconds"), data.get("connectTimeoutInSeconds")
        return cls(
            text_of(data, "methodName", characters_max=METHOD_NAME_CHARACTERS_MAX),
            data.get("payload"),
            whole_of(int(TIMEOUT_S) if response_s is None else response_s, "responseTimeoutInSeconds", *RESPONSE_S),
            whole_of(0 if connect_s is None else connect_s, "connectTimeoutInSeconds", *CONNECT_S),
        )


def twin_change(data: dict[str, Any], *, replacing: bool = False) -> TwinChange:
    """What a twin in a body asks for: its tags and desired properties; the rest is for reading. HubError 400004."""
    properties = part_of(data, "properties") or {}
    return TwinChange(desired=part_of(properties, "desired"), tags=part_of(data, "tags"), replacing=replacing)


@dataclass(frozen=True, slots=True)
class TwinRoutes:
    """``/twins``."""

    desk: Desk

    def rows(self) -> tuple[Row, ...]:
        """The routes."""
        needs = Permission.SERVICE_CONNECT
        return (
            Row("GET", "/twins/{id}", needs, self._get, Operation.TWIN_READ),
            Row("PATCH", "/twins/{id}", needs, self._patch, Operation.TWIN_UPDATE),
            Row("PUT", "/twins/{id}", needs, self._put, Operation.TWIN_UPDATE),
            Row("POST", "/twins/{id}/methods", needs, self._call),
        )

    async def _get(self, request: Request) -> Response:
        device = self.desk.memory.registry.require(request.path_params["id"])
        twin = self.desk.memory.twins.get(device.device_id)
        return reply(self.desk.twin_view(device, twin), etag=twin.etag)

    async def _patch(self, request: Request) -> Response:
        return await self._change(request, replacing=False)

    async def _put(self, request: Request) -> Response:
        """Replaces the parts that the body has; a part that it has not stays (assumed)."""
        return await self._change(request, replacing=True)

    async def _change(self, request: Request, *, replacing: bool) -> Response:
        wanted = twin_change(await object_of(request), replacing=replacing)
        device = self.desk.memory.registry.require(request.path_params["id"])
        twin = await self.desk.change_twin(device.device_id, wanted, request.headers.get("if-match"))
        return reply(self.desk.twin_view(device, twin), etag=twin.etag)

    async def _call(self, request: Request) -> Response:
        """200 with the device's own status, whatever that is; 404 and 504 in the new shape when there is none."""
        body = await body_of(request)
        await self.desk.paced(Operation.METHOD_BYTES, method_bytes(len(body)))
        asked = MethodAsked.from_json(object_in(body))
        device_id = request.path_params["id"]
        if self.desk.memory.registry.get(device_id) is None:
            raise MethodError(ErrorCode.NOT_FOUND, device_id)
        result = await self.desk.methods.invoke(
            device_id, asked.name, asked.payload, asked.timeout_s, asked.connect_timeout_s
        )
        return reply({"status": result.status, "payload": result.payload})

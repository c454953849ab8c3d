"""The registry routes of the service API: devices, one, all or in bulk; statistics (iothub-mqtt.md section 2.2)."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from cloud_stub.hub.policies import Permission
from cloud_stub.hub.throttle import Operation
from cloud_stub.service_api.desk import Desk
from cloud_stub.service_api.request import (
    BULK_BODY_BYTES_MAX,
    Row,
    bad,
    json_of,
    nothing,
    object_of,
    reply,
    whole_of,
)
from cloud_stub.state.bulk import bulk
from cloud_stub.state.identity import Device, device_json, spec_of
from cloud_stub.state.registry import PAGE_MAX


@dataclass(frozen=True, slots=True)
class DeviceRoutes:
    """``/devices`` and ``/statistics``."""

    desk: Desk

    def rows(self) -> tuple[Row, ...]:
        """The routes."""
        read, write = Permission.REGISTRY_READ, Permission.REGISTRY_WRITE
        registry = Operation.REGISTRY
        return (
            Row("GET", "/devices", read, self._list, registry),
            Row("POST", "/devices", write, self._bulk, registry),
            Row("GET", "/devices/{id}", read, self._get, registry),
            Row("PUT", "/devices/{id}", write, self._put, registry),
            Row("DELETE", "/devices/{id}", write, self._delete, registry),
            Row("GET", "/statistics/devices", read, self._registry_statistics),
            Row("GET", "/statistics/service", Permission.SERVICE_CONNECT, self._service_statistics),
        )

    async def _list(self, request: Request) -> Response:
        top = whole_of(request.query_params.get("top", PAGE_MAX), "top", 1, PAGE_MAX)
        return reply([self._json(device) for device in self.desk.memory.registry.find(top)])

    async def _bulk(self, request: Request) -> Response:
        items = await json_of(request, BULK_BODY_BYTES_MAX)
        done = bulk(self.desk.memory.registry, self.desk.memory.twins, items)
        await self.desk.tell(done)
        return reply(done.to_json(), status=done.status)

    async def _get(self, request: Request) -> Response:
        return self._shown(self.desk.memory.registry.require(request.path_params["id"]))

    async def _put(self, request: Request) -> Response:
        """Create without ``If-Match``, update with it; 200 for both."""
        device_id = request.path_params["id"]
        data = await object_of(request)
        if data.get("deviceId", device_id) != device_id:
            raise bad("deviceId must be the one in the address.")
        return self._shown(self.desk.memory.registry.put(device_id, spec_of(data), request.headers.get("if-match")))

    async def _delete(self, request: Request) -> Response:
        self.desk.memory.registry.delete(request.path_params["id"], request.headers.get("if-match"))
        return nothing()

    async def _registry_statistics(self, request: Request) -> Response:
        registry = self.desk.memory.registry
        total, disabled = len(registry), registry.disabled_count()
        return reply(
            {"totalDeviceCount": total, "enabledDeviceCount": total - disabled, "disabledDeviceCount": disabled}
        )

    async def _service_statistics(self, request: Request) -> Response:
        return reply({"connectedDeviceCount": self.desk.memory.sessions.connected_count()})

    def _shown(self, device: Device) -> Response:
        return reply(self._json(device), etag=device.etag)

    def _json(self, device: Device) -> dict[str, object]:
        memory = self.desk.memory
        return device_json(device, memory.sessions.seen(device.device_id), memory.queues.count(device.device_id))

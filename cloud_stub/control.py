"""The control API of a running stub cloud: production, devices, methods, twins, history, faults and what it offers.

It speaks JSON. It is for tests and people on the same machine, has no login, and is no part of the vendor's cloud.
Errors are ``{"error": "one line"}`` with 400 for bad input, 404 for what does not exist, 503 when a device does not
answer.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cloud_stub.bus.api import VERSION, Bus, BusError, Kind, topic_of
from cloud_stub.control_body import Body, json_in, read
from cloud_stub.control_services import (
    Inject,
    Offer,
    Page,
    Publish,
    ServiceControl,
    control_app,
    error_reply,
    offer_routes,
)
from cloud_stub.hub.memory import HubMemory
from cloud_stub.hub.methods import TIMEOUT_S, Invoke, MethodError
from cloud_stub.service import Service
from cloud_stub.state.errors import ErrorCode
from cloud_stub.state.identity import Device
from cloud_stub.state.registry import UnknownDevice, serials
from cloud_stub.state.twin import Twin, TwinError, service_view
from cloud_stub.store import Store
from emulator.errors import UsageError

COUNT_MAX = 100_000
PRODUCED_AT_ONCE = 1_000


class DeviceLog(Protocol):
    """What devices did at one endpoint, or at all endpoints of a kind."""

    async def device_history(self, device_id: str) -> list[dict[str, Any]]:
        """JSON-able entries with the monotonic time ``t``, oldest first."""

    async def forget_device(self, device_id: str) -> None:
        """Forget what a device did."""


class Production(Body):
    """Body of POST /devices: one serial, or `count` serials that begin with `prefix`."""

    serial: str | None = None
    count: int | None = Field(None, ge=1, le=COUNT_MAX)
    prefix: str = "ZPR"

    def serials(self) -> list[str]:
        """What is to be made. UsageError unless exactly one of `serial` and `count` is given."""
        match self.serial, self.count:
            case str(serial), None:
                return [serial]
            case None, int(count):
                return serials(self.prefix, count)
            case _:
                raise UsageError("body: give either serial or count")


class MethodCall(Body):
    """Body of POST /devices/{id}/methods/{name}."""

    payload: Any = None
    timeout_s: float = Field(TIMEOUT_S, gt=0, le=300, strict=False)


@dataclass(frozen=True)
class Control:
    """What the API gives access to.

    `services` are all services of each name, `inject` routes a fault to its owner, `offer` hands firmware out
    and returns its version, `publish` takes the roots of the next trust bundle, and the firmware keys that it lists and
    revokes, and returns its version.
    `device_logs` are the histories of what each device did at the hub, one for each endpoint.
    `pages` are further read-only JSON pages by path, such as ``/ready``, and `routes` whatever else there is.
    """

    services: Mapping[str, Sequence[Service]]
    memory: HubMemory
    store: Store
    bus: Bus
    invoke: Invoke
    inject: Inject
    offer: Offer | None = None
    publish: Publish | None = None
    device_logs: Sequence[DeviceLog] = ()
    pages: Mapping[str, Page] = field(default_factory=dict)
    routes: Sequence[Route] = ()

    def app(self) -> Starlette:
        """The ASGI application."""
        offers = offer_routes(self.offer, self.publish) if self.offer and self.publish else []
        services = ServiceControl(self.services, self.inject, self.pages).routes()
        return control_app(
            [*self._device_routes(), *services, *offers, *self.routes],
            {
                MethodError: _method_error,
                TwinError: lambda error: error_reply(error.status, f"body: {error.text}"),
                BusError: lambda error: error_reply(503, str(error)),
            },
        )

    def _device_routes(self) -> list[Route]:
        return [
            Route("/devices", self._list_devices, methods=["GET"]),
            Route("/devices", self._produce, methods=["POST"]),
            Route("/devices/{id}", self._show_device, methods=["GET"]),
            Route("/devices/{id}/methods/{name}", self._call_method, methods=["POST"]),
            Route("/devices/{id}/desired", self._desire, methods=["PATCH", "PUT"]),
            Route("/devices/{id}/history", self._device_history, methods=["GET", "DELETE"]),
        ]

    # Devices

    async def _list_devices(self, request: Request) -> JSONResponse:
        devices = [{"serial": device.device_id, "online": self._online(device)} for device in self.memory.registry]
        return JSONResponse({"devices": devices})

    async def _produce(self, request: Request) -> JSONResponse:
        """Make chargers; one that was made is handed out again with its key, so that the call can be repeated."""
        wanted = (await read(request, Production)).serials()
        made: list[Device] = []
        for first in range(0, len(wanted), PRODUCED_AT_ONCE):
            made += self.memory.registry.produce_all(wanted[first : first + PRODUCED_AT_ONCE])
            await asyncio.sleep(0)  # the hub goes on serving meanwhile
        keys = [{"serial": device.device_id, "key": b64encode(device.primary_key).decode()} for device in made]
        return JSONResponse({"devices": keys}, status_code=201)

    async def _show_device(self, request: Request) -> JSONResponse:
        device = self._device(request)
        state = self.store.device(device.device_id)
        observations = {
            str(number): {"value": seen.value, "at": seen.at.isoformat()} for number, seen in state.observations.items()
        }
        return JSONResponse(
            {
                "serial": device.device_id,
                "status": device.status.value,
                "online": state.online,
                "session_id": state.session_id,
                "observations": observations,
                "sessions": json.loads(json.dumps([asdict(ended) for ended in state.sessions.values()], default=str)),
                "twin": _twin_json(self.memory.twins.get(device.device_id)),
            }
        )

    async def _call_method(self, request: Request) -> JSONResponse:
        device = self._device(request)
        call = await read(request, MethodCall)
        name = request.path_params["name"]
        result = await self.invoke(device.device_id, name, call.payload, call.timeout_s)
        return JSONResponse({"status": result.status, "payload": result.payload})

    async def _desire(self, request: Request) -> JSONResponse:
        """Merge the body into the desired properties and push it to the device. PUT does the same as PATCH."""
        device = self._device(request)
        patch = await json_in(request)
        if not isinstance(patch, dict):
            raise TwinError("patch is not a JSON object")
        twin, pushed = self.memory.twins.desire(device.device_id, patch)
        version = ((VERSION, str(twin.desired.version)),)
        await self.bus.publish(topic_of(device.device_id, Kind.DESIRED), pushed, version)
        return JSONResponse({"accepted": True}, status_code=202)

    async def _device_history(self, request: Request) -> JSONResponse:
        """What a device did at the hub, unknown ones included; DELETE shows it a last time."""
        device_id = request.path_params["id"]
        entries = [entry for log in self.device_logs for entry in await log.device_history(device_id)]
        if request.method == "DELETE":
            for log in self.device_logs:
                await log.forget_device(device_id)
        return JSONResponse({"history": sorted(entries, key=lambda entry: entry["t"])})

    def _device(self, request: Request) -> Device:
        device_id = request.path_params["id"]
        device = self.memory.registry.get(device_id)
        if device is None:
            raise UnknownDevice(f"device {device_id}: no such device")
        return device

    def _online(self, device: Device) -> bool:
        state = self.store.get(device.device_id)
        return state is not None and state.online


def _twin_json(twin: Twin) -> dict[str, Any]:
    properties = {"desired": service_view(twin.desired), "reported": service_view(twin.reported)}
    return {"version": twin.version, "etag": twin.etag, "tags": twin.tags, "properties": properties}


def _method_error(error: MethodError) -> JSONResponse:
    bad_input = error.code in (ErrorCode.BAD_ARGUMENT, ErrorCode.TOO_LARGE)
    return JSONResponse({"error": str(error), "code": error.code.value}, status_code=400 if bad_input else 503)

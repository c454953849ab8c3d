"""What the routes of the service API work on."""

import asyncio
from dataclasses import dataclass
from typing import Any

from cloud_stub.bus.api import VERSION, Bus, Kind, topic_of
from cloud_stub.hub.memory import HubMemory
from cloud_stub.hub.methods import Methods
from cloud_stub.hub.throttle import Operation, Throttle
from cloud_stub.service_api.wire import twin_json
from cloud_stub.state.bulk import BulkReply
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.identity import Device
from cloud_stub.state.twin import Twin, TwinChange


@dataclass(frozen=True, slots=True)
class Desk:
    """The hub as its service API sees it."""

    memory: HubMemory
    bus: Bus
    methods: Methods
    throttle: Throttle | None = None

    def twin_view(self, device: Device, twin: Twin | None = None) -> dict[str, Any]:
        """The device's twin as services see it. HubError 404001 if it was just deleted."""
        known = self.memory.twins.get(device.device_id) if twin is None else twin
        seen, waiting = self.memory.sessions.seen(device.device_id), self.memory.queues.count(device.device_id)
        return twin_json(device, known, seen, waiting)

    async def change_twin(self, device_id: str, wanted: TwinChange, if_match: str | None = None) -> Twin:
        """Change a twin and have the device told. HubError; BusError when it is changed and nobody can be told."""
        twin, pushed = self.memory.twins.change(device_id, wanted, if_match)
        if pushed is not None:
            await self._push(device_id, twin.desired.version, pushed)
        return twin

    async def tell(self, done: BulkReply) -> None:
        """Tell devices of what a bulk operation has changed. BusError."""
        for push in done.pushes:
            await self._push(push.device_id, push.version, push.body)

    async def paced(self, operation: Operation, cost: float = 1.0) -> None:
        """Wait as long as the hub's tier makes a caller wait. HubError 429001 when that would be too long."""
        wait_s = 0.0 if self.throttle is None else self.throttle.wait_s(operation, cost)
        if wait_s is None:
            raise HubError(ErrorCode.THROTTLED, f"More than this hub's tier serves: {operation.value}.")
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _push(self, device_id: str, version: int, body: bytes) -> None:
        await self.bus.publish(topic_of(device_id, Kind.DESIRED), body, ((VERSION, str(version)),))

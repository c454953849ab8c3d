"""Queries over twins, and their pages (iothub-mqtt.md section 2.6). Here a change is seen at once."""

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from cloud_stub.hub.policies import Permission
from cloud_stub.hub.throttle import Operation
from cloud_stub.service_api.desk import Desk
from cloud_stub.service_api.query import Pager, continuation_of, place_in
from cloud_stub.service_api.query_parser import parse_query
from cloud_stub.service_api.query_terms import Term
from cloud_stub.service_api.query_tokens import QUERY_CHARACTERS_MAX, QueryError
from cloud_stub.service_api.request import Row, bad, object_of, reply, text_of, whole_of
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.identity import Device

PAGE_ITEMS = 100
PAGE_ITEMS_MAX = 1_000
AT_ONCE = 50
"""Twins that are looked at before others get their turn."""


@dataclass(frozen=True, slots=True)
class QueryRoutes:
    """``/devices/query``."""

    desk: Desk

    def rows(self) -> tuple[Row, ...]:
        """The route."""
        return (Row("POST", "/devices/query", Permission.SERVICE_CONNECT, self._query, Operation.QUERY),)

    async def _query(self, request: Request) -> Response:
        text = text_of(await object_of(request), "query", characters_max=QUERY_CHARACTERS_MAX)
        asked = request.headers.get("x-ms-max-item-count")
        max_items = PAGE_ITEMS if not asked else whole_of(asked, "x-ms-max-item-count", 1, PAGE_ITEMS_MAX)
        try:
            query = parse_query(text)
            after, given = place_in(text, request.headers.get("x-ms-continuation"))
        except QueryError as error:
            raise bad(f"query: {error}") from None
        pager = Pager(query, max_items=max_items, given=given)
        await _fill(self.desk, pager, after)
        headers = {"x-ms-item-type": query.item_type.value}
        if pager.more:
            headers["x-ms-continuation"] = continuation_of(text, *pager.place)
        return reply(pager.rows, headers=headers)


async def _fill(desk: Desk, pager: Pager, after: str) -> None:
    devices = desk.memory.registry.find(AT_ONCE, after=after)
    while devices and not pager.full:
        for device in devices:
            _feed(desk, pager, device)
        await asyncio.sleep(0)
        devices = desk.memory.registry.find(AT_ONCE, after=devices[-1].device_id)


def _feed(desk: Desk, pager: Pager, device: Device) -> None:
    try:
        pager.feed(device.device_id, desk.twin_view(device))
    except HubError as error:
        if error.code is not ErrorCode.NOT_FOUND:  # deleted by another process meanwhile
            raise


async def devices_where(desk: Desk, condition: Term) -> list[str]:
    """The ids of all devices that a condition finds."""
    found: list[str] = []
    devices = desk.memory.registry.find(AT_ONCE)
    while devices:
        found += [device.device_id for device in devices if condition.of(desk.twin_view(device)) is True]
        await asyncio.sleep(0)
        devices = desk.memory.registry.find(AT_ONCE, after=devices[-1].device_id)
    return found

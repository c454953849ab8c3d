"""What the routes of the service API are made of: rows of a table, and how they read requests and write replies."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cloud_stub.hub.policies import Permission
from cloud_stub.hub.throttle import Operation
from cloud_stub.service_api.wire import CONTENT_TYPE, json_bytes, quoted
from cloud_stub.state.errors import ErrorCode, HubError

BODY_BYTES_MAX = 1 << 18
BULK_BODY_BYTES_MAX = 1 << 23
DEPTH_MAX = 128
"""Objects and arrays inside one another: what was read must also be writable."""


@dataclass(frozen=True, slots=True)
class Row:
    """One route. `needs` is what the caller's policy must allow, `operation` what its calls count for, if anything."""

    method: str
    path: str
    needs: Permission
    answer: Callable[[Request], Awaitable[Response]]
    operation: Operation | None = None


def reply(
    data: Any, *, status: int = 200, etag: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON reply. `etag` is written without quotes."""
    tag = {} if etag is None else {"ETag": quoted(etag)}
    return Response(json_bytes(data), status, {"Content-Type": CONTENT_TYPE, **tag, **(headers or {})})


def nothing() -> Response:
    """204."""
    return Response(status_code=204)


async def body_of(request: Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The body. HubError 413001."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > bytes_max:
            raise HubError(ErrorCode.TOO_LARGE, f"The body has more than {bytes_max} bytes.")
    return bytes(body)


async def json_of(request: Request, bytes_max: int = BODY_BYTES_MAX) -> Any:
    """The body, which must be JSON. HubError 400004, 413001."""
    return json_in(await body_of(request, bytes_max))


def json_in(body: bytes) -> Any:
    """What a body says. HubError 400004."""
    try:
        data = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise bad("The body is not JSON.") from None
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and not _shallow(data):
        raise bad(f"The body is nested deeper than {DEPTH_MAX}.")
    return data


async def object_of(request: Request) -> dict[str, Any]:
    """The body, which must be a JSON object. HubError 400004, 413001."""
    return object_in(await body_of(request))


def object_in(body: bytes) -> dict[str, Any]:
    """What a body says, which must be an object. HubError 400004."""
    data = json_in(body)
    if not isinstance(data, dict):
        raise bad("The body must be a JSON object.")
    return data


def part_of(data: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """A part of a body, an object; None where it is absent or null. HubError 400004."""
    found = data.get(name)
    if found is not None and not isinstance(found, Mapping):
        raise bad(f"{name} must be an object.")
    return found


def text_of(data: Mapping[str, Any], name: str, *, default: str | None = None, characters_max: int = 256) -> str:
    """A text of a body. HubError 400004 if it is missing without a default, no text, or too long."""
    found = data.get(name)
    if found is None and default is not None:
        return default
    if not isinstance(found, str) or not found or len(found) > characters_max:
        raise bad(f"{name} must be a text of 1 to {characters_max} characters.")
    return found


def whole_of(value: Any, name: str, lowest: int, highest: int) -> int:
    """A whole number of a body, a header or a query. HubError 400004."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise bad(f"The field {name} must be within [{lowest}; {highest}].")
    return value


def bad(text: str) -> HubError:
    """The request cannot be: 400004."""
    return HubError(ErrorCode.BAD_ARGUMENT, text)


def _shallow(data: Any) -> bool:
    level = [data]
    for _ in range(DEPTH_MAX + 1):
        inner = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [item for items in inner for item in items]
    return not level


def _no_constant(name: str) -> Any:
    raise ValueError(name)

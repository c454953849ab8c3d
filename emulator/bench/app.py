"""The bench as a web application. It speaks JSON; an error is ``{"error": "one line"}``.

400 is bad input, 401 no token, 403 a caller from elsewhere, 404 no such thing, 409 not in this state, 413 too long,
503 not online, or too many readers.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.bench.acts import ACTS, Act, Hands, Result, read
from emulator.bench.condition import Condition
from emulator.bench.errors import Busy, Conflict, Missing
from emulator.bench.faults import Faults
from emulator.bench.stream import EventStream, Readers
from emulator.bench.timeline import PAGE_MAX, Timeline, event_json
from emulator.bench.token import Access, Guard
from emulator.bench.visible import Reported, visible
from emulator.device.charger import Charger
from emulator.errors import EmulatorError, UsageError

BODY_BYTES_MAX = 1 << 16
WAIT_MAX_S = 60.0
NUMBER_MAX = 2**53
"""The largest integer that every JSON reader gets right."""
HEALTH = "/health"
"""The one page without a token: health checks need no secret, and it says nothing but online, or why not."""

STATUS: dict[type[EmulatorError], int] = {UsageError: 400, Missing: 404, Conflict: 409, Busy: 503}

Handler = Callable[[Request], Awaitable[Response]]


class Cursor(BaseModel):
    """Where in the timeline."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=0, le=NUMBER_MAX)] = 0


class Window(Cursor):
    """Which part of the timeline, and how long to wait for it."""

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_MAX
    wait_s: Annotated[float, Field(ge=0, le=WAIT_MAX_S, allow_inf_nan=False)] = 0.0


@dataclass(frozen=True)
class BenchApi:
    """One charger: what is done to it, what was seen of it, and who may."""

    charger: Charger
    faults: Faults
    timeline: Timeline
    condition: Condition
    reported: Reported
    access: Access
    _hands: Hands = field(init=False)
    _readers: Readers = field(default_factory=Readers, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hands", Hands(self.charger))

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/", self._contents, methods=["GET"]),
            Route(HEALTH, self._health, methods=["GET"]),
            Route("/snapshot", self._snapshot, methods=["GET"]),
            Route("/timeline", self._timeline, methods=["GET"]),
            Route("/events", self._events, methods=["GET"]),
            Route("/faults", self._list_faults, methods=["GET"]),
            Route("/faults", self._inject, methods=["POST"]),
            Route("/faults", self._heal_all, methods=["DELETE"]),
            Route("/faults/{number:int}", self._heal, methods=["DELETE"]),
            *(Route(f"/{act.name}", self._doing(act), methods=["POST"]) for act in ACTS.values()),
        ]
        handlers: dict[Any, Any] = {EmulatorError: _refused, HTTPException: _not_served}
        guard = Middleware(Guard, access=self.access, open_to_all=frozenset({HEALTH}))
        return Starlette(routes=routes, exception_handlers=handlers, middleware=[guard])

    # Looks

    async def _contents(self, request: Request) -> Response:
        acts = {f"POST /{act.name}": act.doc for act in ACTS.values()}
        return JSONResponse({"serial": self.charger.spec.serial, "began": self.timeline.began, "acts": acts})

    async def _health(self, request: Request) -> Response:
        if self.charger.uplink.online:
            return JSONResponse({"online": True})
        return JSONResponse({"online": False, "why": self.condition.why_not}, status_code=503)

    async def _snapshot(self, request: Request) -> Response:
        seen = visible(self.charger, self.reported)
        return JSONResponse({"began": self.timeline.began, "after": self.timeline.last, **seen})

    async def _timeline(self, request: Request) -> Response:
        window = read(Window, request.query_params, "query")
        page = self.timeline.read(window.after, window.limit)
        if not page.events and window.wait_s:
            with self._readers.one_more():
                await self.timeline.news(window.wait_s)
            page = self.timeline.read(window.after, window.limit)
        events = [event_json(number, event) for number, event in page.numbered()]
        began = self.timeline.began
        return JSONResponse({"began": began, "events": events, "after": page.after, "dropped": page.dropped})

    async def _events(self, request: Request) -> Response:
        """From ``?after=N`` on, or from where a reader that comes again has stopped."""
        last = request.headers.get("last-event-id")
        cursor = read(Cursor, request.query_params if last is None else {"after": last}, "query")
        return EventStream(self.timeline, cursor.after, self._readers)

    # Acts

    def _doing(self, act: Act) -> Handler:
        async def do(request: Request) -> Response:
            body, after = await _body(request), self.timeline.last
            return self._done(act.do(self._hands, body), after)

        return do

    async def _list_faults(self, request: Request) -> Response:
        faults = [{"id": number, "fault": dict(fault)} for number, fault in self.faults.listed().items()]
        return JSONResponse({"faults": faults})

    async def _inject(self, request: Request) -> Response:
        body, after = await _body(request), self.timeline.last
        return self._done({"id": self.faults.inject(body)}, after, status_code=201)

    async def _heal(self, request: Request) -> Response:
        number, after = request.path_params["number"], self.timeline.last
        self.faults.heal(number)
        return self._done({"id": number}, after)

    async def _heal_all(self, request: Request) -> Response:
        after = self.timeline.last
        return self._done({"healed": self.faults.heal_all()}, after)

    def _done(self, result: Result, after: int, *, status_code: int = 200) -> Response:
        """Say what was done, and after which event: what comes of it follows there."""
        return JSONResponse({**result, "began": self.timeline.began, "after": after}, status_code=status_code)


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object that came; empty when nothing did."""
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > BODY_BYTES_MAX:
            raise HTTPException(413, f"over {BODY_BYTES_MAX} bytes")
    try:
        data = json.loads(text or b"{}", parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise UsageError("body: not JSON") from None
    if not isinstance(data, dict):
        raise UsageError("body: must be a JSON object")
    return data


def _no_number(name: str) -> None:
    """Python reads NaN and infinities; JSON has none."""
    raise ValueError(name)


async def _refused(request: Request, error: EmulatorError) -> Response:
    return _error(STATUS.get(type(error), 400), str(error))


async def _not_served(request: Request, error: HTTPException) -> Response:
    return _error(error.status_code, f"{request.url.path}: {error.detail}")


def _error(status: int, text: str) -> Response:
    line = " ".join(text.encode(errors="backslashreplace").decode().split())  # a key may hold half a character
    return JSONResponse({"error": line}, status_code=status)

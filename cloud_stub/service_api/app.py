"""The service API of the hub, over HTTPS on port 443 of the hub's host (iothub-mqtt.md Part 2).

Every request needs the token of a policy that allows the route. The version in ``api-version`` is not judged. What is
open or assumed: 403 for a policy without the permission, and bodies of 404 and 405 for addresses that do not exist.
On the same port, MQTT over WebSocket goes on to the device endpoint.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from cloud_stub.bus.api import BusError
from cloud_stub.https import ContextOf, HttpsService, Upgrade, sender_of
from cloud_stub.hub.policies import Denied, Permission, Policies
from cloud_stub.service_api.absent import AbsentRoutes
from cloud_stub.service_api.c2d import C2dRoutes
from cloud_stub.service_api.d2c_feed import D2cFeed
from cloud_stub.service_api.desk import Desk
from cloud_stub.service_api.devices import DeviceRoutes
from cloud_stub.service_api.extras import ExtraRoutes
from cloud_stub.service_api.job_routes import JobRoutes
from cloud_stub.service_api.jobs import Jobs
from cloud_stub.service_api.query_routes import QueryRoutes, devices_where
from cloud_stub.service_api.query_terms import Term
from cloud_stub.service_api.request import Row
from cloud_stub.service_api.twins import TwinRoutes
from cloud_stub.service_api.wire import CONTENT_TYPE, Marks, json_bytes
from cloud_stub.state.errors import ErrorCode, HubError
from emulator.clock import Utc

PATH_CHARACTERS_MAX = 200
"""Of an address, in the history."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Who may do what: the hub's host, its policies and its clock."""

    host: str
    policies: Policies
    utc: Utc

    def denied(self, request: Request, needs: Permission) -> Denied | None:
        """Why a request is not let through; None if it is."""
        path = (self.host, *request.scope["path"].strip("/").split("/"))
        token = request.headers.get("authorization")
        verdict = self.policies.judge_text(token, path=path, needs=needs, now_utc=self.utc())
        return verdict if isinstance(verdict, Denied) else None


class ServiceApi(HttpsService):
    """The routes, each behind the gate, and what they keep: jobs, and who watches D2C messages."""

    name: ClassVar[str] = "service_api"

    def __init__(
        self,
        *,
        rng: Random,
        utc: Utc,
        now: Callable[[], float],
        contexts: ContextOf,
        host: str,
        policies: Policies,
        desk: Desk,
        upgrade: Upgrade | None = None,
    ) -> None:
        self._desk = desk
        self._gate = Gate(host, policies, utc)
        self._marks = Marks(rng, utc)
        self.jobs = Jobs(self._devices_where, utc)
        self._feed = D2cFeed(desk.bus)
        super().__init__(rng=rng, utc=utc, now=now, contexts=contexts, app=self._app(), upgrade=upgrade)

    async def stop(self) -> None:
        await super().stop()
        await self.jobs.stop()

    def rows(self) -> tuple[Row, ...]:
        """Every route. The first that fits counts."""
        desk, marks = self._desk, self._marks
        return (
            *QueryRoutes(desk).rows(),
            *DeviceRoutes(desk).rows(),
            *TwinRoutes(desk).rows(),
            *C2dRoutes(desk).rows(),
            *JobRoutes(desk, self.jobs, self._gate.utc).rows(),
            *ExtraRoutes(desk, self._feed, marks.new_id, self._gate.utc).rows(),
            *AbsentRoutes(desk).rows(),
        )

    async def _devices_where(self, condition: Term) -> list[str]:
        return await devices_where(self._desk, condition)

    def _app(self) -> Starlette:
        routes = [Route(row.path, self._answering(row), methods=[row.method]) for row in self.rows()]
        app = Starlette(routes=routes, exception_handlers={HTTPException: self._no_route})
        app.router.redirect_slashes = False
        return app

    def _answering(self, row: Row) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            denied = self._gate.denied(request, row.needs)
            response = _not_let_in(denied) if denied else await self._answer(request, row)
            if isinstance(response, HubError):
                reason = denied.value if denied else response.code.label
                return self._finish(request, self._failed(response), reason)
            return self._finish(request, response)

        return answer

    async def _answer(self, request: Request, row: Row) -> Response | HubError:
        try:
            if row.operation is not None:
                await self._desk.paced(row.operation)
            return await row.answer(request)
        except HubError as error:
            return error
        except BusError:
            return HubError(ErrorCode.PARTITION_LOST, "The hub's bus did not take a message.")
        except ClientDisconnect:
            return HubError(ErrorCode.BAD_ARGUMENT, "The client left before its request was complete.")

    def _failed(self, error: HubError) -> Response:
        body, headers = self._marks.error(error)
        return Response(body, error.status, {"Content-Type": CONTENT_TYPE, **headers})

    async def _no_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
        text = f"No route of this hub: {_asked(request)}"
        body = json_bytes({"Message": text, "ExceptionMessage": ""})
        return self._finish(request, Response(body, error.status_code, {"Content-Type": CONTENT_TYPE}))

    def _finish(self, request: Request, response: Response, reason: str = "") -> Response:
        response.headers.update(self._marks.headers())
        self.record(sender_of(request), _asked(request), str(response.status_code), reason=reason)
        return response


def _not_let_in(denied: Denied) -> HubError:
    """401 without saying what is wrong; 403 if all is well except that the policy does not allow it."""
    if denied is Denied.NOT_PERMITTED:
        return HubError(ErrorCode.NOT_PERMITTED, "The policy does not have the permission.")
    return HubError(ErrorCode.UNAUTHORISED, "Unauthorized")


def _asked(request: Request) -> str:
    """The request line as histories have it: an address may hold ids, but no secret."""
    path: str = request.scope["path"]
    return f"{request.method} {path[:PATH_CHARACTERS_MAX]}"

"""Routes of the vendor's API for what this hub has not: modules, configurations, digital twins, storage jobs.

Reading finds nothing, as on a hub where nobody has made any; making is refused with 501, which clients do not retry.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from cloud_stub.hub.policies import Permission
from cloud_stub.service_api.desk import Desk
from cloud_stub.service_api.request import Row, reply
from cloud_stub.state.errors import ErrorCode, HubError

_READ, _WRITE, _CONNECT = Permission.REGISTRY_READ, Permission.REGISTRY_WRITE, Permission.SERVICE_CONNECT

_MODULE, _CONFIGURATION = ErrorCode.MODULE_NOT_FOUND, ErrorCode.CONFIGURATION_NOT_FOUND

NOT_FOUND: tuple[tuple[str, str, Permission, ErrorCode], ...] = (
    ("GET", "/devices/{id}/modules/{module}", _READ, _MODULE),
    ("DELETE", "/devices/{id}/modules/{module}", _WRITE, _MODULE),
    ("GET", "/twins/{id}/modules/{module}", _CONNECT, _MODULE),
    ("PATCH", "/twins/{id}/modules/{module}", _CONNECT, _MODULE),
    ("PUT", "/twins/{id}/modules/{module}", _CONNECT, _MODULE),
    ("POST", "/twins/{id}/modules/{module}/methods", _CONNECT, _MODULE),
    ("GET", "/configurations/{configuration}", _READ, _CONFIGURATION),
    ("DELETE", "/configurations/{configuration}", _WRITE, _CONFIGURATION),
    ("GET", "/jobs/{job}", _READ, ErrorCode.JOB_NOT_FOUND),
    ("DELETE", "/jobs/{job}", _WRITE, ErrorCode.JOB_NOT_FOUND),
)
NOT_IMPLEMENTED: tuple[tuple[str, str, Permission], ...] = (
    ("PUT", "/devices/{id}/modules/{module}", _WRITE),
    ("PUT", "/configurations/{configuration}", _WRITE),
    ("POST", "/configurations/testQueries", _READ),
    ("POST", "/devices/{id}/applyConfigurationContent", _WRITE),
    ("GET", "/digitaltwins/{id}", _CONNECT),
    ("PATCH", "/digitaltwins/{id}", _CONNECT),
    ("POST", "/digitaltwins/{id}/commands/{command}", _CONNECT),
    ("POST", "/digitaltwins/{id}/components/{component}/commands/{command}", _CONNECT),
    ("POST", "/jobs/create", _WRITE),
)


@dataclass(frozen=True, slots=True)
class AbsentRoutes:
    """The routes above."""

    desk: Desk

    def rows(self) -> tuple[Row, ...]:
        """The routes."""
        rows = (
            *NOT_FOUND,
            *((method, path, needs, ErrorCode.NOT_IMPLEMENTED) for method, path, needs in NOT_IMPLEMENTED),
        )
        return (
            Row("GET", "/devices/{id}/modules", _READ, self._none),
            Row("GET", "/configurations", _READ, self._none),
            Row("GET", "/jobs", _READ, self._none),
            *(Row(method, path, needs, self._fails(code, path)) for method, path, needs, code in rows),
        )

    async def _none(self, request: Request) -> Response:
        self._check(request)
        return reply([])

    def _fails(self, code: ErrorCode, path: str) -> Callable[[Request], Awaitable[Response]]:
        async def fail(request: Request) -> Response:
            self._check(request)
            raise HubError(code, f"This hub has none: {request.method} {path}.")

        return fail

    def _check(self, request: Request) -> None:
        """A device that is in the address must exist."""
        if "id" in request.path_params:
            self.desk.memory.registry.require(request.path_params["id"])

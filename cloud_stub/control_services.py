"""What the control API has for any service, whatever it is: its history, its faults, what a firmware server offers.

Processes that run only some services of a cloud have this and no more; `cloud_stub.control` adds the devices of a hub.
"""

import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Protocol

from pydantic import Field
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cloud_stub.control_body import Body, json_in, read
from cloud_stub.service import Service
from cloud_stub.state.errors import HubError
from cloud_stub.state.registry import UnknownDevice
from emulator.errors import UsageError
from emulator.wire.firmware_keys import KEYS_MAX

FAULTS_MAX = 256


class Strike(Protocol):
    """A fault that was injected; calling it takes it back."""

    def __call__(self) -> None: ...

    @property
    def active(self) -> bool:
        """Not taken back, not used up, and its time is not over."""


Inject = Callable[[Mapping[str, Any]], Strike]
Page = Callable[[], Any]
"""Gives JSON-able data, or an awaitable of it."""
Handler = Callable[[Any], JSONResponse]
"""Makes the reply of an exception."""


class FirmwareOffer(Body):
    """Body of POST /firmware: a stand-in of this version, or an image on this machine, with its manifest and signature
    beside it."""

    version: str | None = Field(None, min_length=1, max_length=64)
    signer: str = "firmware"
    size_bytes: int | None = Field(None, ge=1)
    image: str | None = Field(None, min_length=1, max_length=4096)


class BundleContents(Body):
    """Body of POST /bundle."""

    roots: str = Field(min_length=1, max_length=64)
    firmware_keys: list[str] = Field(default=[], max_length=KEYS_MAX)
    revoked: list[str] = Field(default=[], max_length=KEYS_MAX)


Offer = Callable[[FirmwareOffer], Mapping[str, Any]]
"""Hands firmware out and tells what it is."""
Publish = Callable[[str, Sequence[str], Sequence[str]], int]
"""Takes the roots of the next trust bundle and the firmware keys that it lists and revokes; returns its version."""


@dataclass(frozen=True, slots=True)
class _Injected:
    fault: Mapping[str, Any]
    strike: Strike


@dataclass(frozen=True)
class ServiceControl:
    """Histories and faults of `services`, which are all services of each name; `inject` routes a fault to its owner.

    `pages` are further read-only JSON pages by path, such as ``/ready``.
    """

    services: Mapping[str, Sequence[Service]]
    inject: Inject
    pages: Mapping[str, Page] = field(default_factory=dict)
    _faults: dict[int, _Injected] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def routes(self) -> list[Route]:
        """What is served."""
        return [
            Route("/history/{service}", self._history, methods=["GET", "DELETE"]),
            Route("/faults", self._list_faults, methods=["GET"]),
            Route("/faults", self._inject, methods=["POST"]),
            Route("/faults/{number:int}", self._heal, methods=["DELETE"]),
            *(Route(path, _page(page), methods=["GET"]) for path, page in self.pages.items()),
        ]

    async def _history(self, request: Request) -> JSONResponse:
        name = request.path_params["service"]
        services = self.services.get(name)
        if services is None:
            raise HTTPException(404, f"service {name}: no such service; there are {', '.join(sorted(self.services))}")
        for service in services:
            await service.collect()
        records = [record for service in services for record in service.history_json()]
        if request.method == "DELETE":
            for service in services:
                await service.forget()
        return JSONResponse({"history": sorted(records, key=lambda record: record["t"])})

    async def _list_faults(self, request: Request) -> JSONResponse:
        faults = [{"id": number, "fault": dict(entry.fault)} for number, entry in self._active_faults().items()]
        return JSONResponse({"faults": faults})

    async def _inject(self, request: Request) -> JSONResponse:
        data = await json_in(request)
        if not isinstance(data, dict):
            raise UsageError("body: must be a JSON object")
        if len(self._active_faults()) >= FAULTS_MAX:
            raise UsageError(f"fault: more than {FAULTS_MAX} faults; delete some")
        injected = _Injected(data, self.inject(data))
        number = next(self._numbers)
        self._faults[number] = injected
        return JSONResponse({"id": number}, status_code=201)

    async def _heal(self, request: Request) -> JSONResponse:
        number = request.path_params["number"]
        injected = self._active_faults().pop(number, None)
        if injected is None:
            raise HTTPException(404, f"fault {number}: no such fault, or it is over")
        injected.strike()
        return JSONResponse({"id": number})

    def _active_faults(self) -> dict[int, _Injected]:
        """The faults that were injected here, after forgetting those that are over."""
        for number in [number for number, entry in self._faults.items() if not entry.strike.active]:
            del self._faults[number]
        return self._faults


def offer_routes(offer: Offer, publish: Publish) -> list[Route]:
    """What a firmware server hands out can be changed there."""

    async def offered(request: Request) -> JSONResponse:
        wanted = await read(request, FirmwareOffer)
        if (wanted.version is None) == (wanted.image is None) or (wanted.image and wanted.size_bytes):
            raise UsageError("body: give either version, with size_bytes or without, or image")
        return JSONResponse({**offer(wanted)})

    async def published(request: Request) -> JSONResponse:
        contents = await read(request, BundleContents)
        version = publish(contents.roots, contents.firmware_keys, contents.revoked)
        return JSONResponse({"version": version, **contents.model_dump(exclude_defaults=True)}, status_code=201)

    return [Route("/firmware", offered, methods=["POST"]), Route("/bundle", published, methods=["POST"])]


def control_app(routes: Sequence[Route], handlers: Mapping[Any, Handler] | None = None) -> Starlette:
    """The ASGI application; `handlers` make replies of exceptions that only some routes have."""
    everywhere: dict[Any, Handler] = {
        UsageError: lambda error: error_reply(400, str(error)),
        UnknownDevice: lambda error: error_reply(404, str(error)),
        HubError: lambda error: error_reply(error.status, error.text),
        HTTPException: lambda error: error_reply(error.status_code, str(error.detail)),
    }
    said: dict[Any, Any] = {of: _said(handler) for of, handler in {**everywhere, **(handlers or {})}.items()}
    return Starlette(routes=list(routes), exception_handlers=said)


def error_reply(status: int, text: str) -> JSONResponse:
    """An error in one line."""
    return JSONResponse({"error": " ".join(text.split())}, status_code=status)


def _page(page: Page) -> Callable[[Request], Any]:
    async def show(request: Request) -> JSONResponse:
        data = page()
        return JSONResponse(await data if isawaitable(data) else data)

    return show


def _said(answer: Handler) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    """What tells a client of an error; a handler that is not a coroutine would get a thread of its own."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return answer(error)

    return handle

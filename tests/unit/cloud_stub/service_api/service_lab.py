"""The service API of a hub in simulated time, and its clients."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import httpx

from certs.layout import HUB_HOST
from cloud_stub import websocket
from cloud_stub.hub.contexts import contexts_of
from cloud_stub.hub.policies import Policies
from cloud_stub.hub.throttle import Throttle
from cloud_stub.service_api.app import ServiceApi
from cloud_stub.service_api.desk import Desk
from emulator.clock import Rtc
from emulator.net.http import https_client
from emulator.net.sim import SimHost
from emulator.net.tls import TlsStream, client_context
from emulator.wire.iothub import sas_token

VERSION = "api-version=2021-04-12"


class Api:
    """A client with the token of a policy."""

    def __init__(self, hub: Any, client: httpx.AsyncClient, service: ServiceApi) -> None:
        self.hub = hub
        self.client = client
        self.service = service
        self.policies = Policies(b"s" * 32)

    def token(
        self, policy: str = "iothubowner", *, resource: str = HUB_HOST, valid_s: int = 600, key: bytes = b""
    ) -> str:
        """What a client sends in ``Authorization``."""
        end = int(self.hub.utc().timestamp()) + valid_s
        return sas_token(resource, key or self.policies[policy].primary_key, end, policy=policy, encode_resource=True)

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """A request; `headers` with ``_`` for ``-``."""
        mark = "&" if "?" in path else "?"
        url = f"https://{HUB_HOST}{path}{mark}{VERSION}"
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Authorization", self.token())
        return await self.client.request(method, url, content=content, headers=named)

    async def ok(self, method: str, path: str, body: Any = None, *, status: int = 200, **headers: str) -> Any:
        """The JSON of a reply with this status."""
        reply = await self.send(method, path, body, **headers)
        assert reply.status_code == status, (reply.status_code, reply.text)
        return reply.json() if reply.content else None

    async def make(self, *device_ids: str) -> None:
        """Create devices with keys of the hub's making."""
        for device_id in device_ids:
            await self.ok("PUT", f"/devices/{device_id}", {"deviceId": device_id})


@asynccontextmanager
async def serving(hub: Any, *, throttle: Throttle | None = None) -> AsyncIterator[Api]:
    """Serve the API of a `HubLab` on its host."""

    def upgraded(tls: TlsStream, request: bytes) -> None:
        certificates = tls.info.client_certificates
        websocket.answer(tls, request, lambda stream: hub.endpoint.serve_websocket(stream, certificates))

    contexts = contexts_of(hub._certs, HUB_HOST)
    service = ServiceApi(
        rng=Random(7),
        utc=hub.utc,
        now=hub.now,
        contexts=lambda bad: contexts(None, "1.2"),
        host=HUB_HOST,
        policies=Policies(b"s" * 32),
        desk=Desk(hub.memory, hub.bus, hub.methods, throttle),
        upgrade=upgraded,
    )
    host = hub.net.host_at("10.0.0.2")
    assert isinstance(host, SimHost)
    await service.start(host)
    async with client_of(hub) as client:
        yield Api(hub, client, service)
    await service.stop()


def client_of(hub: Any) -> httpx.AsyncClient:
    """An HTTPS client on a host of its own."""

    async def resolve(name: str) -> str:
        assert name == HUB_HOST
        return "10.0.0.2"

    number = len(hub.net._by_address)
    host = hub.net.host(f"back end {number}", f"10.0.2.{number}")
    rtc = Rtc(hub.now, built_at=hub.utc())
    context = client_context(hub._certs.roots_pem())
    return https_client(host, resolve=resolve, context=context, rtc=rtc, timeout_s=700)

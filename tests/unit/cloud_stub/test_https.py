"""Any ASGI application over HTTPS on a simulated host, asked by our own HTTPS client."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from certs import CertsDir
from cloud_stub.https import IDLE_LIMIT_S, HttpsServer
from emulator.clock import Rtc, SimLoop
from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Stream
from emulator.net.http import https_client, net_error_of
from emulator.net.reader import Reader
from emulator.net.sim import SimHost, SimNet
from emulator.net.tls import client_context, server_context, tls_connect

NAME, ADDRESS = "api.zaptec.com", "10.20.3.1"
TIMEOUT_S = 20.0
BIG = 3_000_000


async def whoami(request: Request) -> PlainTextResponse:
    assert request.client is not None
    return PlainTextResponse(f"{request.url.scheme} {request.client.host}")


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def big(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * BIG)


async def never(_request: Request) -> PlainTextResponse:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def drips(_request: Request) -> StreamingResponse:
    async def parts() -> Any:
        yield b"first"
        await asyncio.sleep(TIMEOUT_S + 1)
        yield b"last"

    return StreamingResponse(parts())


ROUTES = [
    Route("/whoami", whoami),
    Route("/echo", echo, methods=["POST"]),
    Route("/big", big),
    Route("/never", never),
    Route("/drips", drips),
]


@dataclass
class Place:
    """One server, one client host."""

    server: HttpsServer
    server_host: SimHost
    host: SimHost
    client: httpx.AsyncClient
    context: ssl.SSLContext
    rtc: Rtc
    failures: list[NetError] = field(default_factory=list)

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(f"https://{NAME}{path}")

    async def connect(self) -> Reader:
        """A TLS connection without HTTP."""
        stream = await self.host.connect(Address(ADDRESS, 443), timeout_s=1)
        return Reader(await tls_connect(stream, self.context, server_name=NAME, rtc=self.rtc, timeout_s=1))


def play(certs: CertsDir, story: Callable[[Place], Coroutine[Any, Any, None]], *, bad: str = "") -> None:
    async def main() -> None:
        net, failures = SimNet(Random(1)), list[NetError]()

        def failed(_stream: Stream, error: NetError) -> None:
            failures.append(error)

        async def resolve(name: str) -> str:
            if name != NAME:
                raise NetError(NetReason.UNREACHABLE, f"{name}: DNS nxdomain")
            return ADDRESS

        rtc = Rtc(asyncio.get_running_loop().time, built_at=datetime(2025, 3, 1, tzinfo=UTC))
        server_host, host = net.host("server", ADDRESS), net.host("charger", "10.20.16.1")
        good = server_context(*(certs.bad(bad) if bad else certs.server(NAME)))
        server = HttpsServer(Starlette(routes=ROUTES), good, failed=failed)
        await server.start(server_host)
        context = client_context(certs.roots_pem())
        client = https_client(host, resolve=resolve, context=context, rtc=rtc, timeout_s=TIMEOUT_S)
        async with client:
            await story(Place(server, server_host, host, client, context, rtc, failures))
        await server.stop()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(main())


def test_a_request_is_answered_without_anything_that_changes_from_run_to_run(certs: CertsDir) -> None:
    async def story(place: Place) -> None:
        reply = await place.get("/whoami")
        assert reply.text == "https 10.20.16.1"
        assert set(reply.headers) == {"content-length", "content-type"}

    play(certs, story)


def test_connections_are_used_again_until_the_server_ends_them(certs: CertsDir) -> None:
    async def story(place: Place) -> None:
        for _ in range(3):
            await place.get("/whoami")
        (first,) = place.host.streams
        await asyncio.sleep(IDLE_LIMIT_S + 1)
        assert not place.host.streams
        assert (await place.get("/whoami")).status_code == 200
        (second,) = place.host.streams
        assert first is not second

    play(certs, story)


def test_bodies_longer_than_any_buffer_pass_both_ways(certs: CertsDir) -> None:
    async def story(place: Place) -> None:
        assert len((await place.get("/big")).content) == BIG
        assert (await place.client.post(f"https://{NAME}/echo", content=b"y" * BIG)).text == str(BIG)

    play(certs, story)


def test_a_reader_that_stalls_holds_the_server_back(certs: CertsDir) -> None:
    async def story(place: Place) -> None:
        async with place.client.stream("GET", f"https://{NAME}/big") as reply:
            await asyncio.sleep(5)
            (theirs,) = place.server_host.streams
            assert theirs.unsent_bytes > 0
            assert sum([len(part) async for part in reply.aiter_raw()]) == BIG

    play(certs, story)


def test_what_goes_wrong_below_http_keeps_its_reason(certs: CertsDir) -> None:
    async def story(place: Place) -> None:
        with pytest.raises(httpx.ReadTimeout) as slow:
            await place.get("/drips")
        assert net_error_of(slow.value).reason is NetReason.TIMED_OUT  # type: ignore[union-attr]
        with pytest.raises(httpx.ConnectError) as unknown:
            await place.client.get("https://nowhere.example/")
        assert net_error_of(unknown.value).reason is NetReason.UNREACHABLE  # type: ignore[union-attr]
        with pytest.raises(httpx.ConnectError) as closed:
            await place.client.get(f"https://{NAME}:444/")
        assert net_error_of(closed.value).reason is NetReason.REFUSED  # type: ignore[union-attr]
        place.server_host.set_interface(None)
        with pytest.raises(httpx.ConnectTimeout) as silent:
            await place.get("/whoami")
        assert net_error_of(silent.value).reason is NetReason.TIMED_OUT  # type: ignore[union-attr]

    play(certs, story)


def test_a_peer_that_does_not_speak_http_has_no_net_error(certs: CertsDir) -> None:
    async def story(place: Place) -> None:
        await place.server.stop()

        async def gibberish(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError("never reached")

        def answer(stream: Stream) -> None:
            stream.write(b"SMTP ready\r\n\r\n")
            stream.close()

        await place.server_host.listen(80, answer)
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            await place.client.get(f"http://{NAME}/")
        assert net_error_of(caught.value) is None

    play(certs, story)


def test_the_client_judges_the_certificate_and_the_server_hears_of_it(certs: CertsDir) -> None:
    async def story(place: Place) -> None:
        with pytest.raises(httpx.ConnectError) as caught:
            await place.get("/whoami")
        assert net_error_of(caught.value).reason is NetReason.TLS_WRONG_HOST  # type: ignore[union-attr]
        await asyncio.sleep(1)
        assert len(place.failures) == 1

    play(certs, story, bad="wrong_host")


def test_bytes_that_are_not_http_get_a_400_and_an_end(certs: CertsDir) -> None:
    async def story(place: Place) -> None:
        reader = await place.connect()
        reader.stream.write(b"\x00\x01 gibberish\r\n\r\n")
        answer = b""
        while part := await reader.read(4096, 5):
            answer += part
        assert answer.startswith(b"HTTP/1.1 400 ")

    play(certs, story)


def test_bytes_that_are_not_tls_end_the_connection(certs: CertsDir) -> None:
    async def story(place: Place) -> None:
        reader = Reader(await place.host.connect(Address(ADDRESS, 443), timeout_s=1))
        reader.stream.write(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(NetError):
            while await reader.read(4096, 5):
                pass
            raise NetError(NetReason.CLOSED)  # an alert and an orderly end will do as well
        assert len(place.failures) == 1
        assert (await place.get("/whoami")).status_code == 200

    play(certs, story)


def test_stopping_frees_the_port_and_ends_requests_under_way(certs: CertsDir) -> None:
    async def story(place: Place) -> None:
        request = asyncio.get_running_loop().create_task(place.get("/never"))
        await place.host.connect(Address(ADDRESS, 443), timeout_s=1)  # never begins its handshake
        await asyncio.sleep(1)
        await place.server.stop()
        with pytest.raises(httpx.ReadError):
            await request
        assert not place.server_host.streams
        await place.server.start(place.server_host)
        assert (await place.get("/whoami")).status_code == 200

    play(certs, story)

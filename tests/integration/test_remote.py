"""Things that may answer at a control URL and are no cloud."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from emulator.errors import UsageError
from emulator.net.loopback import LoopbackPlan
from emulator.remote import Anchors, RemoteCloud


def answering(body: bytes, status: str, ask: Callable[[str], Awaitable[object]]) -> None:
    """Ask an HTTP server that gives every request the same answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{}", "200 OK"), (b"[]", "200 OK"), (b"3", "200 OK"), (b"<html>", "200 OK"), (b"[]", "500 Oh")],
)
def test_something_else_behind_the_control_url_gets_one_line(body: bytes, status: str) -> None:
    with pytest.raises(UsageError, match=r"^control http://127\.0\.0\.1:\d+.*: ") as caught:
        answering(body, status, RemoteCloud.attach)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", [b"{}", b'{"devices": []}', b'{"devices": [{"serial": "A", "key": "?"}]}'])
def test_production_elsewhere_gets_one_line(body: bytes) -> None:
    async def ask(control: str) -> None:
        await RemoteCloud(control, LoopbackPlan(3), Anchors("", "", "", "", b"")).produce_one("ZPR000001")

    with pytest.raises(UsageError, match="control: POST /devices"):
        answering(body, "201 Created", ask)

"""WebSocket over a simulated network, with a client made of the same library's other half."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from cloud_stub.websocket import (
    CLOSE_LIMIT_S,
    MESSAGE_BYTES_MAX,
    PATH,
    NotUpgraded,
    Upgraded,
    WebSocketStream,
    answer,
    upgrade,
)
from emulator.clock import SimLoop
from emulator.errors import NetError
from emulator.net.api import Address, Stream
from emulator.net.sim import SimNet

MASKED_EMPTY_PING_FRAGMENT = bytes.fromhex("098000000000")  # a control frame may not be fragmented


class Ear:
    """A `Receiver` that keeps what it gets."""

    def __init__(self, stream: Any) -> None:
        self.got = b""
        self.ended: asyncio.Future[NetError | None] = asyncio.get_running_loop().create_future()
        self.pausing = False
        self._stream = stream
        stream.attach(self)

    def data_received(self, data: bytes) -> None:
        self.got += data
        if self.pausing:
            self._stream.pause_reading()

    def connection_lost(self, error: NetError | None) -> None:
        self.ended.set_result(error)

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class Client:
    """The client's half: events in, events out."""

    def __init__(self, stream: Stream, target: str, subprotocols: list[str]) -> None:
        self.stream = stream
        self.socket = WSConnection(ConnectionType.CLIENT)
        self.events: list[Event] = []
        self.ended: asyncio.Future[NetError | None] = asyncio.get_running_loop().create_future()
        stream.attach(self)
        self.send(Request(host="hub", target=target, subprotocols=subprotocols))

    def send(self, *events: Event) -> None:
        self.stream.write(b"".join(self.socket.send(event) for event in events))

    def data_received(self, data: bytes) -> None:
        self.socket.receive_data(data)
        self.events += self.socket.events()

    def connection_lost(self, error: NetError | None) -> None:
        self.ended.set_result(error)

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class Head:
    """Reads the request of a connection and answers it."""

    def __init__(self, stream: Stream, upgraded: "asyncio.Future[WebSocketStream]") -> None:
        self._stream, self._upgraded = stream, upgraded
        stream.attach(self)

    def data_received(self, data: bytes) -> None:
        answer(self._stream, data, self._upgraded.set_result)

    def connection_lost(self, error: NetError | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


Story = Callable[[Client, WebSocketStream], Awaitable[None]]


def play(story: Story) -> None:
    async def main() -> None:
        net = SimNet(Random(1))
        upgraded: asyncio.Future[WebSocketStream] = asyncio.get_running_loop().create_future()

        def accept(stream: Stream) -> None:
            Head(stream, upgraded)

        await net.host("hub", "10.0.0.1").listen(443, accept)
        tcp = await net.host("device", "10.0.0.2").connect(Address("10.0.0.1", 443), timeout_s=1)
        client = Client(tcp, PATH, ["mqtt"])
        server = await upgraded
        await asyncio.sleep(1)
        (accepted,) = client.events
        assert isinstance(accepted, AcceptConnection) and accepted.subprotocol == "mqtt"
        client.events.clear()
        await story(client, server)

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(main())


def head(target: str = PATH, method: str = "GET", **changes: str | None) -> bytes:
    headers: dict[str, str | None] = {
        "Host": "hub",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "mqtt",
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize("target", [PATH, f"{PATH}?iothub-no-client-cert=true", "/%24iothub/websocket"])
@pytest.mark.parametrize("subprotocols", ["mqtt", "amqp, mqtt"])
def test_the_hubs_path_and_subprotocol_are_upgraded(target: str, subprotocols: str) -> None:
    verdict = upgrade(head(target, Sec_WebSocket_Protocol=subprotocols))
    assert isinstance(verdict, Upgraded) and verdict.target == target
    assert verdict.answer.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in verdict.answer  # RFC 6455 section 1.3
    assert b"Sec-WebSocket-Protocol: mqtt\r\n" in verdict.answer


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head("/"), 404),
        (head("/$iothub/websocket/more"), 404),
        (head(Sec_WebSocket_Protocol=None), 400),
        (head(Sec_WebSocket_Protocol="mqttv5"), 400),
        (head(Sec_WebSocket_Protocol="m\xe9"), 400),
        (head(Sec_WebSocket_Key=None), 400),
        (head(Sec_WebSocket_Version=None), 400),
        (head(Sec_WebSocket_Version="8"), 426),
        (head(Upgrade="h2c"), 400),
        (head(Host="h\xe9"), 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET", 400),
    ],
)
def test_other_requests_are_answered_and_closed(request_head: bytes, status: int) -> None:
    verdict = upgrade(request_head)
    assert isinstance(verdict, NotUpgraded) and verdict.status == status
    assert verdict.answer.startswith(f"HTTP/1.1 {status} ".encode()) and b"onnection: close" in verdict.answer


def test_bytes_go_both_ways_however_they_are_framed() -> None:
    async def story(client: Client, server: WebSocketStream) -> None:
        ear = Ear(server)
        client.send(BytesMessage(b"abc"), BytesMessage(b"d", message_finished=False))
        client.send(BytesMessage(b"", message_finished=False), BytesMessage(b"ef"))
        await asyncio.sleep(1)
        assert ear.got == b"abcdef"
        server.write(b"x" * 70_000)
        server.write(b"")
        await asyncio.sleep(1)
        assert (
            b"".join(bytes(event.data) for event in client.events if isinstance(event, BytesMessage)) == b"x" * 70_000
        )
        assert server.unsent_bytes == 0 and server.peer.host == "10.0.0.2" and server.local.port == 443

    play(story)


@settings(max_examples=40)
@given(parts=st.lists(st.binary(max_size=300), max_size=8), cut=st.integers(1, 40), seed=st.integers())
def test_any_cut_of_the_frames_gives_the_same_bytes(parts: list[bytes], cut: int, seed: int) -> None:
    async def story(client: Client, server: WebSocketStream) -> None:
        ear, rng = Ear(server), Random(seed)
        frames = b"".join(client.socket.send(BytesMessage(part, message_finished=rng.random() < 0.5)) for part in parts)
        for at in range(0, len(frames), cut):
            client.stream.write(frames[at : at + cut])
        await asyncio.sleep(1)
        assert ear.got == b"".join(parts)

    play(story)


@settings(max_examples=60)
@given(garbage=st.binary(min_size=1, max_size=400))
def test_garbage_never_gets_more_than_a_close(garbage: bytes) -> None:
    async def story(client: Client, server: WebSocketStream) -> None:
        ear = Ear(server)
        client.stream.write(garbage)
        await asyncio.sleep(1)
        if ear.ended.done():
            return
        server.close()
        await asyncio.sleep(CLOSE_LIMIT_S + 1)
        assert ear.ended.done() and client.ended.done()

    play(story)


def test_a_ping_is_answered_and_a_pong_is_not() -> None:
    async def story(client: Client, server: WebSocketStream) -> None:
        ear = Ear(server)
        client.send(Ping(b"are you there"), Pong(b"no"), BytesMessage(b"a", message_finished=False), Ping(b"2"))
        await asyncio.sleep(1)
        assert client.events == [Pong(b"are you there"), Pong(b"2")] and ear.got == b"a"

    play(story)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (TextMessage("CONNECT"), 1003),
        (BytesMessage(b"x" * (MESSAGE_BYTES_MAX + 1)), 1009),
        (MASKED_EMPTY_PING_FRAGMENT, 1002),
        (bytes.fromhex("820161"), 1002),  # not masked
        (bytes.fromhex("808000000000"), 1002),  # goes on with nothing
    ],
)
def test_what_breaks_the_rules_ends_the_connection_with_its_code(bad: Event | bytes, code: int) -> None:
    async def story(client: Client, server: WebSocketStream) -> None:
        ear = Ear(server)
        if isinstance(bad, bytes):
            client.stream.write(bad)
        else:
            client.send(bad)
        error = await ear.ended
        assert f"WebSocket {code}" in str(error)
        (close,) = [event for event in client.events if isinstance(event, CloseConnection)]
        assert close.code == code and len(ear.got) <= MESSAGE_BYTES_MAX

    play(story)


def test_a_long_message_counts_over_its_fragments() -> None:
    async def story(client: Client, server: WebSocketStream) -> None:
        ear = Ear(server)
        piece = BytesMessage(b"x" * (MESSAGE_BYTES_MAX // 2), message_finished=False)
        client.send(piece, BytesMessage(b"y" * (MESSAGE_BYTES_MAX // 2)), BytesMessage(b"z"))
        await asyncio.sleep(1)
        assert len(ear.got) == MESSAGE_BYTES_MAX + 1 and not ear.ended.done()
        client.send(piece, piece, piece)
        assert "1009" in str(await ear.ended)

    play(story)


def test_the_client_says_close_and_gets_it_back() -> None:
    async def story(client: Client, server: WebSocketStream) -> None:
        ear = Ear(server)
        client.send(BytesMessage(b"last"), CloseConnection(1000, "done"))
        assert await ear.ended is None and ear.got == b"last"
        await client.ended
        assert client.events == [CloseConnection(1000, "done")]
        server.write(b"too late")

    play(story)


def test_we_say_close_and_wait_for_the_answer_but_not_for_ever() -> None:
    async def story(client: Client, server: WebSocketStream) -> None:
        ear, began = Ear(server), asyncio.get_running_loop().time()
        server.write(b"last words")
        server.close()
        server.close()
        server.write(b"too late")
        await asyncio.sleep(1)
        data, close = client.events
        assert isinstance(data, BytesMessage) and isinstance(close, CloseConnection) and close.code == 1000
        assert not ear.ended.done()
        client.send(close.response())
        assert await ear.ended is None and asyncio.get_running_loop().time() - began < CLOSE_LIMIT_S

    async def silent(client: Client, server: WebSocketStream) -> None:
        ear, began = Ear(server), asyncio.get_running_loop().time()
        server.close()
        client.send(BytesMessage(b"still talking"), TextMessage("?"))
        assert await ear.ended is None and ear.got == b""
        assert CLOSE_LIMIT_S <= asyncio.get_running_loop().time() - began < CLOSE_LIMIT_S + 1

    play(story)
    play(silent)


def test_a_connection_that_just_ends_is_no_orderly_end() -> None:
    async def closed(client: Client, server: WebSocketStream) -> None:
        ear = Ear(server)
        client.stream.close()
        assert "closed" in str(await ear.ended)

    async def reset(client: Client, server: WebSocketStream) -> None:
        ear = Ear(server)
        client.stream.abort()
        assert "reset" in str(await ear.ended)

    async def aborted(client: Client, server: WebSocketStream) -> None:
        ear = Ear(server)
        server.abort()
        assert await ear.ended is None and "reset" in str(await client.ended)

    for story in (closed, reset, aborted):
        play(story)


def test_who_does_not_want_to_read_gets_no_more_until_it_does() -> None:
    async def story(client: Client, server: WebSocketStream) -> None:
        client.send(BytesMessage(b"1"), BytesMessage(b"2"))
        await asyncio.sleep(1)
        ear = Ear(server)
        ear.pausing = True
        await asyncio.sleep(1)
        assert ear.got == b"1", "one message came before it could pause"
        client.send(BytesMessage(b"3"))
        ear.pausing = False
        server.resume_reading()
        await asyncio.sleep(1)
        assert ear.got == b"123"

    play(story)

"""MQTT over WebSocket: the opening handshake, and a `Stream` of what travels in binary frames (iothub-mqtt.md 1.1).

A frame may hold any piece of the MQTT byte stream. The hub sends no pings of its own and offers no extensions.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.frame_protocol import CloseReason
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from emulator.errors import NetError, NetReason
from emulator.net.api import Receiver, Stream
from emulator.net.around import StreamAround

PATH = "/$iothub/websocket"
SUBPROTOCOL = "mqtt"
MESSAGE_BYTES_MAX = 1 << 19
"""Of one WebSocket message, however many frames it has; more than the largest MQTT packet."""
CLOSE_LIMIT_S = 5.0
"""How long we wait for the other side's Close before we end the connection."""
PONG_UNSENT_BYTES_MAX = 1 << 16
"""While more than this waits for a client that does not read, its pings are not answered."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The answer to send, after which WebSocket frames travel. `target` is the request's."""

    answer: bytes
    connection: Connection
    target: str


@dataclass(frozen=True, slots=True)
class NotUpgraded:
    """The answer to send before closing."""

    answer: bytes
    status: int


def upgrade(request: bytes) -> Upgraded | NotUpgraded:
    """Answer the head of an HTTP request that asks for WebSocket: 404 for another path, 400 or 426 for a bad one."""
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.receive_data(request)
    except RemoteProtocolError as error:
        hint = error.event_hint
        return _refuse(handshake, hint if isinstance(hint, RejectConnection) else RejectConnection(status_code=400))
    except UnicodeError:
        return _refuse(handshake, RejectConnection(status_code=400))
    asked = next(handshake.events(), None)
    if not isinstance(asked, Request):
        return _refuse(handshake, RejectConnection(status_code=400))
    if unquote(asked.target.partition("?")[0]) != PATH:
        return _refuse(handshake, RejectConnection(status_code=404))
    if SUBPROTOCOL not in asked.subprotocols:
        return _refuse(handshake, RejectConnection(status_code=400))
    answer = handshake.send(AcceptConnection(subprotocol=SUBPROTOCOL))
    assert handshake.connection is not None  # noqa: S101 - accepting has made it
    return Upgraded(answer, handshake.connection, asked.target)


def _refuse(handshake: H11Handshake, rejection: RejectConnection) -> NotUpgraded:
    headers = [*rejection.headers, (b"connection", b"close")]
    answer = handshake.send(RejectConnection(status_code=rejection.status_code, headers=headers))
    return NotUpgraded(answer, rejection.status_code)


def answer(stream: Stream, request: bytes, serve: Callable[["WebSocketStream"], None]) -> None:
    """Answer a request on its connection: `serve` gets what becomes of it, or it is refused and closed."""
    verdict = upgrade(request)
    stream.write(verdict.answer)
    if isinstance(verdict, Upgraded):
        serve(WebSocketStream(stream, verdict.connection))
    else:
        stream.close()


class WebSocketStream(StreamAround):
    """The bytes in the binary messages of a connection, as a `Stream` over the one below.

    `close` is the closing handshake, `abort` ends the connection below. What breaks WebSocket's rules, a text message
    and one over `MESSAGE_BYTES_MAX` end it too, with the code that RFC 6455 section 7.4.1 has for it.
    """

    __slots__ = (
        "_connection",
        "_error",
        "_message_bytes",
        "_open",
        "_over",
        "_paused",
        "_pumping",
        "_timer",
    )

    def __init__(self, stream: Stream, connection: Connection) -> None:
        """Takes over `stream`, on which the handshake is done."""
        super().__init__(stream)
        self._connection = connection
        self._error: NetError | None = None
        self._message_bytes = 0
        self._open = True  # neither side has said Close
        self._over = False  # nothing that still comes is of interest
        self._paused = self._pumping = False
        self._timer: asyncio.TimerHandle | None = None
        stream.attach(self)

    # Stream

    @property
    def below(self) -> Stream:
        """The connection that carries the frames."""
        return self._stream

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver
        asyncio.get_running_loop().call_soon(self._pump)

    def write(self, data: bytes) -> None:
        if self._open and data:
            self._stream.write(self._connection.send(BytesMessage(data=data)))

    def close(self) -> None:
        if self._open:
            self._say_close(CloseReason.NORMAL_CLOSURE)
            self._stream.resume_reading()  # to see the other side's Close
            self._timer = asyncio.get_running_loop().call_later(CLOSE_LIMIT_S, self._end)

    def abort(self) -> None:
        self._open, self._over = False, True
        self._stream.abort()

    def pause_reading(self) -> None:
        self._paused = True
        if self._open:
            self._stream.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            asyncio.get_running_loop().call_soon(self._pump)
            self._stream.resume_reading()

    # Receiver of the stream below

    def data_received(self, data: bytes) -> None:
        if not self._over:
            self._connection.receive_data(data)
            self._pump()

    def connection_lost(self, error: NetError | None) -> None:
        if self._open:
            self._error = error or NetError(NetReason.CLOSED, "without a WebSocket Close")
            self._open = False
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(self._error)

    # Frames

    def _pump(self) -> None:
        """Handle what has come in, as far as the receiver wants it."""
        if self._pumping or (self._open and (self._receiver is None or self._paused)):
            return
        self._pumping = True
        for event in self._connection.events():
            self._handle(event)
            if self._over or (self._open and self._paused):
                break
        self._pumping = False

    def _handle(self, event: Event) -> None:
        match event:
            case CloseConnection():
                self._closed(event)
            case _ if not self._open:
                return  # after our Close nothing else counts
            case BytesMessage(data=data, message_finished=finished):
                self._take(bytes(data), finished)
            case TextMessage():
                self._fail(CloseReason.UNSUPPORTED_DATA, "a text message")
            case Ping() if self._stream.unsent_bytes <= PONG_UNSENT_BYTES_MAX:
                self._stream.write(self._connection.send(event.response()))
            case _:
                return

    def _take(self, data: bytes, finished: bool) -> None:
        self._message_bytes += len(data)
        if self._message_bytes > MESSAGE_BYTES_MAX:
            self._fail(CloseReason.MESSAGE_TOO_BIG, f"a message over {MESSAGE_BYTES_MAX} bytes")
            return
        if finished:
            self._message_bytes = 0
        if data and self._receiver is not None:
            self._receiver.data_received(data)

    def _closed(self, event: CloseConnection) -> None:
        """The other side has said Close, or what it said made no sense."""
        if not self._open:
            self._end()  # it is the answer to ours
        elif self._connection.state is ConnectionState.REMOTE_CLOSING:
            self._open = False
            self._stream.write(self._connection.send(event.response()))
            self._end()
        else:
            self._fail(CloseReason(event.code), event.reason or "broken frames")

    def _fail(self, code: CloseReason, detail: str) -> None:
        self._error = NetError(NetReason.CLOSED, f"WebSocket {code.value}: {detail}")
        self._say_close(code)
        self._end()

    def _say_close(self, code: CloseReason) -> None:
        self._open = False
        self._stream.write(self._connection.send(CloseConnection(code=code)))

    def _end(self) -> None:
        self._over = True
        self._stream.close()

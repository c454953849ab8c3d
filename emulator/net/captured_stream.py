"""A TCP connection that is drawn into a capture while it is used."""

import asyncio

from emulator.errors import NetError, NetReason
from emulator.net.api import Host, Stream
from emulator.net.around import StreamAround
from emulator.net.link import Way
from emulator.net.shaped_stream import ShapedStream
from emulator.net.tcp_picture import Piece, Segments, TcpPicture
from emulator.net.wire_picture import WirePicture

SAME_MOMENT_S = 1e-6
"""Two times that differ by less are the same, rounded."""


class CapturedStream(StreamAround):
    """A stream whose segments are drawn. It changes nothing, but sets a timer for ACKs.

    Behind a link it draws what is put on the link, sent again or not; else what is written. `round_trip_s` is how long
    an answer takes to come back.
    """

    __slots__ = (
        "_closing",
        "_direct",
        "_due_s",
        "_host",
        "_loop",
        "_over",
        "_picture",
        "_round_trip_s",
        "_timer",
        "_wire",
    )

    def __init__(self, stream: Stream, host: Host, wire: WirePicture, picture: TcpPicture, round_trip_s: float) -> None:
        super().__init__(stream)
        self._host = host
        self._wire = wire
        self._picture = picture
        self._round_trip_s = round_trip_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due_s: float | None = None
        self._closing = self._over = False
        self._direct = not isinstance(stream, ShapedStream)
        if isinstance(stream, ShapedStream):
            stream.watch(self._sent, self._delivered)

    def write(self, data: bytes) -> None:
        if data and self._direct and not self._closing:
            self._pass(data)
        self._stream.write(data)

    def close(self) -> None:
        if self._direct and not self._closing:
            self._pass(None)
        self._closing = True
        self._stream.close()

    def abort(self) -> None:
        if not self._over:
            self._draw(self._picture.resets(Way.UP))
            self._end()
        self._stream.abort()

    def data_received(self, data: bytes) -> None:
        if not self._over:
            self._draw(self._picture.receives(data, self._loop.time()))
        if self._receiver is not None:
            self._receiver.data_received(data)

    def connection_lost(self, error: NetError | None) -> None:
        if not self._over:
            if error is None:
                self._draw(self._picture.ends())
            elif error.reason is NetReason.RESET:
                self._draw(self._picture.resets(Way.DOWN))
            self._end()
        super().connection_lost(error)

    # What is drawn

    def _pass(self, piece: Piece) -> None:
        """Without a link nothing is lost: what is sent arrives half a round trip later."""
        self._sent(piece, False)
        self._delivers(piece, self._round_trip_s)

    def _sent(self, piece: Piece, again: bool) -> None:
        if not self._over:
            picture = self._picture
            self._draw(picture.sends_again() if again else picture.sends(piece, self._loop.time()))

    def _delivered(self, piece: Piece) -> None:
        if not self._over:
            self._delivers(piece, self._round_trip_s / 2)

    def _delivers(self, piece: Piece, back_after_s: float) -> None:
        self._picture.delivers(piece, self._loop.time() + back_after_s - SAME_MOMENT_S)
        self._set_timer()

    def _draw(self, segments: Segments) -> None:
        """Nothing passes an interface that has lost its carrier or its address."""
        interface = self._host.interface
        if self._host.carrier is not None and interface is not None and interface.address == self.local.host:
            for way, segment in segments:
                self._wire.segment(way, segment, self.local.host, self.peer.host)
        self._set_timer()

    def _set_timer(self) -> None:
        due = self._picture.due()
        if due != self._due_s and not self._over:
            self._cancel_timer()
            self._due_s = due
            self._timer = None if due is None else self._loop.call_at(due, self._time_out)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _time_out(self) -> None:
        self._due_s = None
        self._draw(self._picture.waits(self._loop.time() + SAME_MOMENT_S))

    def _end(self) -> None:
        self._over = self._closing = True
        self._cancel_timer()

"""A connection that is open and to which nothing is ever said."""

from collections.abc import Callable

from emulator.errors import NetError
from emulator.net.api import Stream


class Mute:
    """Takes bytes and says nothing. `ended` is called when the peer has ended the connection."""

    __slots__ = ("_ended", "stream")

    def __init__(self, stream: Stream, ended: Callable[["Mute"], None]) -> None:
        self.stream = stream
        self._ended = ended
        stream.attach(self)

    def data_received(self, data: bytes) -> None:
        """Part of the Receiver of the stream."""

    def connection_lost(self, error: NetError | None) -> None:
        """Part of the Receiver of the stream."""
        self._ended(self)

    def pause_writing(self) -> None:
        """Part of the Receiver of the stream."""

    def resume_writing(self) -> None:
        """Part of the Receiver of the stream."""

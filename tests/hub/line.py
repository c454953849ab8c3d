"""A connection without a network: bytes go straight into a session and come straight out, for thousands of cases."""

import asyncio
from itertools import count

from cloud_stub.hub.endpoint import Endpoint
from emulator.errors import NetError
from emulator.net.api import Receiver
from emulator.wire.address import Address

_NUMBERS = count(1)
LOCAL = Address("10.20.2.1", 443)


class Line:
    """The hub's end of it is a `Stream`; `say` and `heard` are the device's end."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.local = LOCAL
        self.peer = Address("10.77.0.1", next(_NUMBERS))
        self.unsent_bytes = 0
        self.heard = b""
        self.ended = False
        self.paused = False
        self._waiting: list[bytes] = []
        self._receiver: Receiver | None = None
        self._loop = asyncio.get_running_loop()
        endpoint.serve_websocket(self)

    def say(self, data: bytes) -> None:
        """Bytes of the device; they wait while the hub does not read."""
        self._waiting.append(data)
        self._deliver()

    def hang_up(self) -> None:
        """The device ends the connection."""
        if not self.ended:
            self._end()

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def write(self, data: bytes) -> None:
        if not self.ended:
            self.heard += data

    def close(self) -> None:
        if not self.ended:
            self.ended = True
            self._loop.call_soon(self._end)

    def abort(self) -> None:
        self.close()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._waiting and not self.paused and not self.ended and self._receiver is not None:
            self._receiver.data_received(self._waiting.pop(0))

    def _end(self, error: NetError | None = None) -> None:
        self.ended = True
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.connection_lost(error)

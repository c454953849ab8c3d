"""A UDP socket behind a link and a site's router."""

import asyncio
from collections import deque

from emulator.errors import NetError, NetReason
from emulator.net.api import DATAGRAM_QUEUE_MAX, Address, Datagrams
from emulator.net.around import DatagramsAround
from emulator.net.link import Link, Way
from emulator.net.path import DatagramPath


class ShapedDatagrams(DatagramsAround):
    """What is sent may be dropped, lost, late or sent elsewhere; so may what comes back. A rejection is silence."""

    def __init__(self, socket: Datagrams, path: DatagramPath, link: Link) -> None:
        super().__init__(socket)
        self._path = path
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._late: deque[tuple[float, bytes, Address]] = deque(maxlen=DATAGRAM_QUEUE_MAX)
        self._closed = False

    def send(self, data: bytes, to: Address) -> None:
        """Put a datagram on the link."""
        arrives = self._link.plan(len(data), Way.UP)
        real = None if arrives is None else self._path.out(to)
        if arrives is None or real is None:
            return
        if arrives <= self._loop.time():
            self._socket.send(data, real)
        else:
            self._loop.call_at(arrives, self._send_late, data, real)

    async def receive(self) -> tuple[bytes, Address]:
        """The next datagram that made it. Cancelling loses none: what is on its way stays so."""
        while not self._late:
            data, real = await self._socket.receive()
            sender = self._path.back(real)
            arrives = None if sender is None else self._link.plan(len(data), Way.DOWN)
            if sender is not None and arrives is not None:
                self._late.append((arrives, data, sender))
        delay_s = self._late[0][0] - self._loop.time()
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        if self._closed:
            raise NetError(NetReason.CLOSED, "socket")
        _, data, sender = self._late.popleft()
        return data, sender

    def close(self) -> None:
        """Close the socket; what is on its way out is dropped."""
        self._closed = True
        self._socket.close()

    def _send_late(self, data: bytes, to: Address) -> None:
        if not self._closed:
            self._socket.send(data, to)

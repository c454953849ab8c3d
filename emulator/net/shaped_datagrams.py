"""A UDP socket behind a link and a firewall."""

import asyncio
from collections import deque

from emulator.errors import NetError, NetReason
from emulator.net.api import DATAGRAM_QUEUE_MAX, Address, Datagrams
from emulator.net.link import Link, Way
from emulator.net.site import Firewall, Verdict


class ShapedDatagrams:
    """What is sent may be dropped, lost or late; so may what comes back. REJECT is silence, for UDP sees no error."""

    def __init__(self, socket: Datagrams, firewall: Firewall, link: Link, who: str = "*") -> None:
        self._socket = socket
        self._firewall = firewall
        self._link = link
        self._who = who
        self._loop = asyncio.get_running_loop()
        self._late: deque[tuple[float, bytes, Address]] = deque(maxlen=DATAGRAM_QUEUE_MAX)
        self._closed = False

    @property
    def local(self) -> Address:
        return self._socket.local

    def send(self, data: bytes, to: Address) -> None:
        """Put a datagram on the link."""
        arrives = self._link.plan(len(data), Way.UP)
        if arrives is None or self._firewall.verdict("udp", to, self._who) is not Verdict.PASS:
            return
        if arrives <= self._loop.time():
            self._socket.send(data, to)
        else:
            self._loop.call_at(arrives, self._send_late, data, to)

    async def receive(self) -> tuple[bytes, Address]:
        """The next datagram that made it. Cancelling loses none: what is on its way stays so."""
        while not self._late:
            data, sender = await self._socket.receive()
            arrives = self._link.plan(len(data), Way.DOWN)
            if arrives is not None:
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

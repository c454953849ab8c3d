"""Puts a data meter in front of any `Host`. It only looks on: no task, no timer, no copy of the bytes."""

import asyncio

from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Datagrams, Host, Stream
from emulator.net.around import DatagramsAround, HostAround, StreamAround
from emulator.net.captured import CapturedHost
from emulator.net.link import Way
from emulator.net.meter import UDP_HEADER_BYTES, DataMeter, Ports, Purpose, TcpCount
from emulator.net.shaped import ShapedHost

__all__ = ["MeteredHost", "host_for"]


def host_for(host: Host, purpose: Purpose) -> Host:
    """The same host; what it sends over HTTPS counts as this. A host without a meter stays as it is."""
    return host.counting_https_as(purpose) if isinstance(host, MeteredHost) else host


class MeteredHost(HostAround):
    """A host whose traffic is counted. `ports` tells the purpose by the other side's port.

    What association, attach and ARP cost is not counted: it is no IP traffic. Nor is what comes to a port that listens:
    chargers never do.
    """

    __slots__ = ("_https", "_meter", "_ports")

    def __init__(self, host: Host, meter: DataMeter, ports: Ports, *, https: Purpose = Purpose.HTTPS) -> None:
        super().__init__(host)
        self._meter = meter
        self._ports = ports
        self._https = https
        if isinstance(host, ShapedHost | CapturedHost):
            host.resent = self._sent_again

    def counting_https_as(self, purpose: Purpose) -> "MeteredHost":
        """The same host and meter, with another purpose for HTTPS."""
        return MeteredHost(self._host, self._meter, self._ports, https=purpose)

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        """A socket whose datagrams are counted."""
        return _MeteredDatagrams(await self._host.udp(port, broadcast=broadcast), self)

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        """A connection whose packets are counted, those of vain attempts too."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            stream = await self._host.connect(to, timeout_s=timeout_s)
        except NetError as error:
            self._count_failure(error.reason, self.purpose(to.port))
            raise
        elapsed_s = loop.time() - began
        count = TcpCount(self._meter, self.purpose(to.port), elapsed_s)
        count.knocked()
        count.opened()
        return _MeteredStream(stream, count, self)

    def purpose(self, port: int) -> Purpose:
        """What traffic with this port of the other side is for."""
        purpose = self._ports.get(port, Purpose.OTHER)
        return self._https if purpose is Purpose.HTTPS else purpose

    def sent(self, size_bytes: int, port: int) -> None:
        """A datagram left, if there is a link for it to leave by."""
        if self._host.carrier is not None:
            self._meter.up(self.purpose(port), UDP_HEADER_BYTES + size_bytes)

    def received(self, size_bytes: int, port: int) -> None:
        """A datagram arrived."""
        self._meter.down(self.purpose(port), UDP_HEADER_BYTES + size_bytes)

    def _sent_again(self, size_bytes: int, way: Way) -> None:
        (self._meter.up if way is Way.UP else self._meter.down)(Purpose.RESENT, size_bytes)

    def _count_failure(self, reason: NetReason, purpose: Purpose) -> None:
        if reason in (NetReason.NO_ADDRESS, NetReason.NO_CARRIER):
            return  # nothing left
        count = TcpCount(self._meter, purpose)
        count.knocked()
        if reason is NetReason.REFUSED:
            count.refused()


class _MeteredDatagrams(DatagramsAround):
    __slots__ = ("_host",)

    def __init__(self, socket: Datagrams, host: MeteredHost) -> None:
        super().__init__(socket)
        self._host = host

    def send(self, data: bytes, to: Address) -> None:
        self._host.sent(len(data), to.port)
        self._socket.send(data, to)

    async def receive(self) -> tuple[bytes, Address]:
        data, sender = await self._socket.receive()
        self._host.received(len(data), sender.port)
        return data, sender


class _MeteredStream(StreamAround):
    __slots__ = ("_count", "_host", "_loop", "_over")

    def __init__(self, stream: Stream, count: TcpCount, host: MeteredHost) -> None:
        super().__init__(stream)
        self._count = count
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._over = False

    def write(self, data: bytes) -> None:
        if data and not self._over:
            self._count.wrote(data, self._loop.time())
        self._stream.write(data)

    def abort(self) -> None:
        if not self._over:
            self._over = True
            if self._host.carrier is not None:
                self._count.aborted()
        self._stream.abort()

    def data_received(self, data: bytes) -> None:
        self._count.read(data, self._loop.time())
        if self._receiver is not None:
            self._receiver.data_received(data)

    def connection_lost(self, error: NetError | None) -> None:
        if not self._over:
            self._over = True
            if error is None:
                self._count.closed()
            elif error.reason is NetReason.RESET and self._host.carrier is not None:
                self._count.refused()
        super().connection_lost(error)

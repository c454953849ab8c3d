"""A charger's network, broken at one chosen event: the n-th connect, write, delivery, end or datagram."""

from collections import Counter
from collections.abc import Callable

from emulator.errors import NetError, NetReason
from emulator.net.api import Address, Datagrams, Host, Stream
from emulator.net.around import DatagramsAround, HostAround, StreamAround


class CutHost(HostAround):
    """A `Host` that counts events once it is armed. The event `at` never happens: `on_cut` is called instead.

    Its connection is reset, its datagram lost. A host whose `on_cut` says True is dead from then on, as one without
    power is: nothing more comes or goes until `revive`.
    """

    def __init__(self, host: Host, at: int | None, on_cut: Callable[[], bool]) -> None:
        super().__init__(host)
        self._at = at
        self._on_cut = on_cut
        self._dead = False
        self.armed = False
        self.events: Counter[str] = Counter()
        """Events since it was armed, by kind; the one that was cut is the last."""
        self.cut: str | None = None
        """The kind of event that was cut."""

    def revive(self) -> None:
        """The power is back."""
        self._dead = False

    def lost(self, kind: str) -> bool:
        """Something happens; the result says whether it is lost."""
        if self._dead:
            return True
        if not self.armed or self.cut is not None:
            return False
        self.events[kind] += 1
        if self.events.total() != self._at:
            return False
        self.cut = kind
        self._dead = self._on_cut()
        return True

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        return _CutDatagrams(await self._host.udp(port, broadcast=broadcast), self)

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        if self.lost("connect"):
            raise NetError(NetReason.RESET, f"{to}: cut")
        return _CutStream(await self._host.connect(to, timeout_s=timeout_s), self)


class _CutStream(StreamAround):
    __slots__ = ("_host", "_reset")

    def __init__(self, stream: Stream, host: CutHost) -> None:
        super().__init__(stream)
        self._host = host
        self._reset = False

    def write(self, data: bytes) -> None:
        if not self._lost("write"):
            self._stream.write(data)

    def close(self) -> None:
        if not self._lost("close"):
            self._stream.close()

    def data_received(self, data: bytes) -> None:
        if self._receiver is not None and not self._lost("delivery"):
            self._receiver.data_received(data)

    def connection_lost(self, error: NetError | None) -> None:
        if not self._reset:
            self._host.lost("end")
        super().connection_lost(NetError(NetReason.RESET, "cut") if self._reset else error)

    def _lost(self, kind: str) -> bool:
        if self._reset:
            return True
        if self._host.lost(kind):
            self._reset = True
            self._stream.abort()
        return self._reset


class _CutDatagrams(DatagramsAround):
    __slots__ = ("_host",)

    def __init__(self, socket: Datagrams, host: CutHost) -> None:
        super().__init__(socket)
        self._host = host

    def send(self, data: bytes, to: Address) -> None:
        if not self._host.lost("datagram out"):
            self._socket.send(data, to)

    async def receive(self) -> tuple[bytes, Address]:
        while True:
            arrived = await self._socket.receive()
            if not self._host.lost("datagram in"):
                return arrived

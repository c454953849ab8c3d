"""A charger's network, broken at one chosen event: the n-th connect, write, delivery, end or datagram."""

from collections import Counter
from collections.abc import Callable

from emulator.errors import NetError, NetReason
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import Address, Carrier, Closer, Datagrams, Host, Interface, Receiver, Stream


class CutHost:
    """A `Host` that counts events once it is armed. The event `at` never happens: `on_cut` is called instead.

    Its connection is reset, its datagram lost. A host whose `on_cut` says True is dead from then on, as one without
    power is: nothing more comes or goes until `revive`.
    """

    def __init__(self, host: Host, at: int | None, on_cut: Callable[[], bool]) -> None:
        self._host = host
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

    @property
    def name(self) -> str:
        return self._host.name

    @property
    def link_address(self) -> str:
        return self._host.link_address

    @property
    def interface(self) -> Interface | None:
        return self._host.interface

    @property
    def carrier(self) -> Carrier | None:
        return self._host.carrier

    async def link_up(self, mode: Mode = Mode.ETHERNET, local: Local = FACTORY) -> None:
        await self._host.link_up(mode, local)

    def link_down(self, *, power_cycle: bool = False) -> None:
        self._host.link_down(power_cycle=power_cycle)

    def set_interface(self, interface: Interface | None) -> None:
        self._host.set_interface(interface)

    async def address_in_use(self, address: str) -> bool:
        return await self._host.address_in_use(address)

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        return _CutDatagrams(await self._host.udp(port, broadcast=broadcast), self)

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        if self.lost("connect"):
            raise NetError(NetReason.RESET, f"{to}: cut")
        return _CutStream(await self._host.connect(to, timeout_s=timeout_s), self)

    async def listen(self, port: int, serve: Callable[[Stream], None]) -> Closer:
        return await self._host.listen(port, serve)


class _CutStream:
    def __init__(self, stream: Stream, host: CutHost) -> None:
        self._stream = stream
        self._host = host
        self._receiver: Receiver | None = None
        self._reset = False

    @property
    def local(self) -> Address:
        return self._stream.local

    @property
    def peer(self) -> Address:
        return self._stream.peer

    @property
    def unsent_bytes(self) -> int:
        return self._stream.unsent_bytes

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._stream.attach(self)

    def write(self, data: bytes) -> None:
        if not self._lost("write"):
            self._stream.write(data)

    def close(self) -> None:
        if not self._lost("close"):
            self._stream.close()

    def abort(self) -> None:
        self._stream.abort()

    def pause_reading(self) -> None:
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        self._stream.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._receiver is not None and not self._lost("delivery"):
            self._receiver.data_received(data)

    def connection_lost(self, error: NetError | None) -> None:
        if not self._reset:
            self._host.lost("end")
        if self._receiver is not None:
            self._receiver.connection_lost(NetError(NetReason.RESET, "cut") if self._reset else error)

    def pause_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.pause_writing()

    def resume_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.resume_writing()

    def _lost(self, kind: str) -> bool:
        if self._reset:
            return True
        if self._host.lost(kind):
            self._reset = True
            self._stream.abort()
        return self._reset


class _CutDatagrams:
    def __init__(self, socket: Datagrams, host: CutHost) -> None:
        self._socket = socket
        self._host = host

    @property
    def local(self) -> Address:
        return self._socket.local

    def send(self, data: bytes, to: Address) -> None:
        if not self._host.lost("datagram out"):
            self._socket.send(data, to)

    async def receive(self) -> tuple[bytes, Address]:
        while True:
            arrived = await self._socket.receive()
            if not self._host.lost("datagram in"):
                return arrived

    def close(self) -> None:
        self._socket.close()

"""A host around a host, and the same of streams and datagrams: all is forwarded; who changes something overrides it."""

from collections.abc import Callable

from emulator.errors import NetError
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import Address, Carrier, Closer, Datagrams, Host, Interface, Receiver, Stream


class HostAround:
    """A `Host` that is in all things as the one inside."""

    __slots__ = ("_host",)

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def name(self) -> str:
        return self._host.name

    @property
    def link_address(self) -> str:
        """The MAC address."""
        return self._host.link_address

    @property
    def interface(self) -> Interface | None:
        return self._host.interface

    @property
    def carrier(self) -> Carrier | None:
        """The link that is up."""
        return self._host.carrier

    async def link_up(self, mode: Mode = Mode.ETHERNET, local: Local = FACTORY) -> None:
        """Bring the link up."""
        await self._host.link_up(mode, local)

    def link_down(self, *, power_cycle: bool = False) -> None:
        """Take the link down."""
        self._host.link_down(power_cycle=power_cycle)

    def set_interface(self, interface: Interface | None) -> None:
        """Take an address, or give it up."""
        self._host.set_interface(interface)

    async def address_in_use(self, address: str) -> bool:
        """Whether another machine has this address."""
        return await self._host.address_in_use(address)

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        """Open a UDP socket."""
        return await self._host.udp(port, broadcast=broadcast)

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        """Open a TCP connection."""
        return await self._host.connect(to, timeout_s=timeout_s)

    async def listen(self, port: int, serve: Callable[[Stream], None]) -> Closer:
        """Accept TCP connections."""
        return await self._host.listen(port, serve)


class StreamAround:
    """A `Stream` that is in all things as the one inside, and the `Receiver` of that once it is attached.

    Its `connection_lost` hands the end on to the receiver, once.
    """

    __slots__ = ("_receiver", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._receiver: Receiver | None = None

    # Stream

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
        self._stream.write(data)

    def close(self) -> None:
        self._stream.close()

    def abort(self) -> None:
        self._stream.abort()

    def pause_reading(self) -> None:
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        self._stream.resume_reading()

    # Receiver of the inner stream

    def data_received(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.data_received(data)

    def connection_lost(self, error: NetError | None) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.connection_lost(error)

    def pause_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.pause_writing()

    def resume_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.resume_writing()


class DatagramsAround:
    """`Datagrams` that are in all things as those inside."""

    __slots__ = ("_socket",)

    def __init__(self, socket: Datagrams) -> None:
        self._socket = socket

    @property
    def local(self) -> Address:
        return self._socket.local

    def send(self, data: bytes, to: Address) -> None:
        self._socket.send(data, to)

    async def receive(self) -> tuple[bytes, Address]:
        return await self._socket.receive()

    def close(self) -> None:
        self._socket.close()

"""Puts a capture in front of any `Host`: it draws what a wire at the charger's interface would show."""

import asyncio
import zlib
from collections.abc import Callable
from itertools import count

from emulator.errors import NetError, NetReason
from emulator.local import FACTORY, Local, Mode
from emulator.net.api import Address, Datagrams, Host, Interface, Stream
from emulator.net.around import DatagramsAround, HostAround
from emulator.net.capture_file import CaptureFile
from emulator.net.captured_stream import CapturedStream
from emulator.net.link import Way
from emulator.net.params import MTU_BYTES
from emulator.net.route import Hop
from emulator.net.shaped import SYN_RETRY_S, ShapedHost
from emulator.net.shaped_stream import Resent
from emulator.net.tcp_picture import Segments, TcpPicture
from emulator.net.wire_picture import WirePicture
from emulator.wire.address import BROADCAST

PORTS_OF_NOBODY = range(20_000, 32_768)
"""Shown for attempts that came to nothing, of which nobody knows the port: no port that systems pick by themselves."""


class CapturedHost(HostAround):
    """A host whose traffic is drawn into `file`, to stand outside the link.

    So packets that are sent are there, lost or not, and those that never arrive are not. A SYN that is not answered is
    sent again after one second, two, four (RFC 6298 section 2). What comes to a port that listens is not drawn:
    chargers never do. `now_ns` is the time of day in nanoseconds since 1970.
    """

    __slots__ = ("_connections", "_vain", "wire")

    def __init__(self, host: Host, file: CaptureFile, now_ns: Callable[[], int]) -> None:
        super().__init__(host)
        hop = host.hop if isinstance(host, ShapedHost) else _taken
        self.wire = WirePicture(file, host.name, host.link_address, now_ns, hop)
        self._vain = count()
        self._connections = count()

    @property
    def resent(self) -> Resent | None:
        """As the host inside: told of what TCP sends again."""
        return self._host.resent if isinstance(self._host, ShapedHost) else None

    @resent.setter
    def resent(self, told: Resent | None) -> None:
        if isinstance(self._host, ShapedHost):
            self._host.resent = told

    async def link_up(self, mode: Mode = Mode.ETHERNET, local: Local = FACTORY) -> None:
        """As the host inside. Association and attach are no frames of this wire."""
        await self._host.link_up(mode, local)
        self._readdress()

    def link_down(self, *, power_cycle: bool = False) -> None:
        """As the host inside."""
        self._host.link_down(power_cycle=power_cycle)
        self._readdress()

    def set_interface(self, interface: Interface | None) -> None:
        """As the host inside."""
        self._host.set_interface(interface)
        self._readdress()

    async def address_in_use(self, address: str) -> bool:
        """As the host inside; one probe is drawn, and its answer."""
        found = await self._host.address_in_use(address)
        self.wire.probe(address, answered=found)
        return found

    async def udp(self, port: int = 0, *, broadcast: bool = False) -> Datagrams:
        """A socket whose datagrams are drawn."""
        return _CapturedDatagrams(await self._host.udp(port, broadcast=broadcast), self)

    async def connect(self, to: Address, *, timeout_s: float) -> Stream:
        """A connection whose segments are drawn, those of vain attempts too."""
        interface = self._host.interface
        if interface is None or self._host.carrier is None or not self.wire.seeks(to.host):
            return await self._host.connect(to, timeout_s=timeout_s)  # nothing leaves
        with _Attempt(self, interface.address, to) as attempt:
            stream = await self._host.connect(to, timeout_s=timeout_s)
            picture, round_trip_s = attempt.succeeds(stream.local.port)
        return CapturedStream(stream, self._host, self.wire, picture, round_trip_s)

    def draws(self, way: Way, data: bytes, local: Address, peer: Address) -> None:
        """A datagram left, if there is a link and an address for it to leave by, or arrived."""
        broadcast = peer.host == BROADCAST
        if way is Way.DOWN or (self.carrier is not None and (broadcast or self.interface is not None)):
            self.wire.datagram(way, data, local, peer)

    def picture(self, local: Address, peer: Address) -> TcpPicture:
        """Of a new connection, with sequence numbers of its own."""
        what = f"{local} {peer} {next(self._connections)}"
        sequences = zlib.crc32(f"from {what}".encode()), zlib.crc32(f"to {what}".encode())
        return TcpPicture((local.port, peer.port), sequences, MTU_BYTES)

    def port_of_nobody(self) -> int:
        """For an attempt that came to nothing."""
        return PORTS_OF_NOBODY[next(self._vain) % len(PORTS_OF_NOBODY)]

    def _readdress(self) -> None:
        carrier = self._host.carrier
        self.wire.use(self._host.interface, arp=carrier is None or carrier.mode is not Mode.LTE)


def _taken(_: str) -> Hop:
    return Hop.TAKEN


class _Attempt:
    """A connect, until it is known how it ends and from which port it was made: only then its SYNs can be drawn."""

    __slots__ = ("_done", "_hold", "_host", "_last_s", "_loop", "_own", "_timer", "_times_ns", "_to")

    def __init__(self, host: CapturedHost, own: str, to: Address) -> None:
        self._host = host
        self._own = own
        self._to = to
        self._done = False
        self._times_ns: list[int] = []
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> "_Attempt":
        self._hold = self._host.wire.hold()
        self._knock(SYN_RETRY_S)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._timer.cancel()
        if not self._done:
            picture = self._host.picture(Address(self._own, self._host.port_of_nobody()), self._to)
            refused = isinstance(error, NetError) and error.reason is NetReason.REFUSED
            self._draw(picture, picture.refuses if refused else list)
        self._host.wire.release(self._hold)

    def succeeds(self, port: int) -> tuple[TcpPicture, float]:
        """The connection is there, from this port: its picture, and how long an answer takes to come back."""
        self._done = True
        picture = self._host.picture(Address(self._own, port), self._to)
        self._draw(picture, picture.opens)
        return picture, self._loop.time() - self._last_s

    def _knock(self, retry_s: float) -> None:
        self._times_ns.append(self._host.wire.now_ns())
        self._last_s = self._loop.time()
        self._timer = self._loop.call_later(retry_s, self._knock, 2 * retry_s)

    def _draw(self, picture: TcpPicture, answer: Callable[[], Segments]) -> None:
        knocks, now_ns = picture.knocks(len(self._times_ns)), self._host.wire.now_ns()
        times = zip((*self._times_ns, now_ns, now_ns), (*knocks, *answer()), strict=False)
        for at_ns, (way, segment) in times:
            self._host.wire.segment(way, segment, self._own, self._to.host, at_ns)


class _CapturedDatagrams(DatagramsAround):
    __slots__ = ("_host",)

    def __init__(self, socket: Datagrams, host: CapturedHost) -> None:
        super().__init__(socket)
        self._host = host

    def send(self, data: bytes, to: Address) -> None:
        self._host.draws(Way.UP, data, self.local, to)
        self._socket.send(data, to)

    async def receive(self) -> tuple[bytes, Address]:
        data, sender = await self._socket.receive()
        self._host.draws(Way.DOWN, data, self.local, sender)
        return data, sender

"""UDP sockets of a `LinuxHost`: ordinary ones, and for broadcasts whole frames where those are needed."""

import contextlib
import socket
from typing import Protocol

from emulator.net.api import Address, Interface
from emulator.net.raw import UdpFrames
from emulator.net.socket_host import DATAGRAMS_PER_WAKE, SocketDatagrams
from emulator.wire.address import BROADCAST, UNSPECIFIED


class Owner(Protocol):
    """What a UDP socket asks of its host."""

    @property
    def interface(self) -> Interface | None: ...

    @property
    def is_service(self) -> bool:
        """It answers others at a fixed address."""

    def open_socket(self, kind: socket.SocketKind, *, bound: bool) -> socket.socket:
        """A socket in the namespace of the host, `bound` to its interface."""

    def open_frames(self, port: int) -> UdpFrames:
        """Frames to a UDP port at its interface. NetError UNREACHABLE."""


class LinuxDatagrams(SocketDatagrams):
    """One UDP port of a host.

    With `broadcast` it works without an address, by frames. A service that hears broadcasts goes on with frames: they
    tell the link addresses of its clients, and reach one that has no IP address yet. The ordinary socket beside them
    holds the port, and sends what is routed.
    """

    __slots__ = ("_frames", "_host")

    def __init__(self, host: Owner, hearing: set[SocketDatagrams], port: int, *, broadcast: bool) -> None:
        super().__init__(hearing, port, broadcast=broadcast)
        self._host = host
        self._frames: UdpFrames | None = None

    def bind(self) -> None:
        interface = self._host.interface
        if interface is not None:
            self._bind_socket(interface.address)
        if self._broadcast and (interface is None or self._host.is_service):
            self._frames = self._host.open_frames(self._port)
            self._loop.add_reader(self._frames.socket, self._frame_readable, self._frames)

    def send(self, data: bytes, to: Address) -> None:
        if self._frames is not None and (to.link or self._socket is None):
            if to.link or to.host == BROADCAST:
                interface = self._host.interface
                self._frames.send(data, to, UNSPECIFIED if interface is None else interface.address)
        elif self._socket is not None and (self._broadcast or to.host != BROADCAST):
            with contextlib.suppress(OSError):  # a full buffer or no route: UDP may lose it
                self._socket.sendto(data, (to.host, to.port))

    def _bind_socket(self, address: str) -> None:
        opened = self._host.open_socket(socket.SOCK_DGRAM, bound=self._broadcast)
        try:
            if self._broadcast:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            opened.bind((UNSPECIFIED if self._broadcast else address, self._port))
        except OSError:
            opened.close()
            raise
        self.local = Address(address, opened.getsockname()[1])
        self._listen(opened)

    def _unbind(self) -> None:
        super()._unbind()
        frames, self._frames = self._frames, None
        if frames is not None:
            self._loop.remove_reader(frames.socket)
            frames.socket.close()
        self.local = Address(UNSPECIFIED, self._port)

    def _arrived(self, data: bytes, host: str, port: int) -> None:
        if self._frames is None:  # else they have brought it already
            self._inbox.put(data, Address(host, port))

    def _frame_readable(self, frames: UdpFrames) -> None:
        for _ in range(DATAGRAMS_PER_WAKE):
            if self._frames is not frames:
                return
            try:
                heard = frames.receive()
            except OSError:
                return
            if heard is not None:
                self._inbox.put(*heard)

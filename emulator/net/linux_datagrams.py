"""UDP sockets of a `LinuxHost`: ordinary ones, and for broadcasts whole frames where those are needed."""

import asyncio
import contextlib
import socket
from typing import Protocol

from emulator.errors import UsageError
from emulator.net.api import Address, Interface
from emulator.net.inbox import Inbox
from emulator.net.raw import UdpFrames
from emulator.wire.address import BROADCAST, UNSPECIFIED

DATAGRAM_MAX_BYTES = 65_535
DATAGRAMS_PER_WAKE = 16  # then others get their turn


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
        """Frames to a UDP port at its interface. UsageError."""

    def forget(self, heard: "LinuxDatagrams") -> None:
        """A socket was closed."""


class LinuxDatagrams:
    """One UDP port of a host.

    With `broadcast` it works without an address, by frames. A service that hears broadcasts goes on with frames: they
    tell the link addresses of its clients, and reach one that has no IP address yet. The ordinary socket beside them
    holds the port, and sends what is routed.
    """

    __slots__ = ("_broadcast", "_frames", "_host", "_inbox", "_loop", "_port", "_socket", "local")

    def __init__(self, host: Owner, port: int, *, broadcast: bool) -> None:
        self.local = Address(UNSPECIFIED, port)
        self._host = host
        self._port = port
        self._broadcast = broadcast
        self._inbox = Inbox()
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._frames: UdpFrames | None = None

    def bind(self) -> None:
        """Open what is needed with the address that the host has now. OSError, UsageError."""
        interface = self._host.interface
        if interface is not None:
            self._bind_socket(interface.address)
        if self._broadcast and (interface is None or self._host.is_service):
            self._frames = self._host.open_frames(self._port)
            self._loop.add_reader(self._frames.socket, self._frame_readable, self._frames)

    def rebind(self) -> None:
        """The host's address has changed. If the new one cannot be had, the socket is deaf, as on a wrong address."""
        self._unbind()
        with contextlib.suppress(OSError, UsageError):
            self.bind()

    def send(self, data: bytes, to: Address) -> None:
        if self._frames is not None and (to.link or self._socket is None):
            if to.link or to.host == BROADCAST:
                interface = self._host.interface
                self._frames.send(data, to, UNSPECIFIED if interface is None else interface.address)
        elif self._socket is not None and (self._broadcast or to.host != BROADCAST):
            with contextlib.suppress(OSError):  # a full buffer or no route: UDP may lose it
                self._socket.sendto(data, (to.host, to.port))

    async def receive(self) -> tuple[bytes, Address]:
        return await self._inbox.receive()

    def close(self) -> None:
        self._unbind()
        self._host.forget(self)
        self._inbox.close()

    def _bind_socket(self, address: str) -> None:
        opened = self._host.open_socket(socket.SOCK_DGRAM, bound=self._broadcast)
        try:
            if self._broadcast:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            opened.bind((UNSPECIFIED if self._broadcast else address, self._port))
        except OSError:
            opened.close()
            raise
        self._socket = opened
        self.local = Address(address, opened.getsockname()[1])
        self._loop.add_reader(opened, self._readable, opened)

    def _unbind(self) -> None:
        opened, self._socket = self._socket, None
        frames, self._frames = self._frames, None
        for each in (opened, None if frames is None else frames.socket):
            if each is not None:
                self._loop.remove_reader(each)
                each.close()
        self.local = Address(UNSPECIFIED, self._port)

    def _readable(self, opened: socket.socket) -> None:
        for _ in range(DATAGRAMS_PER_WAKE):
            if self._socket is not opened:
                return
            try:
                data, (host, port) = opened.recvfrom(DATAGRAM_MAX_BYTES)
            except OSError:
                return  # nothing more
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

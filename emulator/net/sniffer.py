"""Copies the frames that pass a real interface of Linux into a capture file (packet(7))."""

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from emulator.net.capture_file import CaptureFile
from emulator.net.namespace import Namespace
from emulator.net.packet_socket import packet_socket
from emulator.wire.pcapng import Direction

FRAME_MAX_BYTES = 256 * 1024
"""More than a frame can have, whatever its hardware puts together or takes apart."""
LOOK_S, FRAMES_PER_LOOK = 0.05, 2_000
"""Then others get their turn; in large frames that are 60 MB/s."""
PATIENCE_NS = 100_000_000
"""How long frames wait for earlier ones of other interfaces, and for the secrets that go before them."""
KERNEL_QUEUE_BYTES = 16 * 1024 * 1024
"""What waits for us in the kernel. Packets beyond are lost; they are counted."""

_ETH_P_ALL = 0x0003
_OUTGOING = 4  # PACKET_OUTGOING
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_TIMESPEC = struct.Struct("=qq")
_STATISTICS = struct.Struct("=II")
_NS_PER_S = 1_000_000_000


class Sniffer:
    """Every frame at `interface`, both ways, with the kernel's time of it.

    The interface may be down, and go down and up again. UsageError: there is none of that name, or not the right to
    see its frames.
    """

    def __init__(
        self,
        file: CaptureFile,
        interface: str,
        namespace: Namespace | None,
        name: str,
        now_ns: Callable[[], int],
    ) -> None:
        """Must be called in an event loop. `name` is what the file calls the interface, `now_ns` the time since 1970.

        It looks by the clock and not when the socket is readable: for libuv one whose interface went down never is
        again.
        """
        self._file = file
        self._now_ns = now_ns
        self._socket = _listening(interface, namespace)
        self._number = file.add_interface(name, description=f"{interface}, as the kernel has it")
        self._hold = file.hold(now_ns())
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(LOOK_S, self._look)

    def close(self) -> None:
        """Take what waits in the kernel, and no more. May be called twice, and after the loop was closed."""
        if self._socket.fileno() < 0:
            return
        self._timer.cancel()
        while self._take():
            pass
        self._file.release(self._hold)
        with suppress(OSError):
            counts = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
            _, dropped = _STATISTICS.unpack(counts)
            self._file.missed(self._number, dropped)
        self._socket.close()

    def _look(self) -> None:
        self._take()
        self._file.move(self._hold, self._now_ns() - PATIENCE_NS)
        self._timer = self._loop.call_later(LOOK_S, self._look)

    def _take(self) -> bool:
        """The frames that wait in the kernel; whether there may be more."""
        for _ in range(FRAMES_PER_LOOK):
            try:
                frame, extra, _, sender = self._socket.recvmsg(FRAME_MAX_BYTES, socket.CMSG_SPACE(_TIMESPEC.size))
            except OSError as error:
                if error.errno == errno.ENETDOWN:  # said once, when the interface is down
                    continue
                return False
            times = [_TIMESPEC.unpack(data) for _, kind, data in extra if kind == _SO_TIMESTAMPNS]
            seconds, nanoseconds = times[0]
            direction = Direction.OUTBOUND if sender[2] == _OUTGOING else Direction.INBOUND
            self._file.put(self._number, seconds * _NS_PER_S + nanoseconds, frame, direction)
        return True


def _listening(interface: str, namespace: Namespace | None) -> socket.socket:
    def prepare(opened: socket.socket) -> None:
        with suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, KERNEL_QUEUE_BYTES)
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    who = f"--pcap: interface {interface}"
    return packet_socket(interface, namespace, _ETH_P_ALL, prepare, who=who, purpose="to see its frames")

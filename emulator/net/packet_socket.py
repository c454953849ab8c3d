"""Sockets for the frames at an interface of Linux (packet(7))."""

import socket
from collections.abc import Callable

from emulator.errors import UsageError
from emulator.net.namespace import Namespace, entered


def packet_socket(
    interface: str,
    namespace: Namespace | None,
    protocol: int,
    prepare: Callable[[socket.socket], object],
    *,
    who: str,
    purpose: str,
) -> socket.socket:
    """A socket that does not block, for the frames of one `protocol`; `prepare` gets it before it hears any.

    UsageError, beginning with `who`: no such interface, or not the right, which takes root for this `purpose`.
    """
    try:
        with entered(namespace):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # hears nothing until it is bound
    except PermissionError:
        raise UsageError(f"{who}: {purpose} takes root (CAP_NET_RAW)") from None
    except (AttributeError, OSError) as error:
        raise UsageError(f"{who}: no packet socket: {error}") from None
    try:
        opened.setblocking(False)
        prepare(opened)
        opened.bind((interface, protocol))
    except OSError as error:
        opened.close()
        raise UsageError(f"{who}: {error.strerror}") from None
    return opened

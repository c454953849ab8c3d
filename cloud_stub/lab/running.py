"""Which labs run on this machine. Each holds an abstract socket, so that nothing is left of one that is killed."""

import asyncio
import os
import select
import signal
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from emulator.errors import UsageError

PREFIX = "zaptec-emulator/lab/"
NAME_CHARS_MAX = 64
SOCKETS = Path("/proc/net/unix")
STOP_S = 20.0
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


@asynccontextmanager
async def claimed(name: str) -> AsyncIterator[None]:
    """Be the lab of this name on this machine. UsageError: one runs already, or it is no name."""
    if not name.isascii() or not name.isprintable() or " " in name or not 0 < len(name) <= NAME_CHARS_MAX:
        raise UsageError(f"--name {name}: up to {NAME_CHARS_MAX} ASCII characters without blanks")
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.bind(f"\0{PREFIX}{name}")
    except OSError:
        held.close()
        raise UsageError(f"--name {name}: a lab of this name runs already") from None
    server = await asyncio.start_unix_server(lambda reader, writer: writer.close(), sock=held)
    try:
        yield
    finally:
        server.close()


def running() -> dict[str, int]:
    """Name of each lab that runs to its process id."""
    found: dict[str, int] = {}
    for line in SOCKETS.read_text().splitlines():
        path = line.split(maxsplit=7)[-1]
        if path.startswith(f"@{PREFIX}") and (name := path[len(PREFIX) + 1 :]) not in found:
            with suppress(OSError):  # it has just ended
                found[name] = _holder(name)
    return found


def end(name: str | None) -> list[str]:
    """End the lab of this name, or the only one that runs, and wait for that: the names of those that were ended.

    UsageError: there is none of this name, there are several, or it does not end.
    """
    labs = running()
    if name is not None and name not in labs:
        raise UsageError(f"lab {name}: no lab of this name runs")
    if name is None and len(labs) > 1:
        raise UsageError(f"lab down: needs a name, several labs run: {', '.join(sorted(labs))}")
    wanted = labs if name is None else {name: labs[name]}
    for each, pid in wanted.items():
        _end(each, pid)
    return list(wanted)


def _holder(name: str) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.connect(f"\0{PREFIX}{name}")
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid: int = _CREDENTIALS.unpack(credentials)[0]
        return pid


def _end(name: str, pid: int) -> None:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], STOP_S)
    except ProcessLookupError:
        return
    except PermissionError:
        raise UsageError(f"lab {name}: process {pid} is somebody else's") from None
    finally:
        os.close(process)
    if not ended:
        raise UsageError(f"lab {name}: process {pid} has not ended in {STOP_S:.0f} s")

"""HTTP on the runner's side, for people and tests: an application on a socket of the machine, without TLS."""

import socket
from contextlib import AbstractAsyncContextManager

from starlette.types import ASGIApp

from emulator.errors import UsageError
from emulator.net import asgi


def listening(host: str, port: int, *, option: str | None = None) -> socket.socket:
    """A socket that listens for the control API: callers get through before the server accepts.

    UsageError names the `option` that asked for it.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
        held.listen()
    except OSError as error:
        held.close()
        asked = option or f"--control-host {host} --control-port {port}"
        raise UsageError(f"{asked}: {error.strerror}") from None
    return held


def serving(app: ASGIApp, held: socket.socket) -> AbstractAsyncContextManager[None]:
    """Serve the control API on a listening socket for as long as the body runs."""
    return asgi.serving(app, held, name="control API")

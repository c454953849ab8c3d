"""HTTP on the runner's side, for people and tests: an application on a socket of the machine, without TLS."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from emulator.errors import UsageError

STOP_S = 1
"""How long calls that have begun may take once the server is told to stop."""


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


@asynccontextmanager
async def serving(app: ASGIApp, held: socket.socket) -> AsyncIterator[None]:
    """Serve `app` on a listening socket for as long as the body runs."""
    server = _Server(app)
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[held]), name="control API")
    try:
        yield
    finally:
        logging.getLogger("uvicorn.error").disabled = True  # calls that are cut off now are no errors
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the cloud has its own."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app, lifespan="off", log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=STOP_S
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

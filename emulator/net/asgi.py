"""An ASGI application on a socket of the machine, without TLS: HTTP for people and tests, not for chargers."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

STOP_S = 1
"""How long requests that have begun may take once the body ends."""


@asynccontextmanager
async def serving(
    app: ASGIApp, held: socket.socket, *, name: str, connections_max: int | None = None
) -> AsyncIterator[None]:
    """Serve `app` on a listening socket for as long as the body runs. `name` is the task's."""
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            server_header=False,
            limit_concurrency=connections_max,
            timeout_graceful_shutdown=STOP_S,
        )
    )
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[held]), name=name)
    try:
        yield
    finally:
        logging.getLogger("uvicorn.error").disabled = True  # requests that are cut off now are no errors
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the runner has its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield

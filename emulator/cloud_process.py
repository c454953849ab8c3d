"""A cloud for chargers on loopback: one that runs already, or one of our own in a process beside us.

The emulator never imports the cloud; it starts it as a user would, with ``python -m cloud_stub up``.
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from emulator.errors import UsageError
from emulator.parent import signalled_at_our_end
from emulator.remote import RemoteCloud

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


@asynccontextmanager
async def cloud_at(control: str | None, *, bus: str | None = None) -> AsyncIterator[RemoteCloud]:
    """The cloud behind a control URL; None: a cloud of our own that ends with us. UsageError when there is none."""
    if control is not None:
        yield await RemoteCloud.attach(control)
        return
    options = ("--bus", bus) if bus else ()
    process = await start_module("cloud_stub", "up", "--json", *options, stdin=asyncio.subprocess.DEVNULL)
    try:
        ready = await _ready_line(process)
        async with _while_alive(process):
            yield RemoteCloud.from_ready(json.loads(ready))
    finally:
        await end(process)


@asynccontextmanager
async def _while_alive(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Cut the body short with a UsageError when the process ends by itself: what follows would mean nothing."""
    body, over = asyncio.current_task(), False

    async def watch() -> None:
        nonlocal over
        await process.wait()
        over = True
        if body is not None:
            body.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if over and body is not None and body.uncancel() == 0:
            raise UsageError(f"cloud: it ended by itself with status {process.returncode}") from None
        raise
    finally:
        watcher.cancel()


async def _ready_line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - asked for above
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await process.stdout.readline()
    except TimeoutError:
        raise UsageError(f"cloud: not ready within {START_TIMEOUT_S:.0f} s") from None
    if not line:
        raise UsageError("cloud: it did not start; the line above says why")
    return line


async def start_module(*words: str, stdin: int) -> asyncio.subprocess.Process:
    """Start ``python -m ...`` with its output in a pipe. A start that is cancelled leaves no process behind.

    It gets a session of its own: Ctrl-C is for us, and we end our children in the right order. If we are killed, it
    ends by itself.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *words,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=signalled_at_our_end(signal.SIGTERM),
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await end(await starting)
        raise


async def end(process: asyncio.subprocess.Process) -> None:
    """Ask a child to end, and make it end."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()

"""A cloud for chargers on loopback: one that runs already, or one of our own in a process beside us.

The emulator never imports the cloud; it starts it as a user would, with ``python -m cloud_stub up``.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from emulator.errors import UsageError
from emulator.remote import RemoteCloud

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


@asynccontextmanager
async def cloud_at(control: str | None, *, bus: str | None = None) -> AsyncIterator[RemoteCloud]:
    """The cloud behind a control URL; None: a cloud of our own that ends with us. UsageError when there is none."""
    if control is not None:
        yield await RemoteCloud.attach(control)
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cloud_stub", "up", "--json", *(("--bus", bus) if bus else ())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us; we end the cloud after the chargers
    )
    try:
        yield RemoteCloud.from_ready(json.loads(await _ready_line(process)))
    finally:
        await end(process)


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

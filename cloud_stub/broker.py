"""A Mosquitto of our own: finds the binary, writes its configuration, starts it and watches it."""

import asyncio
import getpass
import shutil
from collections import deque
from pathlib import Path

from cloud_stub.bus import BusError
from emulator.errors import UsageError
from emulator.wire.address import Address

LOOPBACK = "127.0.0.1"
START_S = 10.0
STOP_S = 3.0
TERM_AGAIN_S = 0.2
LOG_LINES_MAX = 50
PORT_TRIES = 5

CONFIGURATION = """\
listener {port} {host}
allow_anonymous true
persistence false
set_tcp_nodelay true
connection_messages false
max_inflight_messages 1000
max_queued_messages 100000
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
user {user}
"""


def mosquitto_binary(program: str = "mosquitto") -> str:
    """Path of the broker binary; Debian keeps it out of users' PATH. UsageError when there is none."""
    for path in (None, "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"):
        found = shutil.which(program, path=path)
        if found:
            return found
    raise UsageError(f"{program}: no such program; install the package mosquitto, or choose the local bus")


class MosquittoProcess:
    """A Mosquitto of our own on a free loopback port. It ends with us."""

    def __init__(self, directory: Path, *, binary: str = "mosquitto") -> None:
        self._directory = directory
        self._binary = binary
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES_MAX)
        self._stopping = False
        self.address: Address | None = None
        """Where it listens; kept when it is stopped and started again."""
        self.died: asyncio.Future[str] | None = None
        """Done, with the reason, when the broker ends without `stop`."""

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> Address:
        """Start the broker and wait until it accepts. UsageError: no binary; BusError: it does not come up."""
        binary = mosquitto_binary(self._binary)
        known = self.address
        for _ in range(1 if known else PORT_TRIES):
            address = known or Address(LOOPBACK, await _free_port())
            if await self._launch(binary, address):
                self.address = address
                return address
        raise BusError(f"mosquitto does not start: {self._reason()}")

    async def stop(self) -> None:
        """End the broker. May be called at any time, and twice."""
        self._stopping = True
        process, watcher = self._process, self._watcher
        self._process = self._watcher = None
        if process is None or watcher is None:
            return
        # Mosquitto forgets a TERM that comes between its "running" and its main loop, so it is told again.
        for _ in range(round(STOP_S / TERM_AGAIN_S)):
            if process.returncode is None:
                process.terminate()
            ended, _ = await asyncio.wait([watcher], timeout=TERM_AGAIN_S)
            if ended:
                return
        process.kill()
        await watcher

    async def _launch(self, binary: str, address: Address) -> bool:
        """Whether it runs; if not, something else took the port between our look and its start, or it is broken."""
        self._stopping = False
        file = self._directory / "mosquitto.conf"
        # Naming our own user keeps Mosquitto from changing it, which would cancel the parent-death signal.
        text = CONFIGURATION.format(port=address.port, host=address.host, user=getpass.getuser())
        await asyncio.to_thread(file.write_text, text, encoding="utf-8")
        # Linux only: elsewhere the broker outlives a killed parent. KILL: it forgets a TERM in its first milliseconds.
        guard = shutil.which("setpriv")
        command = [*((guard, "--pdeathsig", "KILL") if guard else ()), binary, "-c", str(file)]
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us; we end the broker after its clients
            )
        except OSError as error:
            raise UsageError(f"mosquitto: {binary}: {error.strerror}") from None
        loop = asyncio.get_running_loop()
        self.died = loop.create_future()
        ready: asyncio.Future[bool] = loop.create_future()
        self._process = process
        self._watcher = loop.create_task(self._watch(process, ready, self.died), name="mosquitto watch")
        runs = False
        try:
            async with asyncio.timeout(START_S):
                runs = await ready
        except TimeoutError:
            self._log.append(f"not ready after {START_S} s")
        finally:
            if not runs:
                await self.stop()
        return runs

    async def _watch(
        self, process: asyncio.subprocess.Process, ready: "asyncio.Future[bool]", died: "asyncio.Future[str]"
    ) -> None:
        assert process.stderr is not None  # noqa: S101 - piped above
        async for line in process.stderr:
            text = line.decode(errors="replace").strip()
            self._log.append(text)
            if text.endswith(" running") and not ready.done():
                ready.set_result(True)
        status = await process.wait()
        if not ready.done():
            ready.set_result(False)
        elif not self._stopping and not died.done():
            died.set_result(f"mosquitto ended with status {status}: {self._reason()}")

    def _reason(self) -> str:
        return next(
            (line for line in reversed(self._log) if "rror" in line), self._log[-1] if self._log else "no output"
        )


async def _free_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), LOOPBACK, 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port

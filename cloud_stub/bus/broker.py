"""A Mosquitto of our own: finds the binary, writes its configuration, starts it, watches it and starts it again."""

import asyncio
import getpass
import shutil
from collections import deque
from contextlib import suppress
from pathlib import Path

from cloud_stub.bus.api import BusError
from emulator.errors import UsageError
from emulator.wire.address import Address

LOOPBACK = "127.0.0.1"
START_S = 10.0
STOP_S = 3.0
TERM_AGAIN_S = 0.2
LOG_LINES_MAX = 50
PORT_TRIES = 5
SAVE_S = 1
"""Mosquitto looks once a second whether more than this has passed since it last wrote its sessions and queues down."""
AGAIN_FIRST_S, AGAIN_MAX_S = 0.1, 2.0
"""Waits before a broker that died is started again: the first, doubled up to the longest."""
DEATHS_MAX, DEATHS_WITHIN_S = 5, 60.0
"""A broker that dies more often than that is given up."""

CONFIGURATION = """\
listener {port} {host}
allow_anonymous true
persistence true
persistence_location {directory}/
autosave_interval {save_s}
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
    """A Mosquitto of our own on a free loopback port, on `port` if that is free. It ends with us.

    What it remembers (sessions and their queues) it writes to `directory` every other second, and knows again after a
    restart. It does not write a message down before it acknowledges it: `cloud_stub.bus.journal` makes up for that.
    """

    def __init__(self, directory: Path, *, binary: str = "mosquitto", port: int = 0) -> None:
        self._directory = directory
        self._binary = binary
        self._port = port
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
        for attempt in range(1 if known else PORT_TRIES):
            address = known or Address(LOOPBACK, (not attempt and self._port) or await _free_port())
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
        text = CONFIGURATION.format(
            port=address.port,
            host=address.host,
            user=getpass.getuser(),
            directory=self._directory,
            save_s=SAVE_S,
        )
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


class KeptMosquitto:
    """A `MosquittoProcess` that is started again, on the same port, when it dies."""

    def __init__(self, process: MosquittoProcess) -> None:
        self._process = process
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX + 1)
        self._keeping: asyncio.Task[None] | None = None
        self.restarts = 0
        self.died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when it is given up."""

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid

    async def start(self) -> Address:
        """As `MosquittoProcess.start`."""
        address = await self._process.start()
        self._keeping = asyncio.create_task(self._keep(), name="mosquitto keeper")
        return address

    async def stop(self) -> None:
        """As `MosquittoProcess.stop`."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        await self._process.stop()

    async def _keep(self) -> None:
        while True:
            assert self._process.died is not None  # noqa: S101 - it was started
            reason = await self._process.died
            try:
                await self._start_again()
            except BusError:
                self.died.set_result(reason)
                return

    async def _start_again(self) -> None:
        """BusError when it has died too often."""
        while True:
            now = asyncio.get_running_loop().time()
            self._deaths.append(now)
            recent = sum(now - death < DEATHS_WITHIN_S for death in self._deaths)
            if recent > DEATHS_MAX:
                raise BusError(f"mosquitto has died {recent} times within {DEATHS_WITHIN_S:.0f} s")
            await asyncio.sleep(min(AGAIN_FIRST_S * 2 ** (recent - 1), AGAIN_MAX_S))
            with suppress(BusError):  # maybe its port is not free yet
                await self._process.start()
                self.restarts += 1
                return


async def _free_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), LOOPBACK, 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port

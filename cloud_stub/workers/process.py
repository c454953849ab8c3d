"""One place for a worker: a process that is started, talked to over pipes, and started again when it dies."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

from cloud_stub.workers.job import LINE_BYTES_MAX, Message, WorkerJob, encoded
from emulator.errors import UsageError

START_S = 30.0
STOP_S = 5.0
ANSWER_S = 5.0
AGAIN_FIRST_S, AGAIN_MAX_S = 0.1, 5.0
"""Waits before a dead worker is started again: the first, doubled with every death up to the longest."""
STEADY_S = 10.0
"""A worker that has lived so long has paid for its earlier deaths."""
ASKED_MAX = 64

JobFor = Callable[[str], WorkerJob]
"""Gives the job for the worker with this label."""


class WorkerProcess:
    """Keeps one worker running.

    `greeting` are the commands that a worker gets before it serves, `told` gets its lines, `lost` the label of one that
    has died.
    """

    def __init__(
        self,
        number: int,
        job_for: JobFor,
        *,
        greeting: Callable[[], Iterable[Message]],
        told: Callable[[Message], None],
        lost: Callable[[str], None],
    ) -> None:
        self.number = number
        self.starts = 0
        self.ready = False
        self._job_for = job_for
        self._greeting, self._told, self._lost = greeting, told, lost
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._greeted = self._stopping = False
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._questions = 0
        self._failure = ""

    @property
    def label(self) -> str:
        """Of the process that runs now, or ran last."""
        return f"{self.number}.{self.starts}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Have it serve. UsageError when it does not come up."""
        up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self._keeping = asyncio.create_task(self._keep(up), name=f"worker {self.number}")
        try:
            async with asyncio.timeout(START_S):
                await up
        except TimeoutError:
            raise UsageError(f"worker {self.number}: not ready within {START_S:.0f} s") from None

    async def stop(self) -> None:
        """End it. May be called at any time, and twice."""
        self._stopping = True
        keeping, self._keeping = self._keeping, None
        if keeping is None:
            return
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
        else:
            keeping.cancel()
        _, late = await asyncio.wait([keeping], timeout=STOP_S)
        if late:
            keeping.cancel()
            await asyncio.wait([keeping])

    def say(self, message: Message) -> None:
        """Send a line; lost when the worker is not there: the next one gets its greeting."""
        process = self._process
        if self._greeted and process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(encoded(message))

    async def ask(self, what: str, **more: Any) -> Message | None:
        """Its answer; None when it dies, or is silent for `ANSWER_S`."""
        if not self.ready or len(self._asked) >= ASKED_MAX:
            return None
        self._questions += 1
        number = self._questions
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self.say({"ask": number, "what": what, **more})
        try:
            async with asyncio.timeout(ANSWER_S):
                told: Message = await answer
                return told
        except (TimeoutError, _GoneError):
            return None
        finally:
            del self._asked[number]

    async def _keep(self, up: "asyncio.Future[None]") -> None:
        loop, wait_s = asyncio.get_running_loop(), AGAIN_FIRST_S
        while True:
            began = loop.time()
            await self._live(up)
            if self._stopping:
                return
            if not up.done():
                up.set_exception(UsageError(f"worker {self.number}: {self._failure or 'it ended before it was ready'}"))
                return
            wait_s = AGAIN_FIRST_S if loop.time() - began > STEADY_S else wait_s
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, AGAIN_MAX_S)

    async def _live(self, up: "asyncio.Future[None]") -> None:
        """One process, from its start to its end."""
        self.starts += 1
        label = self.label
        process = await _started()
        self._process = process
        try:
            if self._stopping:
                return
            assert process.stdin is not None  # noqa: S101 - a pipe
            greeting = map(encoded, (*self._greeting(), {"serve": True}))
            process.stdin.write(self._job_for(label).line() + b"".join(greeting))
            self._greeted = True
            await self._read(process, up)
            await process.wait()
        finally:
            was_ready, self.ready, self._greeted, self._process = self.ready, False, False, None
            await _ended(process)
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(_GoneError())
            if was_ready and not self._stopping:
                self._lost(label)

    async def _read(self, process: asyncio.subprocess.Process, up: "asyncio.Future[None]") -> None:
        assert process.stdout is not None  # noqa: S101 - a pipe
        async for line in process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                return  # it died in the middle of a line
            self._take(message, up)

    def _take(self, message: Message, up: "asyncio.Future[None]") -> None:
        if "answer" in message:
            answer = self._asked.get(message["answer"])
            if answer is not None and not answer.done():
                answer.set_result(message)
        elif "ready" in message:
            self.ready = True
            if not up.done():
                up.set_result(None)
        elif "failed" in message:
            self._failure = str(message["failed"])
        else:
            self._told(message)


class _GoneError(Exception):
    """The worker died before it answered."""


async def _started() -> asyncio.subprocess.Process:
    """A process in a session of its own: Ctrl-C is for us. A start that is cancelled leaves none behind."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cloud_stub.workers",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _ended(await starting)
        raise


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

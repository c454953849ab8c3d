"""Calls a command on many chargers at a rate: on each that is connected, one after the other."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from cloud_stub.bus.api import BusError
from cloud_stub.hub.methods import Invoke, MethodError

CALL_TIMEOUT_S = 30.0
CALLS_AT_ONCE = 64
"""Calls that wait for their answer; the rate drops when there are more."""
LOOK_S = 5.0
"""Between two looks for a charger that is connected, while none is that has to be called."""

Wanted = Callable[[str], bool]
"""Whether a charger that waits must still be called."""
Called = Callable[[str, int], None]
"""Hears of the answer of a charger: serial and status."""


class Calls:
    """A task that lives as long as somebody waits to be called. Who does not answer is called again later."""

    def __init__(
        self,
        command: int,
        per_s: float,
        *,
        invoke: Invoke,
        online: Callable[[str], bool],
        wanted: Wanted,
        called: Called,
    ) -> None:
        self._command = str(command)
        self._pause_s = 1 / per_s
        self._invoke = invoke
        self._online = online
        self._wanted = wanted
        self._called = called
        self._waiting: deque[str] = deque()
        self._under_way = 0
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    def add(self, serials: Iterable[str]) -> None:
        """Call these as well."""
        self._waiting.extend(serials)
        if self._waiting and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"calls of {self._command}")
            self._task.add_done_callback(self._ended)

    def stop(self) -> None:
        """Call nobody any more. Who was called may still answer."""
        self._stopped = True
        self._waiting.clear()

    async def end(self) -> None:
        """Stop, and give up what is under way."""
        self.stop()
        if task := self._task:
            task.cancel()
            await asyncio.wait([task])

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        if not task.cancelled():
            task.result()  # anything that it raises is a bug, and the loop reports it
            self.add(())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as calls:
            while self._waiting or self._under_way:
                serial = self._next() if self._under_way < CALLS_AT_ONCE else None
                if serial is None:
                    await asyncio.sleep(LOOK_S)
                    continue
                self._under_way += 1
                calls.create_task(self._call(serial))
                await asyncio.sleep(self._pause_s)

    def _next(self) -> str | None:
        """The first that waits and is connected; None: nobody is."""
        for _ in range(len(self._waiting)):
            serial = self._waiting.popleft()
            if not self._wanted(serial):
                continue
            if self._online(serial):
                return serial
            self._waiting.append(serial)
        return None

    async def _call(self, serial: str) -> None:
        try:
            result = await self._invoke(serial, self._command, None, CALL_TIMEOUT_S)
        except (MethodError, BusError):
            if not self._stopped:
                self._waiting.append(serial)
        else:
            self._called(serial, result.status)
        finally:
            self._under_way -= 1

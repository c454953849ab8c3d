"""Calls a command on many chargers at a rate: on each that is connected, one after the other."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

from cloud_stub.bus.api import BusError
from cloud_stub.hub.methods import Invoke, MethodError

CALL_TIMEOUT_S = 30.0
CALLS_AT_ONCE = 64
"""Calls that wait for their answer; the rate drops when there are more."""
AGAIN_S = 5.0
"""Until a charger that is not connected, or has not answered, is looked at again."""
REFUSED = 400
"""A charger that is about to reboot or has an update under way says so: it may be another moment's answer."""
REFUSED_AGAIN_S = 60.0
REFUSALS_MAX = 5
"""So often a charger may refuse before that is its answer."""

Wanted = Callable[[str], bool]
"""Whether a charger that waits must still be called."""
Called = Callable[[str, int], None]
"""Hears of the answer of a charger: serial and status."""


class Methods(Protocol):
    """The direct methods of the hub, wherever that is."""

    @property
    def invoke(self) -> Invoke:
        """Call one. MethodError: there is no answer; BusError: there is no way to the hub."""

    def online(self, device_id: str) -> bool:
        """Whether a device is connected."""


@dataclass(frozen=True, slots=True)
class CallsSeen:
    """How calls go: chargers that wait for theirs, calls that wait for their answer, and why the last one got none;
    empty: it got one."""

    waiting: int
    under_way: int
    trouble: str


class Calls:
    """A task that lives as long as somebody waits to be called. Who does not answer is called again later.

    Without a hub everybody waits: nothing is lost, and `seen` says why.
    """

    def __init__(self, command: int, per_s: float, *, methods: Methods, wanted: Wanted, called: Called) -> None:
        self._command = str(command)
        self._pause_s = 1 / per_s
        self._methods = methods
        self._wanted = wanted
        self._called = called
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, str]] = []
        """A heap of when, and in which order, to call whom."""
        self._refusals: Counter[str] = Counter()
        self._under_way = 0
        self._trouble = ""
        self._stopped = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def seen(self) -> CallsSeen:
        """How it goes."""
        return CallsSeen(len(self._waiting), self._under_way, self._trouble)

    def add(self, serials: Iterable[str], *, after_s: float = 0.0) -> None:
        """Call these as well, `after_s` from now."""
        loop = asyncio.get_running_loop()
        for serial in serials:
            self._wait(serial, loop.time() + after_s)
        if self._waiting and self._task is None:
            self._task = loop.create_task(self._run(), name=f"calls of {self._command}")
            self._task.add_done_callback(self._ended)

    def stop(self) -> None:
        """Call nobody any more. Who was called may still answer."""
        self._stopped = True
        self._waiting.clear()
        self._changed.set()

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

    def _wait(self, serial: str, due_s: float) -> None:
        if not self._stopped:
            heappush(self._waiting, (due_s, next(self._numbers), serial))
            self._changed.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        turn_s = loop.time()
        """When the rate allows another call."""
        async with asyncio.TaskGroup() as calls:
            while self._waiting or self._under_way:
                self._changed.clear()
                now, room = loop.time(), self._under_way < CALLS_AT_ONCE
                serial = self._next(now) if room and now >= turn_s else None
                if serial is not None:
                    turn_s = now + self._pause_s
                    self._under_way += 1
                    calls.create_task(self._call(serial))
                else:
                    await self._rest(max(turn_s, self._waiting[0][0]) if room and self._waiting else None)

    async def _rest(self, until_s: float | None) -> None:
        """Until it is time for the next, or something has changed."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until_s):
                await self._changed.wait()

    def _next(self, now: float) -> str | None:
        """The first whose time has come and who is connected; None: nobody."""
        while self._waiting and self._waiting[0][0] <= now:
            serial = heappop(self._waiting)[2]
            if not self._wanted(serial):
                continue
            if self._methods.online(serial):
                return serial
            self._wait(serial, now + AGAIN_S)
        return None

    async def _call(self, serial: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            result = await self._methods.invoke(serial, self._command, None, CALL_TIMEOUT_S)
        except (MethodError, BusError) as error:
            self._trouble = str(error)
            self._wait(serial, loop.time() + AGAIN_S)
        else:
            self._trouble = ""
            if result.status == REFUSED and self._refuses(serial):
                self._wait(serial, loop.time() + REFUSED_AGAIN_S)
            else:
                self._called(serial, result.status)
        finally:
            self._under_way -= 1
            self._changed.set()

    def _refuses(self, serial: str) -> bool:
        """Count it; whether the charger is to be asked another time."""
        self._refusals[serial] += 1
        return self._refusals[serial] < REFUSALS_MAX

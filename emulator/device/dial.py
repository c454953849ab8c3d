"""Gets the charger to its hub: the boot at first, and after every loss a wait and the stages that are needed again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from emulator.boot.address import keep_lease
from emulator.boot.clock import keep_time
from emulator.boot.outcome import WHY_OF_NET, Why
from emulator.boot.sequence import BootReport
from emulator.boot.state import Boot
from emulator.errors import NetError
from emulator.net.hub import HubConnection

Greet = Callable[[HubConnection], Awaitable[None]]


class Sequence(Protocol):
    """What runs the boot stages: `boot.stages.BOOT`."""

    async def run(self, boot: Boot, report: BootReport, *, start: str) -> None: ...


class Dial:
    """One life's connections. `greet` is called with each; `wake` after it, and when the connection ends."""

    __slots__ = (
        "_attempt",
        "_boot",
        "_dialling",
        "_greet",
        "_lease_keeper",
        "_sequence",
        "_time_keeper",
        "_wake",
        "report",
    )

    def __init__(self, boot: Boot, sequence: Sequence, greet: Greet, wake: Callable[[], None]) -> None:
        self.report = BootReport()
        self._boot = boot
        self._sequence = sequence
        self._greet = greet
        self._wake = wake
        self._dialling = False
        self._attempt = 0
        self._time_keeper: asyncio.Task[None] | None = None
        self._lease_keeper: asyncio.Task[None] | None = None
        boot.lease_wanted = self._release_lease

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to connect, unless that is going on."""
        if not self._dialling:
            self._dialling = True
            self._boot.lease_won = lambda: self._keep_lease(tasks)
            tasks.create_task(self._connect(tasks))

    def why_lost(self) -> Why:
        """Why the last connection ended."""
        hub = self._boot.hub
        error = hub.closed.result() if hub is not None and hub.closed.done() else None
        return WHY_OF_NET[error.reason] if error is not None else Why.CLOSED

    async def _connect(self, tasks: asyncio.TaskGroup) -> None:
        boot, start = self._boot, "link"
        if boot.hub is not None:
            await asyncio.sleep(boot.delay_s(self._attempt))
            start = boot.restart_at("names", self.why_lost())
        await self._sequence.run(boot, self.report, start=start)
        if self._time_keeper is None:
            self._time_keeper = tasks.create_task(keep_time(boot))
        hub = boot.hub
        assert hub is not None  # noqa: S101 - the stage "hub" has passed
        hub.closed.add_done_callback(lambda closed: self._wake())
        self._attempt += 1
        try:
            await self._greet(hub)
        except NetError as error:
            boot.env.trace.emit("device.greeting_failed", why=error.reason.value)
        else:
            self._attempt = 0
        finally:
            self._dialling = False
            self._wake()

    def _keep_lease(self, tasks: asyncio.TaskGroup) -> None:
        """Renew the lease from now on, hub or no hub: it runs out while the stages after `address` are tried again."""
        self._lease_keeper = tasks.create_task(keep_lease(self._boot))

    async def _release_lease(self) -> None:
        """A new lease is on its way: the old one's keeper must not hold the DHCP port."""
        if self._lease_keeper is not None:
            self._lease_keeper.cancel()
            await asyncio.wait([self._lease_keeper])
            self._lease_keeper = None

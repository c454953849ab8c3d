"""Gets the charger to its hub: the boot at first, and after every loss a wait and the stages that are needed again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from emulator.boot.address import keep_lease
from emulator.boot.clock import keep_time
from emulator.boot.outcome import WHY_OF_NET, Why
from emulator.boot.recovery import GREETING, recover, recover_loss
from emulator.boot.sequence import BootReport
from emulator.boot.state import Boot
from emulator.boot.trust import keep_trust
from emulator.errors import NetError
from emulator.net.hub import HubConnection

Greet = Callable[[HubConnection], Awaitable[None]]
BACK_TO = "names"
"""The stage that a session lost is won back from, while link and lease hold."""


class Sequence(Protocol):
    """What runs the boot stages: `boot.stages.BOOT`."""

    async def run(self, boot: Boot, report: BootReport, *, start: str) -> None: ...


class Dial:
    """One life's connections. `greet` is called with each; `wake` after it, and when the connection ends. What it
    does for longer runs in `tasks`.

    A session counts once it is greeted: a hub that takes the login and acknowledges nothing makes the waits grow.
    """

    __slots__ = (
        "_boot",
        "_dialling",
        "_greet",
        "_greeted",
        "_lease_keeper",
        "_sequence",
        "_tasks",
        "_time_keeper",
        "_trust_keeper",
        "_wake",
        "report",
    )

    def __init__(
        self, boot: Boot, sequence: Sequence, greet: Greet, wake: Callable[[], None], tasks: asyncio.TaskGroup
    ) -> None:
        self.report = BootReport()
        self._boot = boot
        self._sequence = sequence
        self._greet = greet
        self._wake = wake
        self._tasks = tasks
        self._dialling: asyncio.Task[None] | None = None
        self._greeted = False
        self._time_keeper: asyncio.Task[None] | None = None
        self._lease_keeper: asyncio.Task[None] | None = None
        self._trust_keeper: asyncio.Task[None] | None = None
        boot.lease_wanted = self._release_lease
        boot.lease_won = self._keep_lease
        boot.bundle_wanted = self._keep_trust

    def start(self) -> None:
        """Begin to connect, unless that is going on."""
        if self._dialling is None:
            self._dialling = self._tasks.create_task(self._connect())

    def redial(self) -> None:
        """Give the link up and have `start` called for another, whatever is going on."""
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
        self._boot.restart_link()
        self._boot.hub = None
        self._wake()

    def why_lost(self) -> tuple[Why, str]:
        """Why the last connection ended, and more about it for people."""
        hub = self._boot.hub
        error = hub.closed.result() if hub is not None and hub.closed.done() else None
        return (WHY_OF_NET[error.reason], error.detail) if error is not None else (Why.CLOSED, "")

    async def _connect(self) -> None:
        boot = self._boot
        start = "link" if boot.hub is None else await self._recover()
        await self._sequence.run(boot, self.report, start=start)
        if self._time_keeper is None:
            self._time_keeper = self._tasks.create_task(keep_time(boot))
        hub = boot.hub
        assert hub is not None  # noqa: S101 - the stage "hub" has passed
        hub.closed.add_done_callback(self._hub_ended)
        self._greeted = False
        try:
            await self._greet(hub)
        except NetError as error:
            boot.env.trace.emit("device.greeting_failed", why=error.reason.value, detail=error.detail)
            hub.abort(error)
        else:
            self._greeted = True
            boot.reconnect.online()
        finally:
            if self._dialling is asyncio.current_task():
                self._dialling = None
            self._wake()

    def _hub_ended(self, closed: "asyncio.Future[NetError | None]") -> None:
        self._wake()

    async def _recover(self) -> str:
        why, _ = self.why_lost()
        self._boot.trust.suspect(why)
        if self._greeted:
            return await recover_loss(self._boot, why, back_to=BACK_TO)
        return await recover(self._boot, GREETING, why, back_to=BACK_TO)

    def _keep_lease(self) -> None:
        """Renew the lease from now on, hub or no hub: it runs out while the stages after `address` are tried again."""
        self._lease_keeper = self._tasks.create_task(keep_lease(self._boot))

    def _keep_trust(self, after_s: float) -> None:
        """Ask for the trust bundle in the background from `after_s` on; what was to be asked before that is off."""
        if self._trust_keeper is not None:
            self._trust_keeper.cancel()
        self._trust_keeper = self._tasks.create_task(self._refresh(after_s))

    async def _refresh(self, after_s: float) -> None:
        await keep_trust(self._boot, after_s)
        self._wake()  # the version of the bundle is an observation

    async def _release_lease(self) -> None:
        """A new lease is on its way: the old one's keeper must not hold the DHCP port."""
        if self._lease_keeper is not None:
            self._lease_keeper.cancel()
            await asyncio.wait([self._lease_keeper])
            self._lease_keeper = None

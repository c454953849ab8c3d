"""What a bus has taken and its broker has not acknowledged yet: how many messages, and what becomes of each."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud_stub.bus.api import CONGESTED, BusError, Delivery
from cloud_stub.bus.journal import Journal


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way to the broker."""

    message: Delivery
    acknowledged: "asyncio.Future[None] | None"
    """None: it was acknowledged once already, and comes out of the journal."""
    dup: bool = False
    """It was sent before."""


class OpenMessages:
    """Counts the messages of a bus that are open, at most `count_max`, and closes each once.

    What the broker has acknowledged is kept in the `journal`, if there is one, and goes to `deliver` for the
    subscribers in this process: reading it back from the broker would cost twice what publishing does.
    """

    def __init__(self, deliver: Callable[[Delivery], None], journal: Journal | None, count_max: int) -> None:
        self._deliver = deliver
        self._journal = journal
        self._count_max = count_max
        self._count = 0
        self._none = asyncio.Event()
        self._lost_at: float | None = None
        self.repeated = 0
        """Messages that were sent again out of the journal."""

    @property
    def congested(self) -> bool:
        """More than `CONGESTED` are open."""
        return self._count > CONGESTED

    def admit(self, *, running: bool) -> "asyncio.Future[None]":
        """One more: what its publisher waits for. It has failed already if the bus is not `running` or has no room."""
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not running:
            acknowledged.set_exception(BusError("bus is stopped"))
        elif self._count >= self._count_max:
            acknowledged.set_exception(BusError(f"bus has {self._count_max} messages waiting"))
        else:
            self._count += 1
        return acknowledged

    def acknowledge(self, outgoing: Outgoing) -> None:
        """The broker has it."""
        if outgoing.acknowledged is None:
            self._answered(outgoing, None)
            return
        try:
            if self._journal is not None:
                self._journal.add(outgoing.message)
        except BusError as error:
            self._close(outgoing, error)
            return
        self._close(outgoing, None)
        # A turn of the loop later and each by itself, so that a fault of one subscriber is nobody else's.
        asyncio.get_running_loop().call_soon(self._deliver, outgoing.message)

    def refuse(self, outgoing: Outgoing, reason: str) -> None:
        """The broker does not take it, or MQTT does not allow it."""
        self._answered(outgoing, BusError(f"bus: {reason}"))

    def give_up(self, outgoing: Outgoing, reason: str) -> None:
        """It waits no longer. If it came out of the journal it is still there, and comes again."""
        self._close(outgoing, BusError(reason))

    def lost(self) -> None:
        """The connection to the broker has ended."""
        self._lost_at = asyncio.get_running_loop().time()

    def again(self, waiting: Sequence[Outgoing]) -> list[Outgoing]:
        """What a new connection is to send, in this order: what the broker may have lost, then what is waiting."""
        if self._journal is None:
            return list(waiting)
        lost_at = asyncio.get_running_loop().time() if self._lost_at is None else self._lost_at
        repeated = [Outgoing(message, None, dup=True) for message in self._journal.recent(lost_at)]
        fresh = [outgoing for outgoing in waiting if outgoing.acknowledged is not None]
        self._count += len(repeated) + len(fresh) - len(waiting)
        self.repeated += len(repeated)
        return [*repeated, *fresh]

    async def none_left(self, timeout_s: float) -> None:
        """Wait until none is open, or for so long."""
        if self._count:
            self._none.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._none.wait()

    def end(self) -> None:
        """Free the journal; nothing is opened any more."""
        if self._journal is not None:
            self._journal.close()

    def _answered(self, outgoing: Outgoing, error: BusError | None) -> None:
        if outgoing.acknowledged is None and self._journal is not None:
            self._journal.settled()
        self._close(outgoing, error)

    def _close(self, outgoing: Outgoing, error: BusError | None) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()
        acknowledged = outgoing.acknowledged
        if acknowledged is None or acknowledged.done():
            return
        if error is None:
            acknowledged.set_result(None)
        else:
            acknowledged.set_exception(error)

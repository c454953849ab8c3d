"""What a life of the charger sleeps by: a time, or a bell that anybody may ring before."""

import asyncio


class Alarm:
    """One task sleeps, any other code of the same loop rings. An Event and a Timeout would take three times as much."""

    __slots__ = ("_rung", "_sleeper", "_timer")

    def __init__(self) -> None:
        self._rung = False
        self._sleeper: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        """End the sleep, or have the next one end at once."""
        self._rung = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def reset(self) -> None:
        """Forget that it was rung."""
        self._rung = False

    def bring_forward(self, when: float) -> None:
        """Whoever sleeps now sleeps until `when` at the latest."""
        if self._timer is not None and when < self._timer.when():
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_at(when, self.ring)

    async def sleep_until(self, when: float) -> None:
        """Return when it is rung, or at `when` of the loop's clock; at once if it was rung since `reset`."""
        if self._rung:
            return
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        self._timer = loop.call_at(when, self.ring)
        try:
            await self._sleeper
        finally:
            self._timer.cancel()
            self._sleeper = self._timer = None

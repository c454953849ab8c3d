"""What a life of the charger sleeps by: a time, or a bell that anybody may ring before."""

import asyncio


class Alarm:
    """One task sleeps, any other code of the same loop rings. An Event and a Timeout would take three times as much."""

    __slots__ = ("_rung", "_sleeper")

    def __init__(self) -> None:
        self._rung = False
        self._sleeper: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """End the sleep, or have the next one end at once."""
        self._rung = True
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def reset(self) -> None:
        """Forget that it was rung."""
        self._rung = False

    async def sleep_until(self, when: float) -> None:
        """Return when it is rung, or at `when` of the loop's clock; at once if it was rung since `reset`."""
        if self._rung:
            return
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        timer = loop.call_at(when, self.ring)
        try:
            await self._sleeper
        finally:
            timer.cancel()
            self._sleeper = None

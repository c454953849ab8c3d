"""Keeping one connection to a broker: opened, opened again when it is lost, given up on for a while."""

import asyncio
from collections.abc import Awaitable, Callable

from cloud_stub.bus.api import BusError
from emulator.wire.address import Address

START_S = 10.0
RETRY_FIRST_S, RETRY_MAX_S = 0.1, 2.0
PATIENCE_S = 30.0
"""How long messages wait for a broker that is away before they fail."""

Connect = Callable[[Callable[[], None]], Awaitable[None]]


class Keeper:
    """Calls `connect` again and again. It opens a connection, calls its argument, and raises BusError at the end of it.

    When the broker has been away for `patience_s`, and then after every try, `give_up` gets the reason.
    """

    def __init__(
        self, broker: Address, connect: Connect, give_up: Callable[[str], None], *, patience_s: float = PATIENCE_S
    ) -> None:
        self._broker = broker
        self._connect = connect
        self._give_up = give_up
        self._patience_s = patience_s
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Started, and not stopped."""
        return self._task is not None

    async def start(self) -> None:
        """Open the first connection. BusError when there is none within `START_S`."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep(ready), name="bus")
        try:
            async with asyncio.timeout(START_S):
                await ready
        except (TimeoutError, BusError) as error:
            await self.stop()
            raise BusError(f"bus: no MQTT 5 broker at {self._broker}: {error or 'no answer'}") from None

    async def stop(self) -> None:
        """End the connection."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _keep(self, ready: "asyncio.Future[None]") -> None:
        loop = asyncio.get_running_loop()
        delay_s, lost_at = RETRY_FIRST_S, loop.time()

        def connected() -> None:
            nonlocal delay_s
            delay_s = RETRY_FIRST_S
            if not ready.done():
                ready.set_result(None)

        while True:
            try:
                await self._connect(connected)
            except BusError as error:
                if not ready.done():
                    ready.set_exception(error)
                    return
            if delay_s == RETRY_FIRST_S:
                lost_at = loop.time()
            elif loop.time() - lost_at > self._patience_s:
                self._give_up(f"bus: no broker at {self._broker} for {self._patience_s} s")
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_MAX_S)

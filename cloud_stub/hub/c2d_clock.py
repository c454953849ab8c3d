"""Lets time act on the queues of C2D messages: deliveries whose lock has ended, messages that have expired."""

import asyncio
from collections.abc import Callable

from cloud_stub.state.c2d_queues import C2dQueues
from cloud_stub.state.errors import HubError
from emulator.clock import Utc

LOOK_S_MIN, LOOK_S_MAX = 0.05, 60.0
"""Between two looks at the queues while something waits; other processes fill them too."""


class C2dClock:
    """One timer, set only while something waits. `ready` is called with each device whose messages are due again."""

    def __init__(self, queues: C2dQueues, utc: Utc, ready: Callable[[str], None]) -> None:
        self._queues = queues
        self._utc = utc
        self._ready = ready
        self._timer: asyncio.TimerHandle | None = None
        self.failures = 0
        """Looks that the hub's state did not allow."""

    def set(self) -> None:
        """Something was queued or delivered: look again when it is due."""
        try:
            deadline = self._queues.deadline()
        except HubError:
            self.failures += 1
            deadline = self._utc().timestamp() + LOOK_S_MAX
        if deadline is None:
            return
        loop = asyncio.get_running_loop()
        wait_s = min(LOOK_S_MAX, max(LOOK_S_MIN, deadline - self._utc().timestamp()))
        if self._timer is None or loop.time() + wait_s < self._timer.when():
            self.stop()
            self._timer = loop.call_later(wait_s, self._look)

    def stop(self) -> None:
        """Look no more, until it is set again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        try:
            woken = self._queues.expire()
        except HubError:
            self.failures += 1
            woken = []
        for device_id in woken:
            self._ready(device_id)
        self.set()

"""Messages by our `HubConnection` over TLS: at a pace, or as fast as they are acknowledged.

Prints one line when everybody is logged in, and another when the last message is acknowledged.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import uvloop

from emulator.net.hub import HubConnection
from emulator.profile import load_profile
from emulator.wire.iothub import charger_events_topic
from tests.bench.latency import due_times, waits
from tests.bench.login_job import LoginJob, Stopwatch, done
from tests.bench.login_ours import Clients
from tests.bench.message import PAYLOAD, WINDOW, shares

LEAD_S = 0.1
"""From the first line to the first message: whoever measures reads its clocks meanwhile."""


class Sender:
    """Sends one client's messages, each as soon as it is due and at most `WINDOW` wait for their PUBACK.

    A message's wait is from the moment when it is due, not from when there is room for it: whoever falls behind has
    longer waits, not fewer messages. `due` are times of the loop.
    """

    def __init__(self, hub: HubConnection, topic: str, due: Iterator[float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._hub = hub
        self._topic = topic
        self._due = due
        self._next = next(due, None)
        self._ready: deque[float] = deque()
        self._open = 0
        self.waits_s: list[float] = []
        """Of those that were acknowledged."""
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._look()

    def _look(self) -> None:
        now = self._loop.time()
        while self._next is not None and self._next <= now:
            self._ready.append(self._next)
            self._next = next(self._due, None)
        if self._next is not None:
            self._loop.call_at(self._next, self._look)
        self._send()

    def _send(self) -> None:
        while self._ready and self._open < WINDOW:
            self._open += 1
            due = self._ready.popleft()
            self._hub.publish(self._topic, PAYLOAD).add_done_callback(partial(self._sent, due))
        if not self._open and self._next is None and not self.done.done():
            self.done.set_result(None)

    def _sent(self, due: float, answer: "asyncio.Future[tuple[int, ...]]") -> None:
        self._open -= 1
        if answer.exception() is None:
            self.waits_s.append(self._loop.time() - due)
        self._send()


def _senders(job: LoginJob, clients: Clients, begins: float) -> list[Sender]:
    settings, counts = load_profile().hub, shares(job.messages, len(clients.open))
    found = []
    for number, (device_id, hub) in enumerate(clients.open.items()):
        topic = charger_events_topic(device_id, settings.routing_id, settings.installation_id)
        due = due_times(counts[number], job.per_s, number=number, clients=len(counts))
        found.append(Sender(hub, topic, (begins + after_s for after_s in due)))
    return found


async def _run(job: LoginJob) -> None:
    clients = Clients(job)
    await clients.login()
    loop = asyncio.get_running_loop()
    done({"online": len(clients.open)})
    watch, begins = Stopwatch(), loop.time() + LEAD_S
    senders = _senders(job, clients, begins)
    await asyncio.gather(*(sender.done for sender in senders))
    took = {**watch.read(), "seconds": loop.time() - begins}
    waits_s = [wait_s for sender in senders for wait_s in sender.waits_s]
    done({**took, "acknowledged": len(waits_s), **(asdict(waits(waits_s)) if waits_s else {})})
    for hub in clients.open.values():
        hub.abort()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(LoginJob.read()))

"""What stub services share: a bounded request history, a fault set, and the loop that answers datagrams."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, ClassVar

from emulator.clock import Utc
from emulator.errors import NetError
from emulator.faults import Fault, FaultSet, Injected
from emulator.net.api import Address, Datagrams, Host

HISTORY_MAX = 2000

WhoIs = Callable[[str], str]
"""Gives the serial of the charger at an IP address, or the address itself where no charger is known."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as the service saw it. `request` and `reply` are short texts for people and tests, no secrets."""

    t: float
    sender: str
    request: str
    reply: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """One datagram to send back, `delay_s` from now. None as `data` never occurs: silence is an empty list."""

    data: bytes
    to: Address
    delay_s: float = 0.0


class Service:
    """One stub service. `name` is its name in scenarios, history and control; also the family of its faults."""

    name: ClassVar[str]
    FAULTS: ClassVar[tuple[type[Fault], ...]] = ()

    def __init__(self, *, rng: Random, utc: Utc, now: Callable[[], float]) -> None:
        self.rng = rng
        self.utc = utc
        self.now = now
        self.faults = FaultSet(rng, now)
        self.history: deque[Exchange] = deque(maxlen=HISTORY_MAX)

    def record(self, sender: Address, request: str, reply: str, **data: Any) -> None:
        """Append to the history; the oldest entry goes when it is full."""
        self.history.append(Exchange(self.now(), str(sender), request, reply, data))

    def inject(self, fault: Fault) -> Injected:
        """Make a fault of this service active."""
        return self.faults.inject(fault)

    def history_json(self) -> list[dict[str, Any]]:
        """The history as JSON-able records, oldest first."""
        return [asdict(exchange) for exchange in self.history]

    async def collect(self) -> None:
        """Bring the history up to date, where it is written in other processes."""

    async def forget(self) -> None:
        """Forget the history."""
        self.history.clear()

    async def start(self, host: Host) -> None:
        """Begin to serve on `host`."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Free the ports. Every service can be stopped and started again."""
        raise NotImplementedError


class DatagramService(Service):
    """A service that answers datagrams. Subclasses write `answer` and nothing else."""

    port: ClassVar[int]

    def __init__(self, *, rng: Random, utc: Utc, now: Callable[[], float]) -> None:
        super().__init__(rng=rng, utc=utc, now=now)
        self._socket: Datagrams | None = None
        self._task: asyncio.Task[None] | None = None

    def answer(self, request: bytes, sender: Address) -> list[Reply]:
        """The replies to one request: [] is silence, two are a duplicate. Bad bytes are answered with silence."""
        raise NotImplementedError

    async def start(self, host: Host) -> None:
        self._socket = await host.udp(self.port, broadcast=True)
        self._task = asyncio.get_running_loop().create_task(self._serve(self._socket), name=f"{self.name} service")

    async def stop(self) -> None:
        task, socket = self._task, self._socket
        self._task = self._socket = None
        if socket is not None:
            socket.close()
        if task is not None:
            await task

    async def _serve(self, socket: Datagrams) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                request, sender = await socket.receive()
            except NetError:
                return  # closed by stop()
            for reply in self.answer(request, sender):
                if reply.delay_s > 0:
                    loop.call_later(reply.delay_s, socket.send, reply.data, reply.to)
                else:
                    socket.send(reply.data, reply.to)

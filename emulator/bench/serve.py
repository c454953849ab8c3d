"""The bench on a socket of the runner's own. The charger's `Host` has no part in it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from emulator.bench.address import BenchAt
from emulator.bench.app import BenchApi
from emulator.bench.condition import Condition
from emulator.bench.faults import Faults
from emulator.bench.timeline import Timeline
from emulator.bench.visible import Reported
from emulator.clock import Utc
from emulator.device.charger import Charger
from emulator.errors import UsageError
from emulator.net.api import Host
from emulator.net.asgi import serving
from emulator.net.place import Place, Setup
from emulator.net.surroundings import Surroundings
from emulator.trace import TraceEvent

CONNECTIONS_MAX = 128


class BenchServer:
    """Listens from the start, so that a port that is taken is found out early, and serves once there is a charger.

    `see` is a `Sink` for the charger's events; `around` puts its host behind a link and a router that can be broken.
    """

    def __init__(self, at: BenchAt, utc: Utc, seed: str) -> None:
        self._at = at
        self._held = _bind(at)
        self._now = asyncio.get_running_loop().time
        self._timeline = Timeline(utc().isoformat())
        self._condition = Condition()
        self._reported = Reported()
        self._surroundings = Surroundings(
            Setup(),
            lambda purpose: Random(f"{seed}/{purpose}"),  # noqa: S311 - repeatable, never for secrets
            self._now,
            names={},
        )

    def see(self, event: TraceEvent) -> None:
        """Take in one event."""
        self._timeline.see(event)
        self._condition.see(event)

    def around(self, host: Host) -> Host:
        """The charger's host where it hangs."""
        return self._surroundings.around(host, host.name, Place())

    @property
    def url(self) -> str:
        """Where it is."""
        host = f"[{self._at.host}]" if self._at.host.version == 6 else str(self._at.host)
        return f"http://{host}:{self._held.getsockname()[1]}"

    def close(self) -> None:
        """Free the port."""
        self._held.close()

    @asynccontextmanager
    async def serving(self, charger: Charger) -> AsyncIterator[None]:
        """Serve this charger's bench."""
        charger.uplink.acknowledged = self._reported.heard
        faults = Faults(charger, self._surroundings, self._now)
        api = BenchApi(charger, faults, self._timeline, self._condition, self._reported, self._at.access)
        async with serving(api.app(), self._held, name="bench", connections_max=CONNECTIONS_MAX):
            try:
                yield
            finally:
                self._timeline.close()


def _bind(at: BenchAt) -> socket.socket:
    family = socket.AF_INET if at.host.version == 4 else socket.AF_INET6
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((str(at.host), at.port))
        held.listen()
    except OSError as error:
        held.close()
        raise UsageError(f"--bench {at.host}:{at.port}: {error.strerror}") from None
    return held

"""Logins by our `HubConnection`, each client from an address of its own."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from emulator.clock import Rtc
from emulator.net.api import Address
from emulator.net.hub import HubConnection
from emulator.net.loopback import LoopbackHost, LoopbackPlan
from emulator.net.tls import client_context
from emulator.profile import load_profile
from emulator.wire.mqtt import Connect
from tests.bench.login_job import FILTERS, KEEP_ALIVE_S, QOS, Account, LoginJob, Stopwatch, done

FIRST_HOST = 20_000  # the site's DHCP server starts lower
HUB_PORT = 8883


class Clients:
    """Logs the job's devices in and keeps their connections."""

    def __init__(self, job: LoginJob) -> None:
        self._job = job
        self._plan = LoopbackPlan.from_json(job.loopback)
        self._profile = load_profile()
        self._context = client_context(Path(job.ca).read_text(encoding="ascii"))
        self._rtc = Rtc(asyncio.get_running_loop().time, built_at=datetime.now(UTC))
        self._room = asyncio.Semaphore(job.at_once)
        self.open: dict[str, HubConnection] = {}

    async def login(self) -> None:
        """Everybody, `at_once` at a time."""
        addresses = _addresses(self._plan.prefix)
        await asyncio.gather(*(self._login(account, next(addresses)) for account in self._job.accounts))

    async def _login(self, account: Account, address: str) -> None:
        async with self._room:
            host = LoopbackHost(self._plan, account.device_id, address=address)
            password = account.password.encode()
            hub = await HubConnection.open(
                host,
                Address(self._job.host, HUB_PORT),
                server_name=self._job.hub,
                context=self._context,
                rtc=self._rtc,
                connect=Connect(account.device_id, account.username, password, KEEP_ALIVE_S, True, None),
                profile=self._profile,
            )
            await asyncio.gather(*(hub.subscribe([(each, QOS)]) for each in FILTERS))
            self.open[account.device_id] = hub


def _addresses(prefix: str) -> Iterator[str]:
    return (f"{prefix}.{number >> 8}.{number & 255}" for number in range(FIRST_HOST, 1 << 16))


async def _run(job: LoginJob) -> None:
    clients = Clients(job)
    watch = Stopwatch()
    await clients.login()
    done(watch.read())
    for hub in clients.open.values():
        hub.abort()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(LoginJob.read()))

"""Connections that are there and do little: what each of them costs the cloud's process in memory."""

import asyncio
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiomqtt

from cloud_stub.bus.api import Kind, topic_of
from emulator.remote import Produced
from emulator.wire.mqtt import Connect, encode
from tests.bench.figure import Figure, figure
from tests.bench.login_job import Account, LoginJob
from tests.bench.processes import RUN_S, Cloud, child, cloud, say
from tests.bench.scale import Scale

CLIENT = "hold_client"
AT_ONCE = 64
SLOW, HALF_OPEN, WARM_UP = 250, 400, 100
FLOOD_EACH, FLOOD_BYTES = 64, 8_000
"""Direct methods for each slow reader: more than the kernels on both sides and the endpoint take together."""
IN_FLIGHT = 64
SETTLE_S = 1.0
MESSAGE_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class Held:
    """Memory per connection of each kind, and how many logins were held in the end."""

    idle_kib: float
    slow_kib: float
    half_open_kib: float
    online: int


async def holding(scale: Scale) -> list[Figure]:
    """A fresh cloud each time."""
    seen: list[Held] = []
    for _ in range(scale.runs):
        async with cloud() as place:
            seen.append(await hold(place, scale.held))
    half = ", ".join(HALVES)
    return [
        figure("endpoint.kib_per_idle", [each.idle_kib for each in seen], note=f"{scale.held} at once"),
        figure("endpoint.kib_per_slow_reader", [each.slow_kib for each in seen], note=f"{SLOW} beside them"),
        figure("endpoint.kib_per_half_open", [each.half_open_kib for each in seen], note=f"{HALF_OPEN}: {half}"),
    ]


async def hold(place: Cloud, idle: int) -> Held:
    """All kinds one after the other, each beside those before. BenchError: they do not come online."""
    devices = {name: await place.remote.produce(count, name) for name, count in _counts(idle).items()}
    async with _clients(place, devices["WRM"]):
        await _flood(place, devices["SLW"])  # nobody gets it: this is what passing it on costs
    await place.drained()
    empty = await _resident_kib(place)
    async with _clients(place, devices["IDL"]):
        with_idle = await _resident_kib(place)
        async with _clients(place, devices["SLW"]) as slow:
            os.kill(slow.pid, signal.SIGSTOP)
            try:
                await _flood(place, devices["SLW"])
                with_slow = await _resident_kib(place)
                with _half_open(place, devices["HLF"]):
                    with_half = await _resident_kib(place)
                    online = int((await place.clients())["online"])
            finally:
                os.kill(slow.pid, signal.SIGCONT)
    return Held(
        (with_idle - empty) / idle,
        (with_slow - with_idle) / SLOW,
        (with_half - with_slow) / HALF_OPEN,
        online,
    )


def _counts(idle: int) -> dict[str, int]:
    return {"WRM": WARM_UP, "IDL": idle, "SLW": SLOW, "HLF": HALF_OPEN}


@asynccontextmanager
async def _clients(place: Cloud, devices: Sequence[Produced]) -> AsyncIterator[asyncio.subprocess.Process]:
    """They have logged in, in a process of their own."""
    job = LoginJob.of(place.ready, devices, at_once=AT_ONCE)
    async with child(sys.executable, "-m", f"tests.bench.{CLIENT}", job=job.as_json()) as process:
        await say(process, CLIENT, RUN_S)
        yield process


async def _resident_kib(place: Cloud) -> float:
    await asyncio.sleep(SETTLE_S)
    return float((await place.clients())["resident_kib"])


async def _flood(place: Cloud, devices: Sequence[Produced]) -> None:
    """Methods that nobody waits for, by way of the bus."""
    broker, room = place.ready["mosquitto"], asyncio.Semaphore(IN_FLIGHT)

    async def call(client: aiomqtt.Client, serial: str, number: int) -> None:
        async with room:
            await client.publish(topic_of(serial, Kind.METHOD, "hold", f"{serial}-{number}"), bytes(FLOOD_BYTES), qos=1)

    async with aiomqtt.Client(broker["host"], broker["port"], protocol=aiomqtt.ProtocolVersion.V5) as client:
        client.pending_calls_threshold = 2 * IN_FLIGHT
        for number in range(FLOOD_EACH):
            await asyncio.gather(*(call(client, each.serial, number) for each in devices))


# Connections that stop in the middle

Dial = Callable[[LoginJob, Account], socket.socket]


def _tcp(job: LoginJob, account: Account) -> socket.socket:
    return socket.create_connection((job.host, job.port))


def _half_hello(job: LoginJob, account: Account) -> socket.socket:
    opened = _tcp(job, account)
    opened.sendall(bytes.fromhex("160301020001000001fc0303"))  # and half a kilobyte more that does not come
    return opened


def _tls(job: LoginJob, account: Account) -> ssl.SSLSocket:
    return job.context().wrap_socket(_tcp(job, account), server_hostname=job.hub)


def _half_connect(job: LoginJob, account: Account) -> socket.socket:
    opened, connect = _tls(job, account), _connect(account)
    opened.sendall(connect[: len(connect) // 2])
    return opened


def _half_message(job: LoginJob, account: Account) -> socket.socket:
    opened = _tls(job, account)
    opened.sendall(_connect(account))
    opened.recv(4)
    opened.sendall(b"\x30" + bytes((MESSAGE_BYTES % 128 | 0x80, MESSAGE_BYTES // 128)) + bytes(MESSAGE_BYTES // 2))
    return opened


def _connect(account: Account) -> bytes:
    return encode(Connect(account.device_id, account.username, account.password.encode(), 300))


HALVES: dict[str, Dial] = {
    "TCP alone": _tcp,
    "half a ClientHello": _half_hello,
    "TLS alone": _tls,
    "half a CONNECT": _half_connect,
    "half a PUBLISH": _half_message,
}


@contextmanager
def _half_open(place: Cloud, devices: Sequence[Produced]) -> Iterator[None]:
    """As many of each kind. The hub cuts most of them after a minute: be quick."""
    job = LoginJob.of(place.ready, devices, at_once=1)
    with ExitStack() as stack:
        for number, account in enumerate(job.accounts):
            dial = tuple(HALVES.values())[number % len(HALVES)]
            stack.enter_context(dial(job, account))
        yield

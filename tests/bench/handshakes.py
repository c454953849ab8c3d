"""OpenSSL's own client beside ours: how many bare TLS 1.2 handshakes the endpoint takes."""

import asyncio
import re
from dataclasses import dataclass

from tests.bench.processes import RUN_S, BenchError, Cloud, child
from tests.requirements import program

CONNECTIONS = re.compile(rb"^(\d+) connections in (\d+) real seconds", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Handshakes:
    """What `openssl s_time` did."""

    per_s: float
    cloud_cpu_ms: float
    """Of the cloud's process, per handshake."""


async def handshakes(cloud: Cloud, *, seconds: int, clients: int = 1) -> Handshakes:
    """Connect, shake hands, hang up, again and again: each of `clients` processes one connection at a time."""
    await cloud.drained()
    loop, before = asyncio.get_running_loop(), cloud.cpu()
    began = loop.time()
    counts = await asyncio.gather(*(_s_time(cloud, seconds) for _ in range(clients)))
    took_s, used = loop.time() - began, cloud.cpu() - before
    return Handshakes(sum(counts) / took_s, 1000 * used.cloud_s / sum(counts))


async def _s_time(cloud: Cloud, seconds: int) -> int:
    mqtt = cloud.ready["mqtt"]
    command = (
        *(program("openssl"), "s_time", "-connect", f"{mqtt['host']}:{mqtt['port']}"),
        *("-new", "-tls1_2", "-CAfile", cloud.ready["ca"], "-time", str(seconds)),
    )
    async with child(*command) as process:
        async with asyncio.timeout(RUN_S):
            said, _ = await process.communicate()
    found = CONNECTIONS.search(said)
    if process.returncode or found is None or not int(found[1]):
        raise BenchError(f"openssl s_time: status {process.returncode}, and no connections")
    return int(found[1])

"""Firmware updates of a charger whose flash is a file: how fast they are, and how much memory they take."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from emulator.remote import Produced
from tests.bench.figure import Figure, Peer, figure
from tests.bench.firmware_job import UpdateJob
from tests.bench.processes import Cloud, cloud, run_module
from tests.bench.scale import Scale

OURS, PEER = "firmware_client", "firmware_httpx"
MIB, KIB = 1 << 20, 1 << 10
SIZES_MIB = (8, 32, 64)
"""Up to that of a slot: memory must not depend on it."""
TIMED_MIB = 32
ROUNDS = 3
"""In each run: processor time comes and goes with what else the machine does."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One image, fetched by one process that was started for it."""

    size_mib: int
    seconds: float
    """From the first question to the last check."""
    cpu_s: float
    """Processor time of that process meanwhile."""
    cloud_cpu_s: float
    """Of the cloud's."""
    peak_growth_mib: float = 0.0
    """Memory at the peak beyond what was there before; 0.0: not measured."""

    @property
    def mib_per_s(self) -> float:
        """How fast it was."""
        return self.size_mib / self.seconds


@dataclass(frozen=True, slots=True)
class Round:
    """One image of each size by the charger, and the one that is timed by the peer."""

    ours: Mapping[int, Fetched]
    peer: Fetched


async def updates(scale: Scale) -> list[Figure]:
    """One cloud and one account; the charger is another one each time, with its slot full of an older image."""
    async with cloud("local") as place:
        (made,) = await place.remote.produce(1, "FWA")
        return figures([await _round(place, made) for _ in range(ROUNDS * scale.runs)])


async def _round(place: Cloud, made: Produced) -> Round:
    ours = {size_mib: await _fetch(OURS, place, made, size_mib) for size_mib in SIZES_MIB}
    return Round(ours, await _fetch(PEER, place, made, TIMED_MIB))


async def _fetch(module: str, place: Cloud, made: Produced, size_mib: int) -> Fetched:
    await place.call("POST", "/firmware", {"version": f"6.0.{size_mib}.0", "size_bytes": size_mib * MIB})
    before = place.cpu()
    with tempfile.TemporaryDirectory() as directory:
        took = await run_module(module, UpdateJob(place.ready, made, Path(directory)).as_json())
    used = place.cpu() - before
    return Fetched(size_mib, took["seconds"], took["cpu_s"], used.cloud_s, took.get("peak_growth_kib", 0.0) / KIB)


def figures(rounds: Sequence[Round]) -> list[Figure]:
    """What came out of some rounds."""
    timed, peers = [each.ours[TIMED_MIB] for each in rounds], [each.peer for each in rounds]
    peer = Peer("httpx with asyncio's TLS", tuple(each.mib_per_s for each in peers))
    growth = [max(fetched.peak_growth_mib for fetched in each.ours.values()) for each in rounds]
    return [
        figure("firmware.throughput_mib_s", [each.mib_per_s for each in timed], peer=peer, note=_cost(timed, peers)),
        figure("firmware.peak_rss_growth_mib", growth, note=_growth(rounds)),
    ]


def _cost(timed: Sequence[Fetched], peers: Sequence[Fetched]) -> str:
    ours, theirs = (median(1000 * each.cpu_s / each.size_mib for each in some) for some in (timed, peers))
    server = median(1000 * each.cloud_cpu_s / each.size_mib for each in timed)
    return (
        f"{TIMED_MIB} MiB over an older image; {ours:.1f} ms of processor time per MiB in the charger, "
        f"{server:.1f} ms in the cloud; {theirs:.1f} ms in httpx, which asks for all at once, hashes blocks and image "
        "and writes a file"
    )


def _growth(rounds: Sequence[Round]) -> str:
    medians = {size: median(each.ours[size].peak_growth_mib for each in rounds) for size in SIZES_MIB}
    by_size = ", ".join(f"{found:.1f} for an image of {size} MiB" for size, found in medians.items())
    return f"the most of three sizes; medians: {by_size}"

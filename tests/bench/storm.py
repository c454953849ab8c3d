"""A boot storm: chargers in one process against a cloud of their own, and what each process spends on a boot."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from emulator.fleet import STORM_BUS
from tests.bench.figure import Figure, Peer, figure
from tests.bench.handshakes import Handshakes, handshakes
from tests.bench.processes import BenchError, Cloud, CpuUse, cloud, run_module
from tests.bench.scale import Scale

WARM_UP_CHARGERS = 100
HANDSHAKE_CLIENTS = 3
"""Each has one connection at a time and mostly waits; of 1 to 4 clients three reach the most on two cores."""
SLACK = 2.0  # the small storm is not quite as slow as the large one
LOOK_S = 2.0  # each look at the cloud costs the processors that are being measured
LINGER_S = 3.0
"""How much longer than expected the chargers stay, so that the cloud can be looked at with all of them online."""


@dataclass(frozen=True, slots=True)
class Storm:
    """One storm as the fleet reports it, and what the cloud showed with all chargers online."""

    report: dict[str, Any]
    used: CpuUse
    cloud_kib: float
    """Memory that the cloud's process has gained."""

    @property
    def boots(self) -> int:
        """How many chargers came online."""
        return int(self.report["boots"])


async def storms(scale: Scale) -> list[Figure]:
    """Several storms, each against a fresh cloud, with bare handshakes at that cloud beside it."""
    rate = await _warm_up()
    seen: list[Storm] = []
    bare: list[Handshakes] = []
    lone: list[Handshakes] = []
    for _ in range(scale.runs):
        async with cloud(STORM_BUS) as place:
            seen.append(await _storm(place, scale.chargers, hold_s=SLACK * scale.chargers / rate + LINGER_S))
            bare.append(await handshakes(place, seconds=scale.handshake_s, clients=HANDSHAKE_CLIENTS))
            lone.append(await handshakes(place, seconds=scale.handshake_s))
    return _figures(seen, bare, lone)


async def _warm_up() -> float:
    """Boots per second of a small storm that nobody counts: it tells how long the real one will take."""
    async with cloud(STORM_BUS) as place:
        report = await run_module("storm_client", {"chargers": WARM_UP_CHARGERS, "control": place.ready["control"]})
    return float(report["boots_per_s"])


async def _storm(place: Cloud, chargers: int, *, hold_s: float) -> Storm:
    await place.remote.produce(chargers)  # the fleet asks again and gets the same
    lighter, before = await place.clients(), place.cpu()
    job = {"chargers": chargers, "control": place.ready["control"], "duration_s": hold_s}
    fleet = asyncio.create_task(run_module("storm_client", job))
    try:
        while (clients := await place.clients())["online"] < chargers:
            await asyncio.wait({fleet}, timeout=LOOK_S)
            if fleet.done():
                report = await fleet
                raise BenchError(f"fleet: ended unseen, with {report['online']} of {chargers} chargers online")
        used, gained = place.cpu() - before, clients["resident_kib"] - lighter["resident_kib"]
        return Storm(await fleet, used, gained)
    finally:
        fleet.cancel()
        await asyncio.wait({fleet})


def _figures(seen: Sequence[Storm], bare: Sequence[Handshakes], lone: Sequence[Handshakes]) -> list[Figure]:
    def over(read: Callable[[Storm], float]) -> list[float]:
        return [read(storm) for storm in seen]

    boots_per_s = over(lambda storm: storm.report["boots_per_s"])
    limit = Peer(f"{HANDSHAKE_CLIENTS} x openssl s_time", tuple(each.per_s for each in bare))
    single = median(each.per_s for each in lone)
    sent = median(storm.report["messages"]["up"] / storm.boots for storm in seen)
    note = f"{seen[0].boots} chargers, one process, a fresh cloud on Mosquitto each time; {sent:.0f} messages per boot"
    return [
        figure("fleet.boots_per_s", boots_per_s, note=f"{note}; {_stages(seen)}"),
        figure("fleet.boots_vs_handshake_limit", boots_per_s, peer=limit, note=f"one s_time alone: {single:.0f}/s"),
        figure("fleet.first_connack_s", over(lambda storm: storm.report["first_connack_s"])),
        figure("fleet.kib_per_charger", over(lambda storm: storm.report["kib_per_charger"])),
        figure("endpoint.kib_per_client", over(lambda storm: storm.cloud_kib / storm.boots)),
        figure("fleet.cpu_ms_per_boot", over(lambda storm: 1000 * storm.report["cpu_s"]["chargers"] / storm.boots)),
        figure("cloud.cpu_ms_per_boot", over(lambda storm: 1000 * storm.used.cloud_s / storm.boots)),
        figure("mosquitto.cpu_ms_per_boot", over(lambda storm: 1000 * storm.used.mosquitto_s / storm.boots)),
        figure("cloud.cpu_ms_per_handshake", [each.cloud_cpu_ms for each in bare]),
    ]


def _stages(seen: Sequence[Storm]) -> str:
    """Median latencies of the boot stages, out of the last storm."""
    stages = seen[-1].report["stages"].items()
    return "median per stage: " + ", ".join(f"{stage} {spread['p50_ms']:.0f} ms" for stage, spread in stages)

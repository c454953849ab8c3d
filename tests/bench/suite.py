"""All benchmarks, and a session that runs them one after the other."""

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from emulator.errors import UsageError
from tests.bench.campaign import campaigns
from tests.bench.day import days
from tests.bench.figure import FIGURES, Figure
from tests.bench.firmware import updates
from tests.bench.hold import holding
from tests.bench.logins import logins
from tests.bench.machine import look
from tests.bench.messages import messages
from tests.bench.processes import BenchError
from tests.bench.report import Report, in_order
from tests.bench.scale import Scale
from tests.bench.storm import storms


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One piece of work and the figures that come out of it."""

    name: str
    figures: tuple[str, ...]
    measure: Callable[[Scale], Awaitable[list[Figure]]]


BENCHMARKS = (
    Benchmark(
        "storm",
        (
            "fleet.boots_per_s",
            "fleet.boots_vs_handshake_limit",
            "fleet.first_connack_s",
            "fleet.kib_per_charger",
            "endpoint.kib_per_client",
            "fleet.cpu_ms_per_boot",
            "cloud.cpu_ms_per_boot",
            "mosquitto.cpu_ms_per_boot",
            "cloud.cpu_ms_per_handshake",
        ),
        storms,
    ),
    Benchmark(
        "logins",
        (
            "fleet.connects_per_s_vs_aiomqtt",
            "fleet.connects_per_s_vs_locust",
            "fleet.cpu_ms_per_login",
            "cloud.cpu_ms_per_login",
        ),
        logins,
    ),
    Benchmark(
        "hold",
        ("endpoint.kib_per_idle", "endpoint.kib_per_slow_reader", "endpoint.kib_per_half_open"),
        holding,
    ),
    Benchmark(
        "messages",
        (
            "endpoint.d2c_msg_per_s",
            "endpoint.d2c_msg_per_s_lean",
            "endpoint.d2c_p99_ms",
            "endpoint.d2c_p99_ms_at_half",
            "endpoint.cpu_us_per_msg",
            "bus.cpu_us_per_msg",
            "mosquitto.cpu_us_per_msg",
            "cloud.cpu_us_per_msg",
        ),
        messages,
    ),
    Benchmark("firmware", ("firmware.throughput_mib_s", "firmware.peak_rss_growth_mib"), updates),
    Benchmark(
        "campaign",
        (
            "campaign.seconds",
            "campaign.updates_per_s",
            "campaign.mib_per_s",
            "campaign.failed",
            "campaign.done_at_halt",
        ),
        campaigns,
    ),
    Benchmark("day", ("sim.charger_day_s", "data.day_mb"), days),
)


def chosen(patterns: Sequence[str]) -> list[Benchmark]:
    """The benchmarks that give a figure matching a pattern; without patterns all. UsageError: a pattern without any."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in FIGURES):
            raise UsageError(f"--only {pattern}: no such figure; there are {', '.join(FIGURES)}")
    return [
        each
        for each in BENCHMARKS
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in each.figures)
    ]


async def run(benchmarks: Sequence[Benchmark], scale: Scale) -> Report:
    """Measure. A benchmark that cannot run is a failure in the report, and the others go on."""
    machine, figures, failures = look(), [], []
    for number, each in enumerate(benchmarks, 1):
        print(f"bench: {number} of {len(benchmarks)}, {each.name}", file=sys.stderr, flush=True)
        try:
            figures += await each.measure(scale)
        except (BenchError, UsageError, OSError) as error:
            failures.append((each.name, str(error)))
    load = ("load average", f"{machine.load_before:.2f} before, {os.getloadavg()[0]:.2f} at the end, our own included")
    return Report(in_order(figures), tuple(failures), (*machine.facts, load))

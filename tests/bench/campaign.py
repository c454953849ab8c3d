"""A release for a whole fleet at once, some of whose flash is worn out: how fast it is, and that it halts as it should.

Everything is as a user has it: the fleet, its faults and the campaign are the commands of the README.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from emulator.fleet import STORM_BUS
from emulator.profile import load_profile
from tests.bench.figure import Figure, figure
from tests.bench.processes import RUN_S, BenchError, Cloud, child, cloud
from tests.bench.scale import Scale

CAMPAIGN, NEW = "bench", "5.4.0.0"
IMAGE_BYTES = 2 << 20
WORN_SHARE = 0.02
"""Of the chargers: their flash takes nothing any more, so they refuse the release with `WORN`."""
WORN = "flash"
COUNT_MIN_SHARE = 0.25
"""How many of all must be done before the campaign may halt. Bad flash fails as soon as the first block is there, while
the others have yet to fetch the rest and to boot: so failures come first, and soon more than `WORN_SHARE` of those that
are done have failed. In whatever order they come, it has to halt in the end: then just `WORN_SHARE` have failed."""
CALLS_PER_S = 1_000
LOOK_S = 0.2  # a look costs the cloud a query over all chargers
OVER = ("installed", "failed")
FETCHED = ("installing", *OVER)
REBOOT_S = load_profile().firmware.restart_delay_s + load_profile().firmware.mainboard_sync_s
"""The least that passes between an image in flash and a charger that reports it."""
STAY_S = 3_600.0
"""Longer than anything here takes: the fleet is ended when it is not needed any more."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """What came of one campaign."""

    chargers: int
    fetched_s: float
    """Until everybody had fetched, verified and stored the image, or had failed."""
    seconds: float
    """Until everybody ran the release, or had failed."""
    failed: int
    done_at_halt: int

    @property
    def updates_per_s(self) -> float:
        """Chargers that got the release."""
        return (self.chargers - self.failed) / self.seconds

    @property
    def mib_per_s(self) -> float:
        """Image bytes, while they were being fetched."""
        return (self.chargers - self.failed) * IMAGE_BYTES / (1 << 20) / self.fetched_s


async def campaigns(scale: Scale) -> list[Figure]:
    """Several, each with a fresh cloud and a fresh fleet. BenchError: one did not halt as configured."""
    seen: list[Rolled] = []
    for _ in range(scale.runs):
        async with cloud(STORM_BUS) as place, _fleet(place, scale.updates):
            seen.append(await _rolled_out(place, scale.updates))
    note = (
        f"{scale.updates} chargers in one process, all called at once, {WORN_SHARE:.0%} of them with worn-out flash; "
        f"{IMAGE_BYTES >> 20} MiB each; each takes {REBOOT_S:.0f} s for its reboot; halted as configured, and all were "
        "online afterwards"
    )
    return [
        figure("campaign.seconds", [each.seconds for each in seen], note=note),
        figure("campaign.updates_per_s", [each.updates_per_s for each in seen]),
        figure("campaign.mib_per_s", [each.mib_per_s for each in seen]),
        figure("campaign.failed", [each.failed for each in seen], note=f"all of them with reason {WORN}"),
        figure(
            "campaign.done_at_halt",
            [each.done_at_halt for each in seen],
            note=f"to halt from {count_min(scale.updates)} on, when {WORN_SHARE:.0%} of those that are done failed",
        ),
    ]


def count_min(chargers: int) -> int:
    return int(chargers * COUNT_MIN_SHARE)


@asynccontextmanager
async def _fleet(place: Cloud, chargers: int) -> AsyncIterator[None]:
    """The fleet, online."""
    fault = {"kind": "device.flash_worn", "share": WORN_SHARE}
    numbers = ("--chargers", str(chargers), "--duration", str(STAY_S))
    command = ("emulator", "fleet", *numbers, "--fault", json.dumps(fault), "--control", place.ready["control"])
    async with child(sys.executable, "-m", *command):
        await place.all_online(chargers)
        yield


async def _rolled_out(place: Cloud, chargers: int) -> Rolled:
    wanted = {
        "id": CAMPAIGN,
        "version": NEW,
        "size_bytes": IMAGE_BYTES,
        "command": 201,
        "calls_per_s": CALLS_PER_S,
        "halt": {"failure_share": WORN_SHARE, "count_min": count_min(chargers)},
    }
    began = time.monotonic()
    await place.call("POST", "/campaigns", wanted)
    await _until_all(place, FETCHED)
    fetched_s = time.monotonic() - began
    shown = await _until_all(place, OVER)
    seconds = time.monotonic() - began
    failed = (await place.call("GET", f"/campaigns/{CAMPAIGN}/devices?standing=failed"))["devices"]
    if {each["reason"] for each in failed} != {WORN}:
        raise BenchError(f"campaign: chargers failed for other reasons than {WORN}: {failed[0]}")
    await place.all_online(chargers)
    return Rolled(chargers, fetched_s, seconds, len(failed), halted_at(shown, chargers, len(failed)))


async def _until_all(place: Cloud, stand: Collection[str]) -> dict[str, Any]:
    """The campaign, once every charger stands in one of these ways."""
    shown: dict[str, Any] = {}
    try:
        async with asyncio.timeout(RUN_S):
            while True:
                shown = await place.call("GET", f"/campaigns/{CAMPAIGN}")
                counts = shown["devices"]
                if sum(counts[standing] for standing in stand) == counts["all"]:
                    return shown
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise BenchError(f"campaign: not over after {RUN_S:.0f} s: {shown.get('devices')}") from None


def halted_at(shown: dict[str, Any], chargers: int, failed: int) -> int:
    """How many were done when it halted. BenchError: it has not, or not at the first moment when it should have."""
    told = re.fullmatch(r"(\d+) of (\d+) chargers failed", shown["reason"])
    if shown["state"] != "halted" or told is None or failed != -(-chargers * Fraction(str(WORN_SHARE)) // 1):
        raise BenchError(f"campaign: not halted as configured: {shown['state']} {shown['reason']} {shown['devices']}")
    bad, done, share = int(told[1]), int(told[2]), Fraction(str(WORN_SHARE))
    due = done >= count_min(chargers) and bad >= share * done
    earlier = done > count_min(chargers) and bad - 1 >= share * (done - 1)
    if not due or earlier:
        raise BenchError(f"campaign: halted at the wrong moment: {shown['reason']}")
    return done

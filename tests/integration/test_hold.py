"""5,000 idle connections, slow readers and peers that stop in the middle: each is held at no more than 64 KiB."""

import asyncio
import sys

import pytest

from tests.bench.hold import HALF_OPEN, HALVES, SLOW, hold
from tests.bench.processes import cloud

pytestmark = [pytest.mark.needs("mosquitto"), pytest.mark.slow]

IDLE = 5_000
KIB_MAX = 64.0


def test_whoever_says_nothing_reads_nothing_or_stops_in_the_middle_costs_little() -> None:
    async def story() -> None:
        async with cloud() as place:
            held = await hold(place, IDLE)
        print(f"\n{held}", file=sys.stderr)
        assert held.online == IDLE + SLOW + HALF_OPEN // len(HALVES)
        assert max(held.idle_kib, held.slow_kib, held.half_open_kib) <= KIB_MAX
        assert held.slow_kib > held.idle_kib  # they were sent more than the kernel takes

    asyncio.run(story())

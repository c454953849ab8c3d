"""Whole days in virtual time, and the promise that a run repeats."""

import asyncio
import os
import subprocess
import sys

from tests.life import Life, live

DAY_S = 86400.0


async def one_day(life: Life) -> None:
    await asyncio.sleep(DAY_S)


def test_a_day_of_an_idle_charger_stays_online_renews_its_lease_and_beats() -> None:
    trace = live(one_day)
    assert len(trace.where("device.online")) == 1
    assert trace.where("device.offline") == []
    assert len(trace.where("lease.renewed")) >= 1
    assert len(trace.where("clock.resync*")) <= 1
    pulses = [e for e in trace.where("device.publish") if e.data.get("type") == 2]
    assert 140 <= len(pulses) <= 160  # one per 600 s, one per 120 s at first


def test_the_same_seed_gives_the_same_trace_in_two_processes_with_different_hash_seeds() -> None:
    program = (
        "import asyncio\n"
        "from tests.life import live\n"
        "async def story(life): await asyncio.sleep(3600)\n"
        "lossy = dict(kind='link.slow', delay_s=0.05, loss=0.2)\n"
        "print(live(story, seed={seed}, before=lambda world: world.inject(lossy, where='test')).digest())\n"
    )

    def digest(seed: int, hash_seed: str) -> str:
        run = subprocess.run(
            [sys.executable, "-c", program.format(seed=seed)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout.splitlines()[-1]

    first = digest(7, "1")
    assert first == digest(7, "2")
    assert first != digest(8, "1")

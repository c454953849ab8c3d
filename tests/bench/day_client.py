"""A day of one charger in the simulated world: {"seed": n} on stdin, the seconds and bytes that it took on stdout.

With {"charge_kwh": n} a car comes after an hour, takes that much and stays for the rest of the day.
"""

import asyncio
import json
import sys
from collections import Counter
from contextlib import suppress

from emulator.device.car import Car
from emulator.device.charger import Charger
from emulator.net.meter import Usage
from emulator.trace import TraceEvent
from emulator.world import World, WorldOptions, load_world
from tests.bench.login_job import Stopwatch, done

DAY_S = 86_400.0
CAR_COMES_S = 3600.0
SERIAL = "ZPR000001"


async def _day(world: World, charge_kwh: float | None) -> Usage:
    await world.start()
    try:
        charger = Charger(*world.produce(SERIAL))
        if charge_kwh is not None:
            asyncio.get_running_loop().call_later(CAR_COMES_S, charger.plug_in, Car(energy_wanted_kwh=charge_kwh))
        with suppress(TimeoutError):
            async with asyncio.timeout(DAY_S):
                await charger.run()
        return charger.data
    finally:
        await world.close()


def main() -> None:
    """Live through the day that stdin asks for."""
    seen: Counter[str] = Counter()

    def count(event: TraceEvent) -> None:
        seen[event.name] += 1

    job = json.load(sys.stdin)
    world = load_world("sim", WorldOptions(seed=job["seed"], sinks=(count,)))
    watch = Stopwatch()
    with asyncio.Runner(loop_factory=world.loop_factory) as runner:
        data = runner.run(_day(world, job.get("charge_kwh")))
    if not seen["device.online"]:
        raise SystemExit("sim: the charger was not online in its day")
    counts = {"events": seen.total(), "messages": seen["device.publish"]}
    done({**watch.read(), **counts, "up_bytes": data.up_bytes, "down_bytes": data.down_bytes})


if __name__ == "__main__":
    main()

"""A day of one charger in the simulated world: {"seed": n} on stdin, the seconds that it took on stdout."""

import asyncio
import json
import sys
from collections import Counter
from contextlib import suppress

from emulator.device.charger import Charger
from emulator.trace import TraceEvent
from emulator.world import World, WorldOptions, load_world
from tests.bench.login_job import Stopwatch, done

DAY_S = 86_400.0
SERIAL = "ZPR000001"


async def _day(world: World) -> None:
    await world.start()
    try:
        charger = Charger(*world.produce(SERIAL))
        with suppress(TimeoutError):
            async with asyncio.timeout(DAY_S):
                await charger.run()
    finally:
        await world.close()


def main() -> None:
    """Live through the day that stdin asks for."""
    seen: Counter[str] = Counter()

    def count(event: TraceEvent) -> None:
        seen[event.name] += 1

    world = load_world("sim", WorldOptions(seed=json.load(sys.stdin)["seed"], sinks=(count,)))
    watch = Stopwatch()
    with asyncio.Runner(loop_factory=world.loop_factory) as runner:
        runner.run(_day(world))
    if not seen["device.online"]:
        raise SystemExit("sim: the charger was not online in its day")
    done({**watch.read(), "events": seen.total(), "messages": seen["device.publish"]})


if __name__ == "__main__":
    main()

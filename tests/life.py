"""One charger in one world, for tests that tell its story."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from emulator.device.charger import Charger
from emulator.net.place import Setup
from emulator.trace import Recorder, TraceEvent
from emulator.world import World, WorldOptions, load_world

SERIAL = "ZPR000001"


class Life:
    """A charger that runs, the world it runs in, and everything that was traced."""

    def __init__(self, world: World, charger: Charger, recorder: Recorder, arrivals: asyncio.Queue[TraceEvent]) -> None:
        self.world = world
        self.charger = charger
        self.recorder = recorder
        self._arrivals = arrivals

    async def until(self, name: str, *, within_s: float = 600.0, **data: Any) -> TraceEvent:
        """The next event whose name matches and that carries `data`. Events before this call do not count."""
        async with asyncio.timeout(within_s):
            while True:
                event = await self._arrivals.get()
                if fnmatchcase(event.name, name) and data.items() <= event.data.items():
                    return event

    async def inject(self, **fault: Any) -> Callable[[], None]:
        """Break something in the world."""
        return self.world.inject(fault, where="test")

    def rows(self, stage: str) -> list[tuple[str, str | None]]:
        """(outcome, why) of every attempt at a stage."""
        events = self.recorder.where(f"boot.{stage}.*", SERIAL)
        return [(e.data["outcome"], e.data["why"]) for e in events if "outcome" in e.data]


Story = Callable[[Life], Awaitable[None]]


def live(
    story: Story,
    *,
    world: str = "sim",
    seed: int = 1,
    changes: Mapping[str, Any] | None = None,
    local: Mapping[str, Any] | None = None,
    place: Mapping[str, Any] | None = None,
    setup: Mapping[str, Any] | None = None,
    before: Callable[[World], object] = lambda world: None,
) -> Recorder:
    """Run a story from power-on to its end and return the trace. `before` breaks things while the power is off.

    `changes` are dotted keys of the profile, `place` of what the charger finds where it hangs, `setup` of its site;
    `local` are settings of the installer.
    """
    recorder = Recorder()
    arrivals: asyncio.Queue[TraceEvent] = asyncio.Queue()
    site = Setup().with_changes(dict(setup or {}), where="setup")
    lab = load_world(world, WorldOptions(seed=seed, sinks=(recorder, arrivals.put_nowait), setup=site))

    async def tell() -> None:
        try:
            await lab.start()
            before(lab)
            charger = Charger(*lab.produce(SERIAL, changes or {}, local=local or {}, place=place or {}))
            async with asyncio.TaskGroup() as group:
                running = group.create_task(charger.run())
                try:
                    await story(Life(lab, charger, recorder, arrivals))
                finally:
                    running.cancel()
        finally:
            await lab.close()

    print(f"seed {seed}")  # pytest shows it when the test fails
    with asyncio.Runner(loop_factory=lab.loop_factory) as runner:
        runner.run(tell())
    return recorder

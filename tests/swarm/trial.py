"""Lives through one case in the simulated world, and says how it ended."""

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from cloud_stub.hub.methods import MethodError
from emulator.clock import SimLoop
from emulator.device.car import Car
from emulator.device.charger import Charger
from emulator.errors import UsageError
from emulator.net.place import Setup
from emulator.trace import Recorder
from emulator.world import World, WorldOptions, load_world
from tests.swarm.case import HEALED_S, Case, Strike

SERIAL = "ZPR000001"
BOUND_S = 4500.0
"""Once everything is healed, a charger is online and answers within this time. Nearly all need a few minutes; the
longest wait is the hour for which a time server that refused is left alone."""
ASK_EVERY_S = 20.0
COMMAND = 503  # report everything: up and down through the hub, and it harms nothing


@dataclass(frozen=True)
class Ended:
    """How a case ended. `online_s` are seconds from the healing to an answered command; None: not within the bound."""

    case: Case
    online_s: float | None
    why: str
    """Empty when it went well; else the last that was heard, or a traceback."""
    digest: str
    """Of the whole trace: equal cases have equal digests."""
    recorder: Recorder

    @property
    def ok(self) -> bool:
        """It came online in time, and nothing crashed."""
        return self.online_s is not None and not self.why


def live_through(case: Case, *, heal: bool = True) -> Ended:
    """Run a case from power-on to its end; without `heal` the faults stay, which tests the swarm itself."""
    recorder = Recorder()
    setup = Setup.model_validate(case.setup)
    options = WorldOptions(seed=case.seed * 1_000_003 + case.number, sinks=(recorder,), setup=setup)
    world = load_world("sim", options)
    online_s, why = None, ""
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        try:
            online_s = runner.run(_tell(case, world, heal=heal))
        except BaseExceptionGroup as group:
            why = "".join(traceback.format_exception(group))
    if online_s is None and not why:
        why = "; ".join(event.as_json() for event in recorder.events[-5:])
    return Ended(case, online_s, why, recorder.digest(), recorder)


async def _tell(case: Case, world: World, *, heal: bool) -> float | None:
    try:
        await world.start()
        spec, env = world.produce(SERIAL, case.changes, local=case.local, place=case.place)
        charger = Charger(spec, env)
        async with asyncio.TaskGroup() as group:
            undo = [_inject(world, charger, strike) for strike in case.strikes if not strike.at_s]
            running = group.create_task(charger.run())
            try:
                for strike in case.strikes:
                    if strike.at_s:
                        await _until(strike.at_s)
                        undo.append(_inject(world, charger, strike))
                if case.car_at_s is not None:
                    charger.plug_in(Car())
                await _until(HEALED_S)
                for each in reversed(undo if heal else []):
                    each()
                return await _answered(world)
            finally:
                running.cancel()
    finally:
        await world.close()


def _inject(world: World, charger: Charger, strike: Strike) -> Callable[[], None]:
    """A fault that cannot strike as things are is none."""
    try:
        if strike.fault["kind"].startswith("device."):
            return charger.inject(strike.fault, where="swarm")
        return world.inject(strike.fault, where="swarm")
    except UsageError:
        return lambda: None


async def _until(at_s: float) -> None:
    await asyncio.sleep(max(0.0, at_s - asyncio.get_running_loop().time()))


async def _answered(world: World) -> float | None:
    """Ask until the charger answers through the hub."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + BOUND_S:
        try:
            async with asyncio.timeout(ASK_EVERY_S):
                status, _ = await world.command(SERIAL, COMMAND)
        except (MethodError, TimeoutError):
            status = 0
        if status == 200:
            return loop.time() - began
        await asyncio.sleep(ASK_EVERY_S)
    return None

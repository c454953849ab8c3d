"""Plays a scenario in a world and judges what comes of it."""

import asyncio
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from emulator.acts import STAGE_HAND, Playable, Script, cars_of
from emulator.boot.stages import STAGES
from emulator.device.charger import Charger
from emulator.env import Env, Spec
from emulator.errors import UsageError
from emulator.expect import Watch, check_history
from emulator.net.capture import NO_FILES, CaptureFiles, capturing
from emulator.scenario import Scenario
from emulator.story import Story
from emulator.trace import Recorder, Trace, TraceEvent
from emulator.verdict import Verdict
from emulator.world import World, WorldOptions, load_world


class Audience(Protocol):
    """Who looks on while scenarios are played."""

    def opens(self, scenario: Scenario, world: World, story: Story) -> None: ...

    def see(self, event: TraceEvent) -> None:
        """Called with every event, after the story has taken it in."""

    async def follow(self, charger: Playable) -> None:
        """Runs beside the charger and is cancelled when the scenario is over."""

    def closes(self, verdict: Verdict | None) -> None:
        """Called in any case; None: the run was broken off."""


def play(
    scenario: Scenario,
    world: str,
    *,
    seed: int = 1,
    certs_dir: Path | None = None,
    audience: Audience | None = None,
    files: CaptureFiles = NO_FILES,
) -> Verdict:
    """Build the world, play the scenario in it on an event loop of its own, and take the world down.

    UsageError: there is no such world, the scenario asks for what a step's owner does not know, or a file to capture
    into cannot be made.
    """
    player = Player(scenario, Charger, seed=seed, audience=audience)
    with capturing(files) as capture:
        sinks = (player.see,) if capture is None else (player.see, capture)
        place = load_world(world, WorldOptions(seed, sinks, certs_dir, scenario.setup, capture))
        with asyncio.Runner(loop_factory=place.loop_factory) as runner:
            return runner.run(player.run(place))


class Player:
    """One run of one scenario. Its `see` must be among the sinks of the world that it runs in."""

    def __init__(
        self,
        scenario: Scenario,
        make_charger: Callable[[Spec, Env], Playable],
        *,
        seed: int = 1,
        audience: Audience | None = None,
    ) -> None:
        _check_stages(scenario)
        cars_of(scenario)
        self._scenario = scenario
        self._make_charger = make_charger
        self._seed = seed
        self._audience = audience
        self._story = Story(scenario.charger.serial)
        self._recorder = Recorder()
        self._watch = Watch(scenario.expect, scenario.charger.serial)
        self._script: Script | None = None
        self._happened = asyncio.Event()
        self._ripe = False
        """The least time of the run is over."""

    def see(self, event: TraceEvent) -> None:
        """Take in one event of the world."""
        self._recorder(event)
        self._story.see(event)
        self._watch.see(event)
        if self._script is not None:
            self._script.see(event)
        if self._audience is not None:
            self._audience.see(event)
        self._happened.set()

    async def run(self, world: World) -> Verdict:
        """Play in a world that has not been started yet; it is closed afterwards, whatever happens."""
        verdict = None
        if self._audience is not None:
            self._audience.opens(self._scenario, world, self._story)
        try:
            await world.start()
            began_s = asyncio.get_running_loop().time()
            bugs = await self._perform(world)
            verdict = self._judge(world, bugs, asyncio.get_running_loop().time() - began_s)
        finally:
            await world.close()
            if self._audience is not None:
                self._audience.closes(verdict)
        return verdict

    async def _perform(self, world: World) -> ExceptionGroup[Exception] | None:
        """Let script and charger run until everything is decided; bugs that ended it are returned."""
        wanted = self._scenario.charger
        spec, env = world.produce(wanted.serial, wanted.changes, local=wanted.local, place=wanted.place_changes)
        charger = self._make_charger(spec, env)
        trace = Trace(STAGE_HAND, (self.see,), asyncio.get_running_loop().time)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._script = script = Script(self._scenario, world, charger, tasks, trace)
                running = [tasks.create_task(script.run(), name="script")]
                if self._audience is not None:
                    running.append(tasks.create_task(self._audience.follow(charger), name="audience"))
                await self._until_decided(world, script)
                self._story.read(charger.snapshot())
                for task in (*running, script.life):
                    if task is not None:
                        task.cancel()
        except ExceptionGroup as group:
            usage, bugs = group.split(UsageError)
            if bugs is None and usage is not None:
                raise next(_leaves(usage)) from None
            return bugs
        return None

    async def _until_decided(self, world: World, script: Script) -> None:
        loop = asyncio.get_running_loop()
        expect = self._scenario.expect
        ripening = loop.call_later(expect.min_run_s, self._ripen)
        try:
            async with asyncio.timeout(expect.within_s):
                while not (self._broken(script) or (self._ripe and not self._missing(world, script))):
                    self._happened.clear()
                    await self._happened.wait()
        except TimeoutError:
            pass  # what is missing now is the verdict
        finally:
            ripening.cancel()

    def _ripen(self) -> None:
        self._ripe = True
        self._happened.set()

    def _broken(self, script: Script) -> list[str]:
        return self._watch.broken + script.failures

    def _missing(self, world: World, script: Script) -> list[str]:
        missing = self._watch.missing() + ([script.waits_for] if script.waits_for else [])
        if missing:
            return missing
        checks = (check_history(wanted, world.history) for wanted in self._scenario.expect.history)
        return [problem for problem in checks if problem is not None]

    def _judge(self, world: World, bugs: ExceptionGroup[Exception] | None, seconds: float) -> Verdict:
        assert self._script is not None  # noqa: S101 - made by _perform
        if bugs is None:
            failures = self._broken(self._script) or self._missing(world, self._script)
        else:
            failures = [f"crashed: {type(bug).__name__}: {bug}" for bug in _leaves(bugs)]
        return Verdict(
            scenario=self._scenario,
            world=world.name,
            seed=self._seed,
            failures=tuple(failures),
            story=self._story,
            timeline=tuple(self._recorder.events),
            digest=self._recorder.digest(),
            seconds=seconds,
            crash=None if bugs is None else "".join(traceback.format_exception(bugs)),
        )


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _check_stages(scenario: Scenario) -> None:
    known = [stage.name for stage in STAGES]
    for number, wanted in enumerate(scenario.expect.stages, start=1):
        if wanted.stage not in known:
            reason = f"{wanted.stage!r} is not a boot stage; known are {', '.join(known)}"
            raise UsageError(f"{scenario.name}: expect.stages.{number}.stage: {reason}")

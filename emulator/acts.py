"""Does the steps of a scenario, in order and in time."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from emulator.device.car import Car
from emulator.errors import EmulatorError, UsageError
from emulator.expect import in_words, matches
from emulator.faults import Undo
from emulator.scenario import (
    Command,
    Heal,
    Inject,
    OfferFirmware,
    PlugIn,
    PowerOn,
    PublishBundle,
    Reboot,
    Scenario,
    SetLocal,
    Step,
    Unplug,
)
from emulator.story import Readings
from emulator.trace import Trace, TraceEvent
from emulator.world import World

STAGE_HAND = "scenario"
"""Owner of the trace events that say what the scenario does."""

POWER_OFF_S = 1.0
"""How long a reboot keeps the charger without power."""


SECRET = frozenset({300})
"""Commands whose payload may hold a secret of the site (M19): it is not traced."""


class Playable(Protocol):
    """What a scenario does to a charger: `emulator.device.charger.Charger` has all of it."""

    async def run(self) -> None: ...

    def plug_in(self, car: Car) -> None: ...

    def unplug(self) -> None: ...

    def inject(self, fault: Mapping[str, Any], *, where: str) -> Undo: ...

    def configure_local(self, changes: Mapping[str, Any], *, where: str) -> object: ...

    def snapshot(self) -> Readings: ...


class ChargerStopped(EmulatorError):
    """A charger's `run` returned; it must go on for ever."""


class Script:
    """The steps of one scenario, done to one charger in one world. Its `tasks` hold the life of the charger."""

    def __init__(
        self, scenario: Scenario, world: World, charger: Playable, tasks: asyncio.TaskGroup, trace: Trace
    ) -> None:
        self._scenario = scenario
        self._world = world
        self._charger = charger
        self._tasks = tasks
        self._trace = trace
        self._cars = cars_of(scenario)
        self._undo: dict[str, Undo] = {}
        self._awaited = scenario.step[0].after
        self._came = asyncio.Event()
        self.life: asyncio.Task[None] | None = None
        """The charger, while it has power."""
        self.failures: list[str] = []
        """Commands that were answered otherwise than expected, in words."""
        self.waits_for: str | None = "step 1"
        """What keeps the next step from being done, in words; None: all are done."""

    def see(self, event: TraceEvent) -> None:
        """Take one event into account."""
        if self._awaited is not None and matches(event, self._awaited):
            self._came.set()

    async def run(self) -> None:
        """Do every step. UsageError: a step asks for what its owner does not know."""
        steps = self._scenario.step
        began_s = asyncio.get_running_loop().time()
        for number, step in enumerate(steps, start=1):
            await self._wait_for_time_of(step, number, began_s)
            self._came.clear()  # from here on, so that what this step sets off counts for the next one
            self._awaited = steps[number].after if number < len(steps) else None
            await self._do(step, number)
        self.waits_for = None
        self._trace.emit("scenario.done")

    async def _wait_for_time_of(self, step: Step, number: int, began_s: float) -> None:
        loop = asyncio.get_running_loop()
        if step.after is None:
            at_s = step.at_s or 0.0
            self.waits_for = f"step {number} ({step.do}) was not its turn before {at_s:g} s"
            await asyncio.sleep(max(0.0, began_s + at_s - loop.time()))
        else:
            self.waits_for = f"step {number} ({step.do}) waits for event {in_words(step.after)}, which did not happen"
            await self._came.wait()
            await asyncio.sleep(step.delay_s)

    async def _do(self, step: Step, number: int) -> None:
        match step:
            case Inject():
                self._trace.emit("scenario.inject", **step.fault)
                self._undo[step.known_as] = self._inject(step.fault, f"{self._scenario.name}: step.{number}.fault")
            case Heal():
                self._trace.emit("scenario.heal", fault=step.fault)
                self._undo[step.fault]()
            case PowerOn():
                self._trace.emit("scenario.power_on")
                self._power_on()
            case Reboot():
                self._trace.emit("scenario.reboot")
                give_back = self._charger.inject({"kind": "device.power_cut"}, where=self._scenario.name)
                await asyncio.sleep(POWER_OFF_S)
                give_back()
            case PlugIn():
                self._trace.emit("scenario.plug_in", **step.car)
                self._charger.plug_in(self._cars[number])
            case Unplug():
                self._trace.emit("scenario.unplug")
                self._charger.unplug()
            case Command():
                await self._command(step, number)
            case OfferFirmware():
                self._trace.emit("scenario.offer_firmware", version=step.version, signer=step.signer)
                with _naming(f"{self._scenario.name}: step.{number}"):
                    self._world.offer_firmware(step.version, signer=step.signer, size_bytes=step.size_bytes)
            case PublishBundle():
                self._publish(step, f"{self._scenario.name}: step.{number}")
            case SetLocal():
                self._trace.emit("scenario.local", set=sorted(step.set))
                self._charger.configure_local(step.set, where=f"{self._scenario.name}: step.{number}.set")

    def _publish(self, step: PublishBundle, where: str) -> None:
        keys = {"firmware_keys": step.firmware_keys, "revoked": step.revoked}
        with _naming(where):
            version = self._world.publish_bundle(step.roots, **keys)
        listed = {key: list(names) for key, names in keys.items() if names}
        self._trace.emit("scenario.publish_bundle", roots=step.roots, version=version, **listed)

    def _inject(self, fault: Mapping[str, Any], where: str) -> Undo:
        if str(fault.get("kind")).startswith("device."):
            return self._charger.inject(fault, where=where)
        return self._world.inject(fault, where=where)

    async def _command(self, step: Command, number: int) -> None:
        self.waits_for = f"step {number} (command {step.id}) was not answered"
        self._trace.emit("scenario.command", id=step.id, payload=None if step.id in SECRET else step.payload)
        try:
            status, _ = await self._world.command(self._scenario.charger.serial, step.id, step.payload)
        except UsageError:
            raise
        except EmulatorError as error:
            self.failures.append(f"step {number}: command {step.id} had no result: {error}")
            return
        if status != step.status:
            self.failures.append(f"step {number}: command {step.id} was answered {status}, expected {step.status}")

    def _power_on(self) -> None:
        self.life = self._tasks.create_task(self._live(), name="charger")

    async def _live(self) -> None:
        await self._charger.run()
        raise ChargerStopped("the charger stopped by itself")


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """UsageErrors begin with the step that they are about."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def cars_of(scenario: Scenario) -> dict[int, Car]:
    """A fresh car for each step that plugs one in, by the number of the step. UsageError names step and key."""
    return {
        number: car_of(step.car, f"{scenario.name}: step.{number}.car")
        for number, step in enumerate(scenario.step, start=1)
        if isinstance(step, PlugIn)
    }


def car_of(data: Mapping[str, Any], where: str) -> Car:
    """A fresh car with these fields. UsageError starts with `where` and names the key."""
    unknown = sorted(set(data) - {field.name for field in fields(Car)})
    if unknown:
        raise UsageError(f"{where}.{unknown[0]}: no such key")
    try:
        return TypeAdapter(Car).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{where}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None

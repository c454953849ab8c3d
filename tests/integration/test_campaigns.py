"""A campaign over real chargers, whose cloud is killed in the middle and comes back where it was."""

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from certs.make import default_dir, ensure
from emulator.device.charger import Charger
from emulator.profile import load_profile
from emulator.remote import RemoteCloud, loopback_env
from emulator.trace import TraceEvent
from tests.integration.other_broker import free_port
from tests.programs import CloudProgram

pytestmark = [pytest.mark.needs("mosquitto"), pytest.mark.slow]

CHARGERS = 50
NEW = "5.4.0.0"
CAMPAIGN = {
    "id": "spring",
    "version": NEW,
    "size_bytes": 2 << 20,
    "command": 201,
    "calls_per_s": 10,
    "halt": {"failure_share": 0.01, "count_min": 1},
}
WITHIN_S, LOOK_S = 90.0, 0.2


class Fleet:
    """Chargers of this process, and what they did."""

    def __init__(self) -> None:
        self.did: Counter[str] = Counter()
        self.chargers: list[Charger] = []

    def see(self, event: TraceEvent) -> None:
        self.did[event.name] += 1

    @property
    def online(self) -> int:
        return sum(charger.snapshot().online for charger in self.chargers)


@asynccontextmanager
async def chargers_of(cloud: CloudProgram) -> AsyncIterator[Fleet]:
    """Fifty chargers that are online."""
    remote, fleet = await RemoteCloud.attach(cloud.ready["control"]), Fleet()
    for made in await remote.produce(CHARGERS):
        spec = remote.spec(made, load_profile())
        now = asyncio.get_running_loop().time
        env = loopback_env(remote.loopback, spec, (fleet.see,), now, seed="1", flash=remote.flash())
        fleet.chargers.append(Charger(spec, env))
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(charger.run()) for charger in fleet.chargers]
        try:
            await until(lambda: fleet.online == CHARGERS, fleet.did)
            yield fleet
        finally:
            for task in running:
                task.cancel()


@asynccontextmanager
async def beside(starting: CloudProgram) -> AsyncIterator[CloudProgram]:
    """A cloud that comes up while the chargers go on."""
    try:
        yield await asyncio.to_thread(starting.__enter__)
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)


async def until(done: Callable[[], bool], otherwise: object) -> None:
    for _ in range(round(WITHIN_S / LOOK_S)):
        if done():
            return
        await asyncio.sleep(LOOK_S)
    raise AssertionError(f"not within {WITHIN_S:.0f} s: {otherwise}")


def test_a_cloud_that_is_killed_in_a_campaign_forgets_nobody_and_updates_nobody_twice(tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(ensure(default_dir()).path, state / "certs")  # making new ones takes its time
    options = ("--bus", "lean", "--state", str(state), "--control-port", str(free_port()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        shown, fleet = runner.run(killed_in_the_middle(options))
    assert shown["devices"]["installed"] == CHARGERS
    assert {charger.firmware for charger in fleet.chargers} == {NEW}
    assert fleet.did["update.started"] == fleet.did["update.installed"] == CHARGERS
    assert fleet.did["update.rejected"] == 0


async def killed_in_the_middle(options: tuple[str, ...]) -> tuple[dict[str, Any], Fleet]:
    """What the campaign shows in the end, and the fleet."""
    shown: dict[str, Any] = {}

    def look(cloud: CloudProgram) -> dict[str, int]:
        shown.update(cloud.call("GET", "/campaigns/spring")[1])
        return {standing: count for standing, count in shown["devices"].items() if count}

    with CloudProgram(*options) as first:
        async with chargers_of(first) as fleet:
            assert first.call("POST", "/campaigns", CAMPAIGN)[0] == 201
            await until(lambda: look(first).get("offered", 0) < 2 * CHARGERS / 3, shown)
            assert look(first).keys() & {"downloading", "installing"}, "some have begun"
            assert look(first)["offered"], "and some have not"
            first.send_signal(signal.SIGKILL)
            await asyncio.to_thread(first.ended)
            async with beside(CloudProgram(*options)) as second:
                await until(lambda: not look(second) or shown["state"] != "running", shown)
                await until(lambda: fleet.online == CHARGERS, fleet.did)
    assert shown["state"] == "completed", shown
    return shown, fleet

"""A fault that names a charger strikes that one and leaves its neighbour alone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cloud_stub.worlds import SimWorld
from emulator.clock import SimLoop
from emulator.device.charger import Charger
from emulator.errors import UsageError
from emulator.trace import Recorder
from emulator.world import WorldOptions

STRUCK, SPARED = "ZPR000001", "ZPR000002"


def neighbours(fault: dict[str, Any], story: Callable[[SimWorld], Awaitable[None]]) -> Recorder:
    """Two chargers on one site from power-on; `fault` is there before them."""
    recorder = Recorder()

    async def main() -> None:
        world = SimWorld(WorldOptions(seed=1, sinks=(recorder,)))
        await world.start()
        world.inject(fault, where="test")
        async with asyncio.TaskGroup() as group:
            chargers = [Charger(*world.produce(serial)) for serial in (STRUCK, SPARED)]
            running = [group.create_task(charger.run()) for charger in chargers]
            await story(world)
            for task in running:
                task.cancel()
        await world.close()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(main())
    return recorder


async def two_minutes(world: SimWorld) -> None:
    await asyncio.sleep(120)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"kind": "link.down"}, "no_carrier"),
        ({"kind": "site.block", "protocol": "tcp", "port": 8883}, "timed_out"),
        ({"kind": "dhcp.silence"}, "no_offer"),
        ({"kind": "dns.silence"}, "dns_silent"),
        ({"kind": "dns.servfail"}, "dns_failed"),
        ({"kind": "dns.refused"}, "dns_failed"),
        ({"kind": "ntp.silence"}, "ntp_silent"),
        ({"kind": "ntp.kiss", "code": "DENY"}, "ntp_refused"),
        ({"kind": "hub.wrong_key"}, "hub_refused"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else value,
)
def test_the_charger_that_is_named_fails_and_the_other_does_not(fault: dict[str, Any], why: str) -> None:
    trace = neighbours({**fault, "who": STRUCK}, two_minutes)
    assert {event.data["why"] for event in trace.where("boot.*.failed", STRUCK)} == {why}
    assert not trace.where("device.online", STRUCK)
    assert trace.where("device.online", SPARED) and not trace.where("boot.*.failed", SPARED)


def test_the_clock_of_one_charger_is_set_wrong() -> None:
    trace = neighbours({"kind": "ntp.offset", "offset_s": 3600, "who": STRUCK}, two_minutes)
    after = {serial: trace.where("boot.time.passed", serial)[0].data["after"][:13] for serial in (STRUCK, SPARED)}
    assert after == {STRUCK: "2026-06-01T13", SPARED: "2026-06-01T12"}


def test_a_device_fault_for_somebody_else_is_refused_and_so_is_a_charger_fault_at_the_cloud() -> None:
    async def story(world: SimWorld) -> None:
        charger = Charger(*world.produce("ZPR000003"))
        with pytest.raises(UsageError, match="step 1: who: 'ZPR000001': this charger is ZPR000003"):
            charger.inject({"kind": "device.wrong_key", "who": STRUCK}, where="step 1")
        for kind in ("device.wrong_key", "link.down", "site.block"):
            with pytest.raises(UsageError, match=f"step 2: kind: '{kind}' strikes chargers, and the cloud has none"):
                world.cloud.inject({"kind": kind}, where="step 2")

    neighbours({"kind": "dns.silence", "server": "google"}, story)

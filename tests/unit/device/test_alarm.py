"""The alarm that a life sleeps by: the time, the bell, and a bell that was rung too early."""

import asyncio

import pytest

from emulator.clock import SimLoop
from emulator.device.alarm import Alarm


def slept_s(rings_at: float | None, until: float, *, rung_before: bool = False) -> float:
    """How long a sleeper slept, in virtual time."""

    async def sleep() -> float:
        loop, alarm = asyncio.get_running_loop(), Alarm()
        if rung_before:
            alarm.ring()
        if rings_at is not None:
            loop.call_at(rings_at, alarm.ring)
        await alarm.sleep_until(until)
        return loop.time()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        return runner.run(sleep())


def test_it_goes_off_at_its_time() -> None:
    assert slept_s(None, 30.0) == 30.0


def test_a_time_that_is_over_ends_the_sleep_at_once() -> None:
    assert slept_s(None, -1.0) == 0.0


def test_the_bell_ends_the_sleep() -> None:
    assert slept_s(10.0, 30.0) == 10.0


def test_a_bell_before_the_sleep_ends_it_at_once() -> None:
    assert slept_s(None, 30.0, rung_before=True) == 0.0


def test_it_rings_until_it_is_reset() -> None:
    async def sleep_three_times() -> list[float]:
        loop, alarm = asyncio.get_running_loop(), Alarm()
        alarm.ring()
        await alarm.sleep_until(30.0)
        await alarm.sleep_until(30.0)
        before_s = loop.time()
        alarm.reset()
        await alarm.sleep_until(30.0)
        return [before_s, loop.time()]

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        assert runner.run(sleep_three_times()) == [0.0, 30.0]


@pytest.mark.parametrize(("to", "ends_at"), [(20.0, 20.0), (40.0, 30.0), (5.0, 10.0)])
def test_a_sleep_can_be_cut_short_but_not_drawn_out(to: float, ends_at: float) -> None:
    async def sleep() -> float:
        loop, alarm = asyncio.get_running_loop(), Alarm()
        alarm.bring_forward(1.0)  # nobody sleeps
        loop.call_at(10.0, alarm.bring_forward, to)
        await alarm.sleep_until(30.0)
        return loop.time()

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        assert runner.run(sleep()) == ends_at


def test_a_sleeper_that_is_cancelled_leaves_no_timer() -> None:
    async def cancel_a_sleeper() -> bool:
        loop, alarm = asyncio.get_running_loop(), Alarm()
        sleeper = asyncio.create_task(alarm.sleep_until(60.0))
        await asyncio.sleep(1.0)
        sleeper.cancel()
        await asyncio.wait([sleeper])
        loop.call_at(120.0, alarm.ring)
        await alarm.sleep_until(600.0)
        return sleeper.cancelled() and loop.time() == 120.0

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        assert runner.run(cancel_a_sleeper())

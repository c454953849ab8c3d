"""An update is cut at every write to flash and at every event of the network, one after the other.

Each time it is a whole charger in the whole simulated cloud, from the call of command 201 until the new firmware is
confirmed: download, installation, reboot, trial, and all that a boot does. The same seed gives the same writes and the
same events up to the cut, so what one undisturbed run counts is all there is. Whatever boots after a cut is judged by
the bytes in its slot: they are the image of a manifest whose signature holds.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

import pytest

from emulator.flash.faulty import Cut, CutDevice
from tests.firmware.update_trial import NEW, OFF_S, OLD, Trial, lose_power, lose_power_at_write, play

NEVER = sys.maxsize
ORDERS_MAX = 2
"""The order that was cut, and the next try."""
WITHIN_S = 600.0


async def undisturbed(trial: Trial) -> None:
    trial.host.armed = True
    await trial.finish(WITHIN_S)


def judge(trial: Trial, what: str, tally: Counter[str]) -> None:
    """The update has ended well, and whatever has booted on the way was a whole image, the old one or the new."""
    assert trial.boots[0] == (OLD, True)
    assert trial.boots[-1] == (NEW, True), what
    assert all(whole and version in (OLD, NEW) for version, whole in trial.boots), (what, trial.boots)
    assert trial.orders <= ORDERS_MAX, (what, trial.orders)
    tally[f"booted {'old' if trial.boots[1][0] == OLD else 'new'} next"] += 1
    tally["done by the first order" if trial.orders == 1 else f"done by order {trial.orders}"] += 1


def told(tally: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(tally.items()))


def test_the_judge_sees_a_single_bit() -> None:
    async def rotten(trial: Trial) -> None:
        trial.charger.inject({"kind": "device.slot_damaged", "slot": "b"})
        trial.charger.cut_power()
        trial.charger.restore_power()
        await asyncio.sleep(OFF_S)
        await trial.until_online()

    assert play(rotten).boots == [(OLD, True), (OLD, False)]


@pytest.mark.slow
def test_a_cut_in_the_middle_of_every_write_to_flash(capsys: pytest.CaptureFixture[str]) -> None:
    every_write("half of it landed", lambda write: Cut(write, 0.5), capsys)


@pytest.mark.slow
def test_a_cut_before_every_write_to_flash_that_loses_others_since_the_last_flush(
    capsys: pytest.CaptureFixture[str],
) -> None:
    every_write("nothing of it landed, nor all before it", lambda write: Cut(write, 0.0, Random(write)), capsys)


def every_write(name: str, cut: Callable[[int], Cut], capsys: pytest.CaptureFixture[str]) -> None:
    chips: list[CutDevice] = []
    tally: Counter[str] = Counter()

    async def story(trial: Trial, cut: Cut) -> None:
        chips.append(lose_power_at_write(trial, cut))
        await trial.finish(WITHIN_S)

    play(partial(story, cut=Cut(NEVER)))
    writes = chips[0].writes
    assert writes > 5 * 16  # five blocks of sixteen sectors each
    for write in range(1, writes + 1):
        trial = play(partial(story, cut=cut(write)))
        assert chips[-1].dead, write
        judge(trial, f"write {write}, {name}", tally)
    with capsys.disabled():
        print(f"\ncut at every one of {writes} writes to flash, {name}: {told(tally)}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "on_cut"),
    [("the connection is reset", lambda trial: False), ("the power fails", lose_power)],
    ids=["reset", "power"],
)
def test_a_cut_at_every_event_of_the_network(
    name: str, on_cut: Callable[[Trial], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    tally: Counter[str] = Counter()
    events = play(undisturbed).host.events
    for event in range(1, events.total() + 1):
        trial = play(undisturbed, event, on_cut)
        assert trial.host.cut is not None, event
        judge(trial, f"event {event}, {trial.host.cut}: {name}", tally)
    with capsys.disabled():
        print(f"\ncut at every one of {events.total()} events of the network ({told(events)}), {name}: {told(tally)}")

"""A Wi-Fi link that is lost is tried again after a second (zaptec.md section 4), and then as any other."""

import asyncio

import pytest

from emulator.trace import Recorder, TraceEvent
from tests.life import SERIAL, Life, live


def first(trace: Recorder, name: str) -> TraceEvent:
    return trace.where(name, SERIAL)[0]


def last(trace: Recorder, name: str) -> TraceEvent:
    return trace.where(name, SERIAL)[-1]


@pytest.mark.parametrize(("mode", "waited_s"), [("wifi", 1.0), ("lte", 10.0), ("ethernet", 10.0)])
def test_a_wi_fi_link_that_drops_for_a_moment_is_back_in_seconds(mode: str, waited_s: float) -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        heal = await life.inject(kind="link.down")
        heal()
        await life.until("device.online", within_s=60)

    trace = live(story, local={"mode": mode})
    lost, (wait,) = first(trace, "device.offline"), trace.where("reconnect.wait", SERIAL)
    assert (wait.t, wait.data["after_s"], wait.data["why"]) == (lost.t, waited_s, "reset")
    again = last(trace, "boot.link.passed")
    assert again.t - lost.t == pytest.approx(waited_s + again.data["seconds"])
    assert again.data["attempt"] == 2 and not trace.where("boot.*.failed")


def test_when_the_access_point_stays_away_the_waits_grow_after_the_first() -> None:
    async def story(life: Life) -> None:
        await life.until("device.online")
        await life.inject(kind="wifi.ssid_changed")
        for _ in range(4):
            await life.until("boot.link.failed", within_s=120)
        await asyncio.sleep(1)

    waits = [event.data["after_s"] for event in live(story).where("reconnect.wait", SERIAL)]
    assert waits[0] == 1.0
    assert all(10 + n**2 <= wait <= (10 + n**2) * 4 / 3 for n, wait in enumerate(waits[1:], 1)) and len(waits) == 5


def test_wi_fi_that_is_lost_in_the_middle_of_the_boot_is_back_in_a_second_too() -> None:
    async def story(life: Life) -> None:
        await life.inject(kind="dns.silence", for_s=3.0)
        await life.until("boot.address.passed")
        heal = await life.inject(kind="link.down")
        heal()
        await life.until("device.online", within_s=60)

    trace = live(story)
    failed, (wait,) = first(trace, "boot.names.failed"), trace.where("reconnect.wait", SERIAL)
    assert (failed.data["why"], wait.data["after_s"]) == ("no_carrier", 1.0)
    assert last(trace, "boot.link.passed").data["attempt"] == 2

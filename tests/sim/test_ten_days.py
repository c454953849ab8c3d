"""Ten days of one charger: leases, clock, a new root certificate and three outages, in a few seconds of real time."""

import asyncio
import time

from emulator.trace import Recorder
from tests.life import SERIAL, Life, live

DAY_S = 86_400.0
REAL_MAX_S = 20.0


async def at(day: float) -> None:
    """Sleep until so many days since the world began."""
    await asyncio.sleep(day * DAY_S - asyncio.get_running_loop().time())


async def broken(life: Life, for_s: float, **fault: object) -> None:
    """Break something for a while."""
    heal = await life.inject(**fault)
    await asyncio.sleep(for_s)
    heal()


async def ten_days(life: Life) -> None:
    await at(1.3)
    await broken(life, 3600, kind="link.down")
    await at(3.1)
    life.world.publish_bundle("both")
    await life.inject(kind="hub.certificate", bad="new_root")
    await at(3.2)
    await broken(life, 60, kind="site.half_open")  # the old session ends only now, and the new one meets the new root
    await at(5.5)
    await broken(life, 7200, kind="site.block", port=8883)
    await at(8.2)
    await broken(life, 1800, kind="wifi.password_changed")
    await at(10)


def of_days(trace: Recorder, name: str) -> list[float]:
    """When an event happened, in days."""
    return [event.t / DAY_S for event in trace.where(name, SERIAL)]


def test_ten_days_with_outages_and_a_new_root() -> None:
    began = time.monotonic()  # noqa: TID251 - real time is what is asserted
    trace = live(ten_days)
    took_s = time.monotonic() - began  # noqa: TID251
    assert took_s < REAL_MAX_S
    assert len(of_days(trace, "lease.renewed")) >= 35, "twelve hours each, renewed after six"
    resynced = of_days(trace, "clock.resynced")
    assert len(resynced) >= 8 and {int(day) for day in resynced} >= {2, 4, 6, 7, 9}
    assert [event.data["version"] for event in trace.where("trust.fetched", SERIAL)] == [9]
    offline = of_days(trace, "device.offline")
    assert [int(day) for day in offline] == [1, 3, 5, 8]
    assert len(trace.where("device.online", SERIAL)) == 1 + len(offline), "each time it came back"
    failed = {event.data["why"] for event in trace.where("boot.*.failed", SERIAL)}
    assert failed == {"no_carrier", "tls_unknown_ca", "timed_out", "wifi_password"}

"""What becomes of a lease, in virtual time and on real sockets. What keeps a charger from one: `test_worlds_dhcp`."""

from collections.abc import Callable
from typing import Any

import pytest

from emulator.trace import Recorder
from tests.life import Life, live

QUICK = {
    "dhcp.first_retransmit_s": 0.1,
    "dhcp.jitter_s": 0.02,
    "dhcp.budget_s": 0.5,
    "backoff.first_s": 0.1,
    "backoff.cap_without_car_s": 0.0,
}
"""The same waits everywhere, short enough for real time."""


@pytest.fixture(params=["sim", "loopback"])
def tell(request: pytest.FixtureRequest) -> Callable[..., Recorder]:
    """`live` in one of the worlds, on a cable."""

    def one(story, *faults: dict[str, Any]) -> Recorder:
        def strike(world) -> None:
            for fault in faults:
                world.inject(fault, where="test")

        return live(story, world=request.param, changes=QUICK, local={"mode": "ethernet"}, before=strike)

    return one


def test_a_short_lease_is_renewed_kept_over_a_reboot_and_lost_when_the_site_gets_new_addresses(tell) -> None:
    async def story(life: Life) -> None:
        for _ in range(2):
            await life.until("lease.renewed", within_s=10, by="renewing")
        life.charger.reboot("test")
        await life.until("boot.address.passed", within_s=10, how="remembered")
        await life.inject(kind="dhcp.renumber")
        await life.until("lease.lost", within_s=10, why="nak")
        moved = await life.until("boot.address.passed", within_s=20)
        assert ".251." in moved.data["address"]
        await life.until("device.online", within_s=20)

    tell(story, {"kind": "dhcp.short_lease", "lease_s": 1})


def test_a_lease_that_is_not_renewed_ends_on_time(tell) -> None:
    async def story(life: Life) -> None:
        got = await life.until("boot.address.passed", within_s=10)
        await life.inject(kind="dhcp.silence")
        lost = await life.until("lease.lost", within_s=10, why="expired")
        assert lost.t - got.t == pytest.approx(2.0, abs=0.3)
        assert life.charger.snapshot().address is None

    tell(story, {"kind": "dhcp.short_lease", "lease_s": 2})

"""A root change, in virtual time and on real sockets. A charger without its trust bundle: `test_worlds_tls`."""

from collections.abc import Callable

import pytest

from emulator.trace import Recorder
from tests.life import SERIAL, Life, live

QUICK = {
    "trust.timeout_s": 1.0,
    "trust.first_retry_s": 0.5,
    "network.connect_timeout_s": 0.6,
    "backoff.first_s": 0.1,
    "backoff.cap_without_car_s": 0.0,
}
"""The same waits everywhere, short enough for real time."""


@pytest.fixture(params=["sim", "loopback"])
def tell(request: pytest.FixtureRequest) -> Callable[..., Recorder]:
    """`live` in one of the worlds."""
    return lambda story: live(story, world=request.param, changes=QUICK)


def test_a_root_change_is_told_alike(tell) -> None:
    async def story(life: Life) -> None:
        await life.inject(kind="hub.certificate", bad="new_root")
        life.world.publish_bundle("new")
        await life.until("device.online", within_s=20)

    trace = tell(story)
    rows = [(e.data["stage"], e.data["why"]) for e in trace.where("boot.*", SERIAL) if "outcome" in e.data]
    assert rows[4:] == [
        ("trust", None),
        ("hub", "tls_unknown_ca"),
        ("names", None),
        ("time", None),
        ("trust", None),
        ("hub", None),
        ("firmware", None),
    ]

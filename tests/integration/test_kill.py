"""``kill -9`` of an endpoint worker, of Mosquitto, of both, and of a whole cloud, in the middle of streams up and down.

Whatever was acknowledged must arrive; what arrives twice is allowed, counted and printed. Everybody reconnects.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from certs.make import default_dir, ensure
from tests.hub.streams import Streams, clients, streams, until
from tests.integration.other_broker import OtherBroker, free_port
from tests.programs import CloudProgram

pytestmark = [pytest.mark.needs("mosquitto"), pytest.mark.slow]

DEVICES, WORKERS = 6, 2
BEFORE_S, ABSENT_S, AFTER_S = 3.0, 1.5, 1.0
"""How long the streams run before one judge goes (Mosquitto has written its session down by then), until the kill, and
after all is well."""
MORE = 20


def played(running: Streams, how: str) -> None:
    """The streams go on for a while, are settled, and nothing was lost."""
    running.wait_for_more(MORE)
    running.absent.come()
    time.sleep(AFTER_S)  # noqa: TID251 - the streams run in real time
    up, down = running.settle()
    until(lambda: clients(running.cloud)["online"] == DEVICES, "somebody is missing")
    assert up.acknowledged > 200 and down.acknowledged > 50
    print(f"\nkill -9 of {how}: up {up}; down {down}; {running.logins} logins", file=sys.stderr)


def begun(running: Streams) -> None:
    """The streams have run for a while, and something is in the memory of the broker alone."""
    time.sleep(BEFORE_S)  # noqa: TID251 - the streams run in real time
    running.absent.go()
    time.sleep(ABSENT_S)  # noqa: TID251 - as above
    running.mark()


def victims(cloud: CloudProgram, what: str) -> list[int]:
    """Process ids."""
    seen = clients(cloud)
    workers = [max(seen["workers"], key=lambda worker: worker["online"])["pid"]] if what != "mosquitto" else []
    return [*workers, *([seen["mosquitto"]["pid"]] if what != "worker" else [])]


@pytest.mark.parametrize("what", ["worker", "mosquitto", "both"])
def test_nothing_that_was_acknowledged_is_lost_with_a_part(what: str) -> None:
    with CloudProgram("--workers", str(WORKERS), "--bus", "lean") as cloud, streams(cloud, DEVICES) as running:
        begun(running)
        for pid in victims(cloud, what):
            os.kill(pid, signal.SIGKILL)
        played(running, what)
        assert bool(running.logins) == (what != "mosquitto")
        assert clients(cloud)["mosquitto"]["restarts"] == (what != "worker")


@pytest.fixture
def options(tmp_path: Path) -> tuple[str, ...]:
    """A state folder, and a port for the control API: with both a cloud comes back where it was."""
    state = tmp_path / "state"
    shutil.copytree(ensure(default_dir()).path, state / "certs")  # making new ones takes its time
    return "--state", str(state), "--control-port", str(free_port())


@pytest.mark.needs("setpriv")
@pytest.mark.parametrize(
    "more",
    [("--bus", "mosquitto"), ("--bus", "lean"), ("--workers", str(WORKERS))],
    ids=["mosquitto", "lean", "workers"],
)
def test_nor_with_the_whole_cloud_that_comes_back_where_it_was(options: tuple[str, ...], more: tuple[str, ...]) -> None:
    """Its Mosquitto and its workers die with it."""
    with ExitStack() as stack:
        first = stack.enter_context(CloudProgram(*options, *more))
        running = stack.enter_context(streams(first, DEVICES))
        begun(running)
        first.send_signal(signal.SIGKILL)
        second = stack.enter_context(CloudProgram(*options, *more))
        assert places(second) == places(first)
        played(running, f"the whole cloud, {' '.join(more)}")
        assert running.logins >= DEVICES


@pytest.mark.parametrize("broker_too", [False, True], ids=["cloud alone", "with its broker"])
def test_nor_with_a_cloud_at_the_broker_of_somebody_else(
    options: tuple[str, ...], tmp_path: Path, broker_too: bool
) -> None:
    broker = OtherBroker(tmp_path / "broker")
    with ExitStack() as stack:
        running_broker = broker.run(stack)
        first = stack.enter_context(CloudProgram(*options, "--broker", f"127.0.0.1:{broker.port}"))
        running = stack.enter_context(streams(first, DEVICES))
        begun(running)
        first.send_signal(signal.SIGKILL)
        if broker_too:
            running_broker.send_signal(signal.SIGKILL)
            running_broker.ended()
            broker.run(stack)
        second = stack.enter_context(CloudProgram(*options, "--broker", f"127.0.0.1:{broker.port}"))
        assert places(second) == places(first)
        played(running, f"a cloud{' and' if broker_too else ' at'} a broker of somebody else's")


def places(cloud: CloudProgram) -> dict[str, object]:
    """The ready line; but its trust bundle is signed anew each time."""
    return {**cloud.ready, "bundle": None}

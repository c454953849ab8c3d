"""Campaigns of a firmware server whose hub is another process: here the test, at the broker that both are on."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from certs.make import default_dir, ensure
from cloud_stub.bus.api import Delivery, Kind, filter_of, parse_topic, topic_of
from cloud_stub.bus.lean import LeanMosquittoBus
from cloud_stub.hub.memory import HubMemory, hub_memory
from cloud_stub.production import production_secret
from cloud_stub.state.database import FILE_NAME, State
from cloud_stub.state.registry import derived_keys
from emulator.clock import system_utc
from emulator.net.api import Address
from emulator.wire.messages import Observation, observation
from tests.integration.other_broker import OtherBroker
from tests.integration.served import Served, own_address
from tests.programs import Program, python

pytestmark = [pytest.mark.needs("root", "mosquitto"), pytest.mark.slow]

FIRST, SECOND, LATE = SERIALS = ("ZPR000001", "ZPR000002", "ZPR000003")
NEW, COMPUTER_VERSION = "5.4.0.0", 911
CAMPAIGN = {"id": "spring", "version": NEW, "size_bytes": 1 << 20, "command": 200, "calls_per_s": 100}
WITHIN_S, LOOK_S = 30.0, 0.1


class Hub:
    """A hub as far as the firmware server sees it: what it has written down, and what it says on the bus."""

    def __init__(self, state: Path, broker: Address) -> None:
        secret = production_secret(state, lambda size: b"s" * size)
        self.memory: HubMemory = hub_memory(State(state / FILE_NAME), derived_keys(secret), system_utc)
        self.memory.registry.produce_all(SERIALS)
        self.called: list[tuple[str, ...]] = []
        self._bus = LeanMosquittoBus(broker)

    async def start(self) -> None:
        await self._bus.start()
        await self._bus.subscribe(filter_of(Kind.METHOD), self._call)

    async def stop(self) -> None:
        await self._bus.stop()
        self.memory.state.close()

    def connect(self, serial: str) -> None:
        """It has logged in, and nobody says so on the bus: that may have been long ago."""
        self.memory.sessions.begin(serial, clean=True)

    async def report(self, serial: str) -> None:
        """The charger runs the release."""
        message = observation(Observation(COMPUTER_VERSION, NEW, system_utc()))
        await self._bus.publish(topic_of(serial, Kind.D2C), message)

    def _call(self, delivery: Delivery) -> None:
        route = parse_topic(delivery.topic)
        assert route is not None
        name, rid = route.rest
        self.called.append((route.device_id, name))
        self._bus.publish(topic_of(route.device_id, Kind.METHOD_RESPONSE, "200", rid), b"")


@asynccontextmanager
async def a_hub(state: Path, broker: Address) -> AsyncIterator[Hub]:
    hub = Hub(state, broker)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


async def until(look: Callable[[], Any], wanted: Any) -> None:
    for _ in range(round(WITHIN_S / LOOK_S)):
        if look() == wanted:
            return
        await asyncio.sleep(LOOK_S)
    raise AssertionError(f"{look()} instead of {wanted}, for {WITHIN_S:.0f} s")


def standings(https: Served) -> dict[str, str]:
    _, told = https.call("GET", "/campaigns/spring/devices")
    return {each["serial"]: each["standing"] for each in told["devices"]}


def test_what_chargers_say_is_kept_for_a_firmware_server_that_is_away(tmp_path: Path) -> None:
    """Killed or ended in order: chargers go on to talk to the hub, and none of it is lost."""
    (tmp_path / "certs").symlink_to(ensure(default_dir()).path)
    with ExitStack() as stack:
        broker = OtherBroker(tmp_path / "broker")
        broker.run(stack)
        asyncio.run(story(tmp_path, Address("127.0.0.1", broker.port)))


async def story(state: Path, broker: Address) -> None:
    options = (own_address(), "--state", str(state), "--broker", str(broker))
    async with a_hub(state, broker) as hub:
        hub.connect(FIRST)
        hub.connect(SECOND)
        with Served("https", *options) as https:
            assert https.call("POST", "/campaigns", CAMPAIGN)[0] == 201
            await until(lambda: sorted(hub.called), [(FIRST, "200"), (SECOND, "200")])
            await until(lambda: https.call("GET", "/campaigns/spring")[1]["calls"]["waiting"], 1)
            with Program(*python("cloud_stub", "serve", "--services", "https", "--address", *options)) as another:
                complaint = another.ended()
            assert (complaint.status, complaint.errors.count("\n")) == (2, 1)
            assert "--broker: another firmware server looks after the campaigns in" in complaint.errors
            https.send_signal(signal.SIGKILL)
            https.ended()
        await hub.report(FIRST)
        with Served("https", *options) as https:
            await until(lambda: standings(https), {FIRST: "installed", SECOND: "offered", LATE: "offered"})
            https.send_signal(signal.SIGTERM)
            assert https.ended().status == 0
        await hub.report(SECOND)
        with Served("https", *options) as https:
            await until(lambda: standings(https), {FIRST: "installed", SECOND: "installed", LATE: "offered"})
            hub.connect(LATE)
            await until(lambda: hub.called[2:], [(LATE, "200")])
            await hub.report(LATE)
            await until(lambda: https.call("GET", "/campaigns/spring")[1]["state"], "completed")
    assert len(hub.called) == len(SERIALS), "nobody was called twice"

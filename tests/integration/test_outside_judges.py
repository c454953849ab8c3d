"""Other people's clients at the endpoint and on the bus: paho logs in as a charger, mosquitto_sub watches."""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from certs.layout import HUB_HOST, CertsDir
from certs.make import ensure
from cloud_stub.bus.mosquitto import MosquittoBus, MosquittoProcess
from cloud_stub.hub.contexts import contexts_of
from cloud_stub.hub.endpoint import Endpoint
from cloud_stub.hub.memory import hub_memory
from cloud_stub.hub.methods import MethodResult, Methods
from cloud_stub.hub.policies import Policies
from cloud_stub.hub.rules import HubRules
from cloud_stub.state.database import State
from cloud_stub.state.registry import derived_keys
from emulator.clock import system_utc
from emulator.net.api import Address
from emulator.net.loopback import LoopbackHost, claim_plan
from emulator.wire.iothub import charger_events_topic, sas_token, username

pytestmark = pytest.mark.needs("mosquitto", "mosquitto_sub", "mosquitto_pub")

SERIAL = "ZPR000001"
WITHIN_S = 30
EVENTS = charger_events_topic(SERIAL, "default", "00000000-0000-0000-0000-000000000000")


@dataclass(frozen=True)
class Hub:
    """A running endpoint on loopback sockets with Mosquitto behind it."""

    certs: CertsDir
    real: tuple[str, int]
    broker: Address
    methods: Methods
    key: bytes


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Hub]:
    loop, certs = asyncio.get_running_loop(), ensure(directory / "certs")
    plan, claim = claim_plan(Random(os.getpid()))
    memory, broker = hub_memory(State(), derived_keys(b"s" * 32), system_utc), MosquittoProcess(directory)
    address = Address(f"{plan.prefix}.2.1", 8883)
    bus = MosquittoBus(await broker.start())
    methods = Methods(bus)
    endpoint = Endpoint(
        rng=Random(1),
        utc=system_utc,
        now=loop.time,
        memory=memory,
        policies=Policies(b"s" * 32),
        bus=bus,
        contexts=contexts_of(certs, HUB_HOST),
        rules=HubRules(HUB_HOST),
    )
    await bus.start()
    await methods.start()
    await endpoint.start(LoopbackHost(plan, "hub", address=address.host))
    real = plan.real(address)
    assert real is not None and broker.address is not None
    try:
        yield Hub(certs, real, broker.address, methods, memory.registry.produce(SERIAL).primary_key)
    finally:
        await endpoint.stop()
        methods.stop()
        await bus.stop()
        await broker.stop()
        claim.close()


class PahoCharger:
    """paho-mqtt as a charger: answers every method with status 200 and echoes the payload."""

    def __init__(self, hub: Hub) -> None:
        self._loop = asyncio.get_running_loop()
        self._steps: asyncio.Queue[Any] = asyncio.Queue()
        self._hub = hub
        client = self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=SERIAL, protocol=paho.MQTTv311)
        expiry = int(datetime.now(UTC).timestamp()) + 600  # noqa: TID251 - a client of its own, on the machine's clock
        token = sas_token(f"ZapCloud.azure-devices.net/devices/{SERIAL}", hub.key, expiry)
        client.username_pw_set(username(HUB_HOST, SERIAL, "2018-06-30"), token)
        context = ssl.create_default_context(cafile=str(hub.certs.roots_path))
        context.check_hostname = False  # paho checks the name that it dials, an address here
        client.tls_set_context(context)
        client.will_set(EVENTS, b"broke", qos=1)
        client.on_connect = lambda *args: self._tell(("connected", args[3].value))
        client.on_subscribe = lambda *args: self._tell(("granted", [code.value for code in args[3]]))
        client.on_publish = lambda *args: self._tell(("acknowledged", args[2]))
        client.on_message = self._message

    def _tell(self, step: Any) -> None:
        self._loop.call_soon_threadsafe(self._steps.put_nowait, step)

    def _message(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        if message.topic.startswith("$iothub/methods/POST/"):
            rid = message.topic.partition("$rid=")[2]
            client.publish(f"$iothub/methods/res/200/?$rid={rid}", message.payload, qos=0)
        else:
            self._tell((message.topic, message.payload))

    async def step(self) -> Any:
        return await self._steps.get()

    async def message(self, topic: str) -> bytes:
        """The next message to this topic, whatever comes before it."""
        while (step := await self.step())[0] != topic:
            pass
        return bytes(step[1])

    async def login(self) -> None:
        host, port = self._hub.real
        await asyncio.to_thread(self.client.connect, host, port, 300)
        self.client.loop_start()
        assert await self.step() == ("connected", 0)
        self.client.subscribe([("$iothub/methods/POST/#", 2), ("$iothub/twin/res/#", 2)])
        assert await self.step() == ("granted", [1, 1])

    async def leave(self) -> None:
        self.client.disconnect()
        await asyncio.to_thread(self.client.loop_stop)


@asynccontextmanager
async def watching(hub: Hub) -> AsyncIterator[asyncio.StreamReader]:
    """Lines of mosquitto_sub on everything below hub/."""
    connection = ("-h", hub.broker.host, "-p", str(hub.broker.port), "-V", "5")
    process = await asyncio.create_subprocess_exec(
        "mosquitto_sub", *connection, "-t", "hub/#", "-t", "ready", "-F", "%t %p %P", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(100):  # until its subscription is known to stand
        await _publish(hub, "ready", "")
        try:
            async with asyncio.timeout(0.2):
                await process.stdout.readline()
            break
        except TimeoutError:
            continue
    try:
        yield process.stdout
    finally:
        process.terminate()
        await process.communicate()


async def _publish(hub: Hub, topic: str, payload: str) -> None:
    connection = ("-h", hub.broker.host, "-p", str(hub.broker.port), "-V", "5")
    process = await asyncio.create_subprocess_exec("mosquitto_pub", *connection, "-t", topic, "-m", payload)
    assert await process.wait() == 0


async def _line(lines: asyncio.StreamReader, *words: str) -> str:
    """The next line that has all these words."""
    while True:
        line = (await lines.readline()).decode()
        assert line, "mosquitto_sub has ended"
        if all(word in line for word in words):
            return line


def play(story: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(WITHIN_S):
            await story

    asyncio.run(main())


def test_paho_as_a_charger_and_mosquitto_sub_on_the_bus(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as hub, watching(hub) as lines:
            charger = PahoCharger(hub)
            await charger.login()
            await _line(lines, f"hub/{SERIAL}/connection", '"connected"')
            charger.client.publish(EVENTS, b'{"Type":2}', qos=1)
            assert (await charger.step())[0] == "acknowledged"
            assert "ri:default" in await _line(lines, f'hub/{SERIAL}/d2c {{"Type":2}}', "iothub-connection-device-id")

            assert await hub.methods.invoke(SERIAL, "501", ["16", "4"]) == MethodResult(200, ["16", "4"])
            await _line(lines, f"hub/{SERIAL}/method/501/", '["16","4"]')
            await _line(lines, f"hub/{SERIAL}/method-response/200/")

            charger.client.publish("$iothub/twin/GET/?$rid=4200", b"", qos=0)
            twin = json.loads(await charger.message("$iothub/twin/res/200/?$rid=4200"))
            assert twin["desired"]["$version"] == 1
            await charger.leave()
            await _line(lines, f"hub/{SERIAL}/connection", '"disconnected"', '"disconnect"')

    play(story())


def test_mosquitto_pub_calls_a_method(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as hub, watching(hub) as lines:
            charger = PahoCharger(hub)
            await charger.login()
            await _publish(hub, f"hub/{SERIAL}/method/502/mine", "null")
            await _line(lines, f"hub/{SERIAL}/method-response/200/mine null")
            await charger.leave()

    play(story())

"""The bus and its broker as real processes: start, death, restart."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiomqtt
import pytest

from cloud_stub.bus.api import BusError, Delivery
from cloud_stub.bus.broker import mosquitto_binary
from cloud_stub.bus.lean import LeanMosquittoBus
from cloud_stub.bus.mosquitto import MosquittoBus, MosquittoProcess
from emulator.errors import UsageError
from emulator.wire.address import Address

pytestmark = pytest.mark.needs("mosquitto")

WITHIN_S = 30
Kind = type[MosquittoBus] | type[LeanMosquittoBus]
either_client = pytest.mark.parametrize("kind", [MosquittoBus, LeanMosquittoBus])


def play(story) -> None:
    async def main() -> None:
        async with asyncio.timeout(WITHIN_S):
            await story

    asyncio.run(main())


def test_it_listens_on_loopback_only_and_frees_the_port(tmp_path: Path) -> None:
    async def story() -> None:
        broker = MosquittoProcess(tmp_path)
        address = await broker.start()
        assert address == broker.address and address.host == "127.0.0.1"
        async with aiomqtt.Client(address.host, address.port, protocol=aiomqtt.ProtocolVersion.V5):
            pass
        await broker.stop()
        await broker.stop()
        assert broker.died is not None and not broker.died.done()
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection(address.host, address.port)

    play(story())


def test_two_run_side_by_side(tmp_path: Path) -> None:
    async def story() -> None:
        directories = [tmp_path / name for name in "ab"]
        for directory in directories:
            directory.mkdir()
        brokers = [MosquittoProcess(directory) for directory in directories]
        first, second = await asyncio.gather(*(broker.start() for broker in brokers))
        assert first != second
        await asyncio.gather(*(broker.stop() for broker in brokers))

    play(story())


def test_its_death_is_reported(tmp_path: Path) -> None:
    async def story() -> None:
        broker = MosquittoProcess(tmp_path)
        await broker.start()
        assert broker.died is not None and broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        assert "mosquitto ended with status -9" in await broker.died
        await broker.stop()

    play(story())


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    async def story() -> None:
        first = MosquittoProcess(tmp_path)
        second = MosquittoProcess(tmp_path)
        second.address = await first.start()
        with pytest.raises(BusError, match=r"mosquitto does not start: .*in use"):
            await second.start()
        await second.stop()
        await first.stop()
        with pytest.raises(BusError, match="mosquitto does not start"):
            await MosquittoProcess(tmp_path, binary="/bin/false").start()

    play(story())


def test_a_missing_binary_is_bad_usage(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(UsageError, match="/nowhere/mosquitto"):
            await MosquittoProcess(tmp_path, binary="/nowhere/mosquitto").start()

    play(story())
    assert Path(mosquitto_binary()).name == "mosquitto"


@pytest.mark.needs("setpriv")
def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """Even when the parent is killed and can do nothing about it."""
    code = (
        "import asyncio, sys, pathlib\n"
        "from cloud_stub.bus.mosquitto import MosquittoProcess\n"
        "async def main():\n"
        "    broker = MosquittoProcess(pathlib.Path(sys.argv[1]))\n"
        "    await broker.start()\n"
        "    print(broker.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        broker = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()

    async def story() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(broker, ended.set)
        await ended.wait()
        asyncio.get_running_loop().remove_reader(broker)

    play(story())
    os.close(broker)


@either_client
def test_no_broker_at_the_start_is_an_error(kind: Kind) -> None:
    async def story() -> None:
        with pytest.raises(BusError, match=r"no MQTT 5 broker at 127\.0\.0\.1:1"):
            await kind(Address("127.0.0.1", 1)).start()

    play(story())


@either_client
def test_after_a_restart_everything_open_is_sent_again_in_order(kind: Kind, tmp_path: Path) -> None:
    async def story() -> None:
        broker = MosquittoProcess(tmp_path)
        bus, got, complete = kind(await broker.start()), list[Delivery](), asyncio.Event()

        def heard(delivery: Delivery) -> None:
            got.append(delivery)
            if delivery.payload == b"199":
                complete.set()

        await bus.start()
        await bus.subscribe("hub/#", heard)
        await bus.publish("hub/x/d2c", b"before")
        await broker.stop()
        sent = [bus.publish("hub/x/d2c", b"%d" % number) for number in range(200)]
        await broker.start()
        await asyncio.gather(*sent)
        await complete.wait()
        assert bus.connects == 2
        assert [delivery.payload for delivery in got] == [b"before", *(b"%d" % number for number in range(200))]
        await bus.stop()
        await broker.stop()

    play(story())


@either_client
def test_a_broker_that_is_killed_in_full_flight_loses_nothing(kind: Kind, tmp_path: Path) -> None:
    async def story() -> None:
        broker = MosquittoProcess(tmp_path)
        bus = kind(await broker.start())
        await bus.start()
        sent = [bus.publish("hub/x/d2c", b"%d" % number) for number in range(5000)]
        await sent[100]
        assert broker.pid is not None and broker.died is not None
        os.kill(broker.pid, signal.SIGKILL)
        await broker.died
        assert not sent[-1].done()
        await broker.start()
        await asyncio.gather(*sent)
        await bus.stop()
        await broker.stop()

    play(story())


@either_client
def test_patience_has_an_end_and_the_bus_comes_back_all_the_same(kind: Kind, tmp_path: Path) -> None:
    async def story() -> None:
        broker = MosquittoProcess(tmp_path)
        bus = kind(await broker.start(), patience_s=0.3)
        await bus.start()
        await broker.stop()
        with pytest.raises(BusError, match=r"no broker at .* for 0\.3 s"):
            await bus.publish("hub/x/d2c", b"lost")
        await broker.start()
        while True:
            try:
                await bus.publish("hub/x/d2c", b"again")
                break
            except BusError:
                continue
        await bus.stop()
        await broker.stop()

    play(story())


@either_client
def test_what_mqtt_does_not_allow_is_refused_by_itself_and_holds_up_nothing(kind: Kind, tmp_path: Path) -> None:
    """More of it than a client publishes at a time: none may take another's turn for good."""

    async def story() -> None:
        broker = MosquittoProcess(tmp_path)
        bus = kind(await broker.start())
        await bus.start()
        long = "x" * 65_536
        topics = [bus.publish(topic, b"") for topic in ("", "hub/+/d2c", "hub/#", "a\0b", long) for _ in range(20)]
        properties = [bus.publish("hub/x/d2c", b"", pairs) for pairs in ((("a", long),), ((long, "a"),))]
        for refused in await asyncio.gather(*topics, *properties, return_exceptions=True):
            assert isinstance(refused, BusError) and str(refused).startswith("bus: ")
        await bus.publish("hub/x/d2c", b"after")
        assert bus.connects == 1
        await bus.stop()
        await broker.stop()

    play(story())


@either_client
def test_stop_does_not_wait_for_ever(kind: Kind, tmp_path: Path) -> None:
    async def story() -> None:
        broker = MosquittoProcess(tmp_path)
        bus = kind(await broker.start())
        await bus.start()
        await broker.stop()
        late = bus.publish("hub/x/d2c", b"")
        await bus.stop()
        with pytest.raises(BusError):
            await late

    play(story())


@either_client
def test_a_stop_at_any_moment_of_the_start_leaves_no_connection_behind(kind: Kind, tmp_path: Path) -> None:
    complaints: list[str] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        broker = MosquittoProcess(tmp_path)
        address = await broker.start()
        for turns in range(30):
            bus = kind(address)
            starting = asyncio.create_task(bus.start())
            for _ in range(turns):
                await asyncio.sleep(0.0001)
            starting.cancel()
            await asyncio.wait([starting])
            await bus.stop()
        await broker.stop()

    play(story())
    gc.collect()
    assert complaints == []

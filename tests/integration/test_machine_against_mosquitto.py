"""Our MQTT client and our TLS against a Mosquitto that we did not write: each story ends in what its log says."""

import asyncio
import getpass
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

from certs.layout import HUB_HOST, CertsDir
from certs.make import default_dir, ensure
from cloud_stub.bus.broker import mosquitto_binary
from emulator.clock import Rtc, system_utc
from emulator.errors import NetError, NetReason
from emulator.machines.mqtt import (
    Acked,
    Connected,
    Ended,
    EndReason,
    Event,
    Granted,
    MqttClient,
    Received,
    Refused,
    Unsubscribed,
)
from emulator.net.api import Address
from emulator.net.loopback import LoopbackHost, LoopbackPlan, claim_plan
from emulator.net.tls import TlsStream, client_context, tls_connect
from emulator.wire.mqtt import Connect, Will
from tests.programs import Program
from tests.requirements import program

pytestmark = pytest.mark.needs("mosquitto", "mosquitto_passwd", "mosquitto_pub")

WITHIN_S = 10.0
PACKET_BYTES_MAX = 1 << 20
USER, PASSWORD = "ZPR000001", b"open sesame"
PORT = 8883

E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Broker:
    """A plain Mosquitto with TLS and passwords; its log is its output."""

    program: Program
    plan: LoopbackPlan
    address: Address
    certs: CertsDir

    def logged(self, text: str) -> str:
        return self.program.line_with(text, WITHIN_S)

    def publish(self, topic: str, payload: str, qos: int) -> None:
        host, port = self.plan.binding(self.address)
        command = [program("mosquitto_pub"), "-h", host, "-p", str(port), "-u", USER, "-P", PASSWORD.decode()]
        command += ["--cafile", str(self.certs.roots_path), "--insecure"]  # by address; our own client checks the name
        subprocess.run([*command, "-t", topic, "-m", payload, "-q", str(qos)], check=True, timeout=WITHIN_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Starts a Mosquitto on a loopback network that nobody else has."""
    plan, claim = claim_plan(Random())
    started: list[Program] = []

    def one(tls_version: str = "tlsv1.2") -> Broker:
        certs, address = ensure(default_dir()), Address(f"{plan.prefix}.9.1", PORT)
        chain, key = certs.server("localhost")
        host, port = plan.binding(address)
        passwords = tmp_path / "passwords"
        passwords.write_text(f"{USER}:{PASSWORD.decode()}\n")
        subprocess.run([program("mosquitto_passwd"), "-U", passwords], check=True, timeout=WITHIN_S)
        configuration = tmp_path / "mosquitto.conf"
        configuration.write_text(
            f"listener {port} {host}\ncertfile {chain}\nkeyfile {key}\ntls_version {tls_version}\n"
            f"password_file {passwords}\nuser {getpass.getuser()}\nlog_dest stderr\nlog_type all\n"
        )
        started.append(Program(mosquitto_binary(), "-c", str(configuration), tell=subprocess.STDOUT))
        started[-1].line_with(" running")
        return Broker(started[-1], plan, address, certs)

    try:
        yield one
    finally:
        for running in started:
            running.__exit__(None, None, None)
        claim.close()


class Client:
    """The machine on a TLS stream: bytes in, events out, one timer."""

    def __init__(self, stream: TlsStream, mqtt: MqttClient) -> None:
        self.mqtt = mqtt
        self.lost: asyncio.Future[NetError | None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._events: list[Event] = []
        self._more = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        stream.attach(self)
        mqtt.start(self.now)
        self.flush()

    @property
    def now(self) -> float:
        return self._loop.time()

    async def next(self, kind: type[E]) -> E:
        """The next event of a kind; a broker may send a message before the answer to it, or after."""
        async with asyncio.timeout(WITHIN_S):
            while not (found := [event for event in self._events if isinstance(event, kind)]):
                assert not self.mqtt.ended, self._events
                self._more.clear()
                await self._more.wait()
        self._events.remove(found[0])
        return found[0]

    def flush(self) -> None:
        self._stream.write(self.mqtt.output())
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.mqtt.deadline()
        self._timer = self._loop.call_at(deadline, self._wake) if deadline is not None else None

    def abort(self) -> None:
        self._stream.abort()

    def data_received(self, data: bytes) -> None:
        self._put(self.mqtt.receive(data, self.now))

    def connection_lost(self, error: NetError | None) -> None:
        self.lost.set_result(error)
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass

    def _wake(self) -> None:
        self._put(self.mqtt.wake(self.now))

    def _put(self, events: list[Event]) -> None:
        self._events += events
        self._more.set()
        self.flush()


async def connected(
    broker: Broker,
    *,
    client_id: str = "charger",
    password: bytes = PASSWORD,
    keep_alive_s: int = 60,
    will: Will | None = None,
    server_name: str = "localhost",
    roots_pem: str | None = None,
    number: int = 1,
) -> Client:
    """TCP, TLS and CONNECT; the answer is still on its way."""
    host = LoopbackHost(broker.plan, client_id, address=f"{broker.plan.prefix}.9.{number + 1}")
    tcp = await host.connect(broker.address, timeout_s=WITHIN_S)
    loop = asyncio.get_running_loop()
    rtc = Rtc(loop.time, built_at=system_utc())
    context = client_context(broker.certs.roots_pem() if roots_pem is None else roots_pem)
    stream = await tls_connect(tcp, context, server_name=server_name, rtc=rtc, timeout_s=WITHIN_S)
    packet = Connect(client_id, USER, password, keep_alive_s, True, will)
    return Client(stream, MqttClient(packet, max_packet_bytes=PACKET_BYTES_MAX, ack_timeout_s=WITHIN_S))


async def granted(client: Client, *filters: tuple[str, int]) -> tuple[int, ...]:
    packet_id = client.mqtt.subscribe(filters, client.now)
    client.flush()
    answer = await client.next(Granted)
    assert answer.packet_id == packet_id
    return answer.codes


def play(story: Awaitable[None]) -> None:
    async def main() -> None:
        async with asyncio.timeout(3 * WITHIN_S):
            await story

    asyncio.run(main())


def test_a_whole_conversation(start) -> None:
    broker = start()

    async def story() -> None:
        client = await connected(broker)
        assert await client.next(Connected) == Connected(session_present=False)
        assert await granted(client, ("exactly/#", 2), ("least/+", 1), ("most", 0)) == (2, 1, 0)

        assert client.mqtt.publish("most", b"\0\xff", qos=0, now=client.now) == 0
        client.flush()
        assert await client.next(Received) == Received("most", b"\0\xff", 0, False, False)

        packet_id = client.mqtt.publish("least/once", b"", qos=1, now=client.now)
        client.flush()
        assert await client.next(Acked) == Acked(packet_id)
        assert await client.next(Received) == Received("least/once", b"", 1, False, False)

        packet_id = client.mqtt.unsubscribe(("least/+", "most"), client.now)
        client.flush()
        assert await client.next(Unsubscribed) == Unsubscribed(packet_id)

        client.mqtt.disconnect(client.now)
        client.flush()
        assert await client.lost is None
        assert client.mqtt.ended

    play(story())
    assert "c1, k60" in broker.logged("New client connected")
    for line in ("Received SUBSCRIBE", "exactly/# (QoS 2)", "Received PUBACK", "UNSUBSCRIBE", "Received DISCONNECT"):
        broker.logged(line)


def test_a_message_of_qos_2_comes_exactly_once_and_is_released(start) -> None:
    broker = start()

    async def story() -> None:
        client = await connected(broker)
        await client.next(Connected)
        await granted(client, ("exactly/#", 2))
        await asyncio.to_thread(broker.publish, "exactly/once", "paid", 2)
        assert await client.next(Received) == Received("exactly/once", b"paid", 2, False, False)
        client.mqtt.publish("exactly/once", b"after", qos=1, now=client.now)
        client.flush()
        await client.next(Acked)
        assert (await client.next(Received)).payload == b"after"
        client.abort()

    play(story())
    for line in ("Sending PUBLISH to charger", "PUBREC from charger", "PUBREL to charger", "PUBCOMP from charger"):
        broker.logged(line)


def test_it_pings_and_the_connection_outlives_its_keep_alive(start) -> None:
    broker = start()

    async def story() -> None:
        client = await connected(broker, keep_alive_s=1)
        await client.next(Connected)
        for _ in range(4):  # at half a keep-alive each: longer than the broker waits for a silent client
            await asyncio.to_thread(broker.logged, "Sending PINGRESP to charger")
        client.mqtt.publish("x", b"alive", qos=1, now=client.now)
        client.flush()
        await client.next(Acked)
        client.abort()

    play(story())


def test_large_and_many_messages_keep_their_order(start) -> None:
    broker = start()
    payloads = [bytes([number]) * size for number, size in enumerate((1, 127, 128, 16_383, 16_384, 200_000, 500_000))]

    async def story() -> None:
        client = await connected(broker)
        await client.next(Connected)
        await granted(client, ("bulk", 0))
        for payload in payloads:
            client.mqtt.publish("bulk", payload, qos=0, now=client.now)
        client.flush()
        assert [(await client.next(Received)).payload for _ in payloads] == payloads
        client.abort()

    play(story())


def test_a_retained_message_is_marked_and_a_will_is_told(start) -> None:
    broker = start()

    async def story() -> None:
        first = await connected(broker, will=Will("wills", b"gone", qos=1, retain=False))
        await first.next(Connected)
        first.mqtt.publish("kept", b"for later", qos=1, now=first.now, retain=True)
        first.flush()
        await first.next(Acked)

        second = await connected(broker, client_id="witness", number=2)
        await second.next(Connected)
        await granted(second, ("kept", 1), ("wills", 1))
        assert await second.next(Received) == Received("kept", b"for later", 1, True, False)
        first.abort()
        assert await second.next(Received) == Received("wills", b"gone", 1, False, False)
        second.abort()

    play(story())


def test_the_same_client_id_again_ends_the_older_connection(start) -> None:
    broker = start()

    async def story() -> None:
        first = await connected(broker)
        await first.next(Connected)
        second = await connected(broker, number=2)
        await second.next(Connected)
        async with asyncio.timeout(WITHIN_S):
            await first.lost
        second.abort()

    play(story())
    broker.logged("already connected, closing old connection")


def test_a_wrong_password_is_refused_with_code_5(start) -> None:
    broker = start()

    async def story() -> None:
        client = await connected(broker, password=b"open barley")
        assert await client.next(Refused) == Refused(5)
        assert (await client.next(Ended)).reason is EndReason.REFUSED
        client.abort()

    play(story())
    broker.logged("not authorised")


def test_a_broker_that_ends_is_noticed(start) -> None:
    broker = start()

    async def story() -> None:
        client = await connected(broker)
        await client.next(Connected)
        broker.program.press_ctrl_c()
        async with asyncio.timeout(WITHIN_S):
            await client.lost

    play(story())
    assert broker.program.ended().status == 0


@pytest.mark.parametrize("reason", [NetReason.TLS_WRONG_HOST, NetReason.TLS_UNKNOWN_CA])
def test_a_broker_that_is_not_the_one_meant_is_refused(start, reason: NetReason) -> None:
    broker = start()
    strangers = broker.certs.bad("unknown_root")[0].read_text(encoding="ascii")
    wrong = {"server_name": HUB_HOST} if reason is NetReason.TLS_WRONG_HOST else {"roots_pem": strangers}

    async def story() -> None:
        with pytest.raises(NetError) as refused:
            await connected(broker, **wrong)
        assert refused.value.reason is reason

    play(story())


def test_a_broker_without_tls_1_2_is_refused(start) -> None:
    broker = start(tls_version="tlsv1.3")

    async def story() -> None:
        with pytest.raises(NetError) as refused:
            await connected(broker)
        assert refused.value.reason is NetReason.TLS_VERSION

    play(story())

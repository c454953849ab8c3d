"""A hub in simulated time, and a device that speaks to it in raw MQTT packets, so that it can also break the rules."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar

import pytest

from certs.layout import HUB_HOST, CertsDir
from certs.make import ensure
from cloud_stub.bus.api import Delivery, Kind, LocalBus, topic_of
from cloud_stub.bus.properties import Properties
from cloud_stub.hub.contexts import contexts_of
from cloud_stub.hub.endpoint import Endpoint
from cloud_stub.hub.intake import Intake
from cloud_stub.hub.memory import hub_memory
from cloud_stub.hub.methods import Methods
from cloud_stub.hub.policies import Policies
from cloud_stub.hub.rules import HubRules
from cloud_stub.hub.throttle import Capacity, Throttle
from cloud_stub.state.database import State
from cloud_stub.state.registry import derived_keys
from emulator.clock import Rtc, SimLoop
from emulator.errors import NetError
from emulator.faults import fault_from
from emulator.net.api import Address
from emulator.net.sim import SimNet
from emulator.net.tls import TlsStream, client_context, tls_connect
from emulator.net.tls_context import X509_V_FLAG_NO_CHECK_TIME
from emulator.wire.iothub import sas_token, username
from emulator.wire.mqtt import ConnAck, Connect, Decoder, Packet, PingReq, PingResp, SubAck, Subscribe, encode
from tests.unit.cloud_stub.hub.people import Person

EPOCH = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SERIAL = "ZPR000001"

P = TypeVar("P", bound=Packet)


class Device:
    """A device's TLS connection with MQTT packets in and out."""

    def __init__(self, stream: TlsStream, connect: Connect) -> None:
        self.connect_packet = connect
        self.closed: asyncio.Future[NetError | None] = asyncio.get_running_loop().create_future()
        self._stream = stream
        self._decoder = Decoder(1 << 20)
        self._packets: asyncio.Queue[Packet] = asyncio.Queue()
        stream.attach(self)

    def send(self, *packets: Packet) -> None:
        self._stream.write(b"".join(encode(packet) for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        self._stream.write(data)

    async def next(self, kind: type[P], within_s: float = 5.0) -> P:
        async with asyncio.timeout(within_s):
            packet = await self._packets.get()
        assert isinstance(packet, kind), packet
        return packet

    async def quiet(self, for_s: float = 2.0) -> bool:
        await asyncio.sleep(for_s)
        return self._packets.empty() and not self.closed.done()

    async def in_step(self) -> None:
        """Everything that was sent has been handled."""
        self.send(PingReq())
        await self.next(PingResp)

    async def login(self, *filters: str, **changes: Any) -> ConnAck:
        self.send(replace(self.connect_packet, **changes))
        answer = await self.next(ConnAck)
        if filters:
            self.send(Subscribe(1, tuple((topic_filter, 2) for topic_filter in filters)))
            assert await self.next(SubAck) == SubAck(1, (1,) * len(filters))
        return answer

    def abort(self) -> None:
        self._stream.abort()

    @property
    def unsent_bytes(self) -> int:
        return self._stream.unsent_bytes

    def pause(self) -> None:
        self._stream.pause_reading()

    def resume(self) -> None:
        self._stream.resume_reading()

    def data_received(self, data: bytes) -> None:
        for packet in self._decoder.feed(data):
            self._packets.put_nowait(packet)

    def connection_lost(self, error: NetError | None) -> None:
        self.closed.set_result(error)

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class HeldBus(LocalBus):
    """A local bus whose acknowledgements of telemetry the test gives, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[asyncio.Future[None]] | None = None
        self.crowded = False

    @property
    def congested(self) -> bool:
        return self.crowded

    def publish(self, topic: str, payload: bytes, properties: Properties = ()) -> "asyncio.Future[None]":
        done = super().publish(topic, payload, properties)
        if self.held is None or not topic.endswith("/d2c"):
            return done
        self.held.append(asyncio.get_running_loop().create_future())
        return self.held[-1]


class HubLab:
    """One endpoint with a local bus on a simulated network, and everything that the bus carried."""

    def __init__(self, certs: CertsDir, *, capacity: Capacity | None = None, **rules: Any) -> None:
        self._certs, self._capacity = certs, capacity
        self._rules = HubRules(HUB_HOST, **rules)
        self.now: Callable[[], float] = lambda: 0.0
        settings = {"Settings": {"711": "1"}}
        self.memory = hub_memory(State(), derived_keys(b"s" * 32), self.utc, settings=settings)
        self.registry = self.memory.registry
        self.device_key = self.registry.produce(SERIAL).primary_key
        self.policies = Policies(b"s" * 32)
        self.carried: list[Delivery] = []

    def run(self, story: Callable[["HubLab"], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=SimLoop) as runner:
            runner.run(self._main(story))

    async def _main(self, story: Callable[["HubLab"], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time
        self.bus = HeldBus()
        capacity = self._capacity
        self.throttle = Throttle(capacity, now=loop.time, utc=self.utc) if capacity else None
        self.methods = Methods(self.bus)
        self.net = SimNet(Random(1))
        self.endpoint = self.new_endpoint()
        self.intake = Intake(self.bus, self.memory, self.utc)
        await self.bus.start()
        await self.bus.subscribe("hub/#", self.carried.append)
        await self.methods.start()
        await self.intake.start()
        self.registry.changed.append(lambda device_id: self.announce(device_id))
        await self.endpoint.start(self.net.host("hub", "10.0.0.2"))
        await story(self)
        await self.endpoint.stop()
        self.intake.stop()
        self.methods.stop()
        await self.bus.stop()

    def new_endpoint(self, worker: str = "") -> Endpoint:
        """An endpoint with this hub's memory and bus, not started."""
        return Endpoint(
            rng=Random(1),
            utc=self.utc,
            now=self.now,
            memory=self.memory,
            bus=self.bus,
            contexts=contexts_of(self._certs, HUB_HOST),
            rules=self._rules,
            policies=self.policies,
            throttle=self.throttle,
            worker=worker,
        )

    async def sleep(self, for_s: float) -> None:
        """Let simulated time pass."""
        await asyncio.sleep(for_s)

    def announce(self, device_id: str) -> None:
        """Tell the endpoint that a device has changed in the registry, as the cloud does."""
        self.bus.publish(topic_of(device_id, Kind.IDENTITY), b"")

    def utc(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now())

    def inject(self, **fault: Any) -> Callable[[], None]:
        table = {cls.kind: cls for cls in Endpoint.FAULTS}
        return self.endpoint.inject(fault_from(fault, table))

    def connect_packet(self, serial: str = SERIAL, *, key: bytes | None = None, valid_s: int = 3600) -> Connect:
        expiry = int(self.utc().timestamp()) + valid_s
        known = self.registry.get(serial)
        signer = key or (known.primary_key if known else self.device_key)
        token = sas_token(f"ZapCloud.azure-devices.net/devices/{serial}", signer, expiry)
        return Connect(serial, username(HUB_HOST, serial, "2018-06-30"), token.encode(), keep_alive_s=300)

    async def device(
        self, serial: str = SERIAL, *, shown: tuple[Person, ...] = (), at: str = "10.0.0.2", **token: Any
    ) -> Device:
        """A device whose TLS connection stands, with the certificates that it has `shown`; no CONNECT yet."""
        number = len(self.net._by_address)
        host = self.net.host(f"device {number}", f"10.0.1.{number}")
        tcp = await host.connect(Address(at, 8883), timeout_s=5)
        rtc = Rtc(self.now, built_at=EPOCH)
        context = certified_context(self._certs, shown) if shown else client_context(self._certs.roots_pem())
        tls = await tls_connect(tcp, context, server_name=HUB_HOST, rtc=rtc, timeout_s=5)
        return Device(tls, self.connect_packet(serial, **token))

    async def online(self, *filters: str, serial: str = SERIAL, **changes: Any) -> Device:
        """A device that is logged in and subscribed."""
        device = await self.device(serial)
        assert (await device.login(*filters, **changes)).code == 0
        return device

    def notes(self, serial: str = SERIAL) -> list[str]:
        """The device's own history, in short."""
        return [f"{entry['event']} {entry['what']}" for entry in self.endpoint.hub_history.of(serial)]

    def of(self, kind: str) -> list[Delivery]:
        """What the bus carried under this third level of the topic."""
        return [delivery for delivery in self.carried if delivery.topic.split("/")[2] == kind]

    def events(self, event: str) -> list[dict[str, Any]]:
        """The endpoint's history of one kind."""
        return [record for record in self.endpoint.history_json() if record["data"]["event"] == event]


def certified_context(certs: CertsDir, shown: tuple[Person, ...]) -> ssl.SSLContext:
    """A client that trusts the hub and shows these certificates, of which it has the first one's key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= X509_V_FLAG_NO_CHECK_TIME
    context.load_verify_locations(cadata=certs.roots_pem())
    with NamedTemporaryFile() as file:
        file.write(b"".join(each.pem for each in shown) + shown[0].key_pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> CertsDir:
    """A full set of certificates, made once per run."""
    directory: Path = tmp_path_factory.mktemp("certs")
    return ensure(directory)


@pytest.fixture
def hub(certs: CertsDir) -> HubLab:
    """A hub with default rules."""
    return HubLab(certs)


@pytest.fixture
def hub_with(certs: CertsDir) -> Callable[..., HubLab]:
    """Makes a hub with other rules, named as in `HubRules`."""
    return lambda **rules: HubLab(certs, **rules)

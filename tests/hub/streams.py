"""Streams through a running cloud, and judges outside of it: paho-mqtt at the bus for what goes up, the devices for
what comes down. Whatever was acknowledged must arrive; what arrives twice is counted."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from emulator.wire.mqtt import Disconnect, Packet, PubAck, Publish, SubAck
from tests.hub.badge import Badge, subscribe
from tests.hub.dialled import BackEnd, Dialled, badge
from tests.programs import CloudProgram

PAUSE_S, AGAIN_S = 0.01, 0.1
"""Between two messages of one device, and between two C2D messages; between two attempts to log in."""
WITHIN_S = 90.0
"""More than the minute after which a C2D message is delivered again, if nothing else brings it back."""
SESSION_S = 600


class Device(threading.Thread):
    """Logs in, again and again if need be; sends one numbered message after the other and takes what comes down.

    While it is not `sending`, it asks for its twin instead. After `stay` messages it says goodbye and comes again.
    """

    def __init__(self, cloud: CloudProgram, one: Badge, *, stay: int = 0) -> None:
        super().__init__(name=one.device_id)
        self.one = one
        self.acknowledged: set[bytes] = set()
        self.got: Counter[bytes] = Counter()
        self.logins = 0
        self.sending = threading.Event()
        self.sending.set()
        self.quiet = threading.Event()
        """Set once it has begun to ask for its twin instead: no message of its own is under way any more."""
        self.leave = threading.Event()
        self._cloud = cloud
        self._stay = stay
        self._number = 0

    def run(self) -> None:
        while not self.leave.is_set():
            try:
                with Dialled(self._cloud) as line:
                    self._log_in(line)
                    self._live(line)
            except (OSError, AssertionError):  # the hub hung up, or nobody is there
                time.sleep(AGAIN_S)  # noqa: TID251 - a thread that plays a client

    def _log_in(self, line: Dialled) -> None:
        """What waits comes before the answer to SUBSCRIBE, if the hub knows the session."""
        assert line.log_in(self.one, clean_session=False).code == 0
        line.say(subscribe(f"devices/{self.one.device_id}/messages/devicebound/#"))
        self._await(line, SubAck)
        self.logins += 1

    def _live(self, line: Dialled) -> None:
        until = self._number + self._stay
        while not self.leave.is_set():
            self._exchange(line)
            if self._stay and self._number >= until:
                break
        line.send(Disconnect())

    def _exchange(self, line: Dialled) -> None:
        """One message up, to its PUBACK; whatever comes down meanwhile is acknowledged."""
        self._number += 1
        payload, packet_id = f"{self.one.device_id} {self._number}".encode(), self._number % 65_535 + 1
        sends = self.sending.is_set()
        if not sends:
            self.quiet.set()
        topic = self.one.events if sends else "$iothub/twin/GET/?$rid=1"
        line.send(Publish(topic, payload if sends else b"", qos=1, packet_id=packet_id))
        assert self._await(line, PubAck) == PubAck(packet_id)
        if sends:
            self.acknowledged.add(payload)
        time.sleep(PAUSE_S)  # noqa: TID251 - a thread that plays a client

    def _await(self, line: Dialled, kind: type[PubAck] | type[SubAck]) -> Packet:
        """The next packet but C2D messages, which must be of this kind."""
        while isinstance(packet := line.take(), Publish):
            assert packet.qos == 1
            self.got[packet.payload] += 1
            line.send(PubAck(packet.packet_id))
        assert isinstance(packet, kind)
        return packet


class Watcher:
    """paho-mqtt at the bus, with a session that outlives its connections."""

    def __init__(self, cloud: CloudProgram, name: str) -> None:
        self.seen: Counter[bytes] = Counter()
        self._place = cloud.ready["mosquitto"]
        self.connections = 0
        """More than asked for: the broker may have sent again what was under way."""
        self._name = name
        self._client: Client | None = None

    def __enter__(self) -> Self:
        self.come()
        return self

    def __exit__(self, *_: object) -> None:
        self.go()

    def come(self) -> None:
        """Get what comes, and what has come in the meantime."""
        client = Client(CallbackAPIVersion.VERSION2, self._name, protocol=MQTTv5)
        client.on_connect, client.on_message = self._connected, self._message
        client.reconnect_delay_set(1, 1)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_S
        client.connect(self._place["host"], self._place["port"], clean_start=False, properties=properties)
        client.loop_start()
        self._client = client

    def go(self) -> None:
        """Say goodbye. The broker keeps what comes meanwhile, and some of it in its memory alone."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _connected(self, client: Client, *_: Any) -> None:
        self.connections += 1
        client.subscribe("hub/+/d2c", qos=1)

    def _message(self, _: Client, data: Any, message: MQTTMessage) -> None:
        self.seen[bytes(message.payload)] += 1


class BackOffice(threading.Thread):
    """Sends C2D messages to the devices in turn; `accepted` are those that the hub has said yes to."""

    def __init__(self, cloud: CloudProgram, devices: list[Device]) -> None:
        super().__init__(name="back office")
        self.accepted: dict[bytes, Device] = {}
        self.leave = threading.Event()
        self._cloud = cloud
        self._devices = devices

    def run(self) -> None:
        number = 0
        with BackEnd(self._cloud) as back_end:
            while not self.leave.is_set():
                device, number = self._devices[number % len(self._devices)], number + 1
                self._send(back_end, device, f"order {number}")
                time.sleep(PAUSE_S)  # noqa: TID251 - a thread that plays a client

    def _send(self, back_end: BackEnd, device: Device, body: str) -> None:
        path = f"/stub/devices/{device.one.device_id}/messages/devicebound"
        try:
            status, answer = back_end.call("POST", path, {"body": body})
        except httpx.HTTPError:  # nobody knows whether it was taken
            time.sleep(AGAIN_S)  # noqa: TID251 - a thread that plays a client
            return
        if status == 200 and answer["queued"]:
            self.accepted[body.encode()] = device


@dataclass(frozen=True, slots=True)
class Tally:
    """Messages one way: those that were acknowledged, those of them that never came, and deliveries too many."""

    acknowledged: int
    lost: int
    twice: int

    def __str__(self) -> str:
        return f"{self.acknowledged} acknowledged, {self.lost} lost, {self.twice} twice"


@dataclass(slots=True)
class Streams:
    """Devices that send all the time, a back office that sends to them, and two judges: `absent` may go for a while."""

    cloud: CloudProgram
    devices: list[Device]
    office: BackOffice
    watcher: Watcher
    absent: Watcher
    _before: list[tuple[int, int]] = field(default_factory=list)

    def mark(self) -> None:
        """Remember how far everybody is."""
        self._before = [(len(device.acknowledged), device.logins) for device in self.devices]

    def wait_for_more(self, messages: int) -> None:
        """Until each device has had so many more messages acknowledged than at the mark."""
        until(
            lambda: all(
                len(each.acknowledged) >= count + messages
                for each, (count, _) in zip(self.devices, self._before, strict=True)
            ),
            "not all devices are served again",
        )

    @property
    def logins(self) -> int:
        """Since the mark."""
        return sum(device.logins - logins for device, (_, logins) in zip(self.devices, self._before, strict=True))

    def settle(self) -> tuple[Tally, Tally]:
        """Nothing more is sent, and all that was acknowledged has its time to arrive. What went up, and what down."""
        self.office.leave.set()
        self.office.join()
        for device in self.devices:
            device.sending.clear()
        until(lambda: all(device.quiet.is_set() for device in self.devices), "not all devices have fallen silent")
        until(lambda: not (self.up.lost or self.down.lost), lambda: f"up: {self.up}; down: {self.down}")
        return self.up, self.down

    @property
    def up(self) -> Tally:
        """Telemetry so far."""
        sent, seen = set[bytes]().union(*(set(device.acknowledged) for device in self.devices)), self.watcher.seen
        return Tally(len(sent), len(sent - (set(seen) & set(self.absent.seen))), sum(seen.values()) - len(seen))

    @property
    def down(self) -> Tally:
        """C2D messages so far."""
        sent = dict(self.office.accepted)
        lost = sum(not device.got[body] for body, device in sent.items())
        return Tally(len(sent), lost, sum(sum(each.got.values()) - len(each.got) for each in self.devices))


@contextmanager
def streams(cloud: CloudProgram, devices: int, *, stay: int = 0) -> Iterator[Streams]:
    """Everything runs, and every device is online, when the block begins."""
    fleet = [Device(cloud, badge(cloud, f"ZPR{number:06}"), stay=stay) for number in range(devices)]
    office = BackOffice(cloud, fleet)
    with Watcher(cloud, "outside-watcher") as watcher, Watcher(cloud, "absent-watcher") as absent:
        for device in fleet:
            device.start()
        try:
            until(lambda: all(device.logins for device in fleet), "not all devices came online")
            office.start()
            yield Streams(cloud, fleet, office, watcher, absent)
        finally:
            for leave in (office.leave, *(device.leave for device in fleet)):
                leave.set()
            for thread in (office, *fleet):
                if thread.ident is not None:
                    thread.join()


def until(true: Callable[[], bool], what: str | Callable[[], str]) -> None:
    """Ask again and again until the answer is yes."""
    deadline = time.monotonic() + WITHIN_S  # noqa: TID251 - a running cloud has real time
    while not true():
        if time.monotonic() > deadline:  # noqa: TID251 - as above
            raise AssertionError(what if isinstance(what, str) else what())
        time.sleep(AGAIN_S)  # noqa: TID251 - a thread that plays a client


def clients(cloud: CloudProgram) -> dict[str, Any]:
    """What the cloud says of its clients and of itself."""
    counted: dict[str, Any] = cloud.call("GET", "/clients")[1]
    return counted

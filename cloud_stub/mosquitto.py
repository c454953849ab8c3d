"""The bus over Mosquitto: one MQTT 5 connection per process, on aiomqtt."""

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.subscribeoptions import SubscribeOptions

from cloud_stub.broker import MosquittoProcess, mosquitto_binary
from cloud_stub.bus import CONGESTED, QUEUE_MAX, BusError, Delivery, OnDelivery, Properties, Subscriptions, clean
from emulator.faults import Undo
from emulator.wire.address import Address

__all__ = ["MosquittoBus", "MosquittoProcess", "mosquitto_binary"]

OnMessage = Callable[[aiomqtt.Message], None]

START_S = 10.0
STOP_S = 3.0
WINDOW = (
    64  # publishes in flight: the fastest of 16, 64, 256; beyond, aiomqtt's bookkeeping per pending call costs more
)
RETRY_FIRST_S, RETRY_MAX_S = 0.1, 2.0
PATIENCE_S = 30.0
"""How long messages wait for a broker that is away before they fail."""


class _UserProperties(PahoProperties):
    """PUBLISH properties that are user properties only. Packed directly: paho's own way costs some 40 us a message."""

    def __init__(self, pairs: Properties) -> None:
        # Not paho's __init__, which fills tables that only its own packing needs, nor its __setattr__, which refuses.
        object.__setattr__(self, "packetType", PacketTypes.PUBLISH)
        object.__setattr__(self, "_pairs", pairs)

    def pack(self) -> bytes:
        body = bytearray()
        for pair in self.__dict__["_pairs"]:
            body.append(0x26)  # MQTT 5 section 2.2.2.2: User Property
            for text in pair:
                data = text.encode()
                body += len(data).to_bytes(2, "big") + data
        return _variable_length(len(body)) + bytes(body)


def _variable_length(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    digits.append(value)
    return bytes(digits)


@dataclass(frozen=True, slots=True, order=True)
class _Outgoing:
    """A queued message. Ordered by `sequence`, so that what is sent again comes before what is younger."""

    sequence: int
    message: Delivery
    acknowledged: "asyncio.Future[None]"


class MosquittoBus:
    """The bus over one connection to a broker. When the broker goes away it reconnects and sends again what is open.

    So a message may arrive twice. What is published here reaches the subscribers here when the broker has taken it and,
    by MQTT 5's No Local, not a second time; what others publish comes from the broker. Limits: `queue_max` messages
    open, and `patience_s` of waiting for a broker that is away.
    """

    def __init__(self, broker: Address, *, queue_max: int = QUEUE_MAX, patience_s: float = PATIENCE_S) -> None:
        self._broker = broker
        self._queue_max = queue_max
        self._patience_s = patience_s
        self._subscriptions = Subscriptions()
        self._queue: asyncio.PriorityQueue[_Outgoing] = asyncio.PriorityQueue()
        self._open: set[asyncio.Future[None]] = set()
        self._numbers: dict[str, int] = {}
        self._sequence = 0
        self._client: aiomqtt.Client | None = None
        self._keeper: asyncio.Task[None] | None = None
        self.connects = 0

    @property
    def congested(self) -> bool:
        return len(self._open) > CONGESTED

    async def start(self) -> None:
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(ready), name="bus")
        try:
            async with asyncio.timeout(START_S):
                await ready
        except (TimeoutError, aiomqtt.MqttError) as error:
            await self.stop()
            raise BusError(f"bus: no MQTT 5 broker at {self._broker}: {error or 'no answer'}") from None

    async def stop(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        if self._open and self._client is not None:
            await asyncio.wait(self._open, timeout=STOP_S)
        keeper.cancel()
        await asyncio.wait([keeper])
        self._give_up("bus is stopped")

    def publish(self, topic: str, payload: bytes, properties: Properties = ()) -> "asyncio.Future[None]":
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._keeper is None:
            acknowledged.set_exception(BusError("bus is stopped"))
        elif len(self._open) >= self._queue_max:
            acknowledged.set_exception(BusError(f"bus has {self._queue_max} messages waiting"))
        else:
            self._sequence += 1
            self._open.add(acknowledged)
            acknowledged.add_done_callback(self._open.discard)
            self._queue.put_nowait(_Outgoing(self._sequence, Delivery(topic, payload, clean(properties)), acknowledged))
        return acknowledged

    async def subscribe(self, topic_filter: str, deliver: OnDelivery) -> Undo:
        undo = self._subscriptions.add(topic_filter, deliver)
        if self._client is not None:
            with contextlib.suppress(aiomqtt.MqttError):  # lost: the next connection subscribes to everything
                await self._subscribe(self._client, topic_filter)
        return undo

    async def _keep(self, ready: "asyncio.Future[None]") -> None:
        loop = asyncio.get_running_loop()
        delay_s, lost_at = RETRY_FIRST_S, loop.time()
        while True:
            try:
                async with self._connection() as client:
                    delay_s = RETRY_FIRST_S
                    if not ready.done():
                        ready.set_result(None)
                    await self._pump(client)
            except aiomqtt.MqttError as error:
                if not ready.done():
                    ready.set_exception(error)
                    return
            if delay_s == RETRY_FIRST_S:
                lost_at = loop.time()
            elif loop.time() - lost_at > self._patience_s:
                self._give_up(f"bus: no broker at {self._broker} for {self._patience_s} s")
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_MAX_S)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiomqtt.Client]:
        client = aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            protocol=aiomqtt.ProtocolVersion.V5,
            max_inflight_messages=WINDOW,
            queue_type=_inbox(self._received),
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        client.pending_calls_threshold = 2 * WINDOW  # aiomqtt logs a warning beyond that
        async with client:
            for topic_filter in self._subscriptions.filters:
                await self._subscribe(client, topic_filter)
            self._client = client
            self.connects += 1
            try:
                yield client
            finally:
                self._client = None

    async def _subscribe(self, client: aiomqtt.Client, topic_filter: str) -> None:
        number = self._numbers.setdefault(topic_filter, len(self._numbers) + 1)
        properties = PahoProperties(PacketTypes.SUBSCRIBE)  # type: ignore[no-untyped-call]
        properties.SubscriptionIdentifier = number
        await client.subscribe(topic_filter, options=SubscribeOptions(qos=1, noLocal=True), properties=properties)

    async def _pump(self, client: aiomqtt.Client) -> None:
        """Publish until the connection is lost; a fixed set of tasks, so that none is made per message."""
        publishers = [asyncio.create_task(self._publish_all(client), name="bus publisher") for _ in range(WINDOW)]
        try:
            async for _ in client.messages:  # delivers nothing (see _inbox), and raises when the connection ends
                pass
        finally:
            for publisher in publishers:
                publisher.cancel()
            await asyncio.wait(publishers)

    async def _publish_all(self, client: aiomqtt.Client) -> None:
        while True:
            outgoing = await self._queue.get()
            message = outgoing.message
            properties = _UserProperties(message.properties) if message.properties else None
            try:
                await client.publish(message.topic, message.payload, qos=1, properties=properties, timeout=math.inf)
            except aiomqtt.MqttError:
                self._queue.put_nowait(outgoing)
                return
            except asyncio.CancelledError:
                self._queue.put_nowait(outgoing)
                raise
            if not outgoing.acknowledged.done():
                outgoing.acknowledged.set_result(None)
            # Subscribers of our own get it now: reading it back from the broker would cost twice what publishing does.
            asyncio.get_running_loop().call_soon(self._subscriptions.dispatch, message)

    def _received(self, message: aiomqtt.Message) -> None:
        delivery = Delivery(str(message.topic), message.payload, tuple(getattr(message.properties, "UserProperty", ())))
        # A turn of the loop later: inside paho's callback a fault of a subscriber would pass for a broken connection.
        asyncio.get_running_loop().call_soon(
            self._dispatch, delivery, getattr(message.properties, "SubscriptionIdentifier", ())
        )

    def _dispatch(self, delivery: Delivery, numbers: Sequence[int]) -> None:
        # The broker sends overlapping filters one copy each, or one for all: the numbers say whom a copy is for.
        for topic_filter, number in self._numbers.items():
            if number in numbers:
                self._subscriptions.dispatch_to(topic_filter, delivery)

    def _give_up(self, reason: str) -> None:
        while not self._queue.empty():
            outgoing = self._queue.get_nowait()
            if not outgoing.acknowledged.done():
                outgoing.acknowledged.set_exception(BusError(reason))


def _inbox(received: OnMessage) -> type[asyncio.Queue[aiomqtt.Message]]:
    """aiomqtt's queue of incoming messages, without the queue: its iterator would make a task per message."""

    class Inbox(asyncio.Queue[aiomqtt.Message]):
        def put_nowait(self, item: aiomqtt.Message) -> None:
            received(item)

    return Inbox

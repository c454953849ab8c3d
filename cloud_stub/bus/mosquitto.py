"""The bus over Mosquitto: one MQTT 5 connection per process, on aiomqtt."""

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Unpack

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.subscribeoptions import SubscribeOptions

from cloud_stub.bus.api import BusError, Delivery, OnDelivery
from cloud_stub.bus.broker import MosquittoProcess, mosquitto_binary
from cloud_stub.bus.brokered import STOP_S, BrokeredBus, Options
from cloud_stub.bus.client5 import SESSION_S
from cloud_stub.bus.outgoing import Outgoing
from cloud_stub.bus.properties import Properties
from cloud_stub.bus.wire5 import pack_pairs
from emulator.faults import Undo
from emulator.wire.address import Address
from emulator.wire.mqtt import MqttError
from emulator.wire.mqtt_fields import pack_length, pack_text
from emulator.wire.mqtt_packets import check_topic_name

__all__ = ["MosquittoBus", "MosquittoProcess", "mosquitto_binary"]

OnMessage = Callable[[aiomqtt.Message], None]

WINDOW = (
    64  # publishes in flight: the fastest of 16, 64, 256; beyond, aiomqtt's bookkeeping per pending call costs more
)


class _UserProperties(PahoProperties):
    """PUBLISH properties that are user properties only. Packed directly: paho's own way costs some 40 us a message."""

    def __init__(self, pairs: Properties) -> None:
        """MqttError: MQTT cannot carry them."""
        packed = pack_pairs(pairs)
        # Not paho's __init__, which fills tables that only its own packing needs, nor its __setattr__, which refuses.
        object.__setattr__(self, "packetType", PacketTypes.PUBLISH)
        object.__setattr__(self, "_packed", pack_length(len(packed)) + packed)

    def pack(self) -> bytes:
        packed: bytes = self.__dict__["_packed"]
        return packed


class _Client(aiomqtt.Client):
    """aiomqtt's client, but a socket that was closed before the loop came to watch it is no error (as on uvloop)."""

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._watch, client, sock)

    def _watch(self, client: Any, sock: Any) -> None:
        if client.socket() is sock and sock.fileno() >= 0:
            with contextlib.suppress(OSError, RuntimeError):  # closed by the other end: reading finds that out too
                self._loop.add_writer(sock.fileno(), self._write, client)

    def _write(self, client: Any) -> None:
        try:
            client.loop_write()
        except (OSError, ValueError) as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(error)


_QUIET = logging.getLogger("cloud_stub.bus.api")
_QUIET.addHandler(logging.NullHandler())  # a broker that goes away is not worth a line: the bus waits for it


class MosquittoBus(BrokeredBus):
    """The bus with aiomqtt as its client."""

    def __init__(self, broker: Address, **options: Unpack[Options]) -> None:
        super().__init__(broker, **options)
        self._queue: asyncio.PriorityQueue[tuple[int, Outgoing]] = asyncio.PriorityQueue()
        self._sequence = 0
        """By which the queue is ordered, so that what is sent again comes before what is younger."""
        self._client: aiomqtt.Client | None = None

    @property
    def _connected(self) -> bool:
        return self._client is not None

    async def subscribe(self, topic_filter: str, deliver: OnDelivery) -> Undo:
        undo = self._subscriptions.add(topic_filter, deliver)
        if self._client is not None:
            with contextlib.suppress(aiomqtt.MqttError):  # lost: the next connection subscribes to everything
                await self._subscribe(self._client, topic_filter)
        return undo

    async def _connect(self, connected: Callable[[], None]) -> None:
        try:
            async with self._connection() as client:
                connected()
                await self._pump(client)
        except aiomqtt.MqttError as error:
            raise BusError(str(error)) from None

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiomqtt.Client]:
        client = _Client(
            self._broker.host,
            self._broker.port,
            protocol=aiomqtt.ProtocolVersion.V5,
            max_inflight_messages=WINDOW,
            queue_type=_inbox(self._received),
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            logger=_QUIET,
            **self._session_options(),
        )
        client._disconnected.add_done_callback(_seen)  # whether or not anybody waits for it
        client.pending_calls_threshold = 2 * WINDOW  # aiomqtt logs a warning beyond that
        async with _connected(client):
            for topic_filter in self._subscriptions.filters:
                await self._subscribe(client, topic_filter)
            self._client = client
            self.connects += 1
            for outgoing in self._open.again(self._waiting()):
                self._put(outgoing)
            try:
                yield client
            finally:
                self._client = None
                self._open.lost()

    def _session_options(self) -> dict[str, Any]:
        if not self._session:
            return {}
        properties = PahoProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_S
        return {"identifier": self._session, "clean_start": False, "properties": properties}

    def _put(self, outgoing: Outgoing) -> None:
        self._sequence += 1
        self._queue.put_nowait((self._sequence, outgoing))

    def _waiting(self) -> list[Outgoing]:
        """The queue, taken out in order."""
        return [self._queue.get_nowait()[1] for _ in range(self._queue.qsize())]

    async def _subscribe(self, client: aiomqtt.Client, topic_filter: str) -> None:
        properties = PahoProperties(PacketTypes.SUBSCRIBE)  # type: ignore[no-untyped-call]
        properties.SubscriptionIdentifier = self._subscriptions.number_of(topic_filter)
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
            sequence, outgoing = await self._queue.get()
            message = outgoing.message
            try:
                check_topic_name(message.topic)
                pack_text(message.topic)
                properties = _UserProperties(message.properties) if message.properties else None
            except MqttError as error:  # else paho would take half of it, or the broker end the connection
                self._open.refuse(outgoing, str(error))
                continue
            try:
                await client.publish(message.topic, message.payload, qos=1, properties=properties, timeout=math.inf)
            except aiomqtt.MqttError:
                self._queue.put_nowait((sequence, outgoing))
                return
            except asyncio.CancelledError:
                self._queue.put_nowait((sequence, outgoing))
                raise
            self._open.acknowledge(outgoing)

    def _received(self, message: aiomqtt.Message) -> None:
        delivery = Delivery(str(message.topic), message.payload, tuple(getattr(message.properties, "UserProperty", ())))
        # A turn of the loop later: inside paho's callback a fault of a subscriber would pass for a broken connection.
        numbers = getattr(message.properties, "SubscriptionIdentifier", ())
        asyncio.get_running_loop().call_soon(self._subscriptions.dispatch_numbered, delivery, numbers)

    def _give_up(self, reason: str) -> None:
        for outgoing in self._waiting():
            self._open.give_up(outgoing, reason)


@contextlib.asynccontextmanager
async def _connected(client: aiomqtt.Client) -> AsyncIterator[None]:
    """``async with client``, but a cancelled connect is brought to its end: aiomqtt would leave it half open."""
    connecting = asyncio.create_task(client.__aenter__(), name="bus connect")
    async with contextlib.AsyncExitStack() as stack:
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await asyncio.wait([connecting], timeout=STOP_S)
            if connecting.done() and not connecting.exception():
                await client.__aexit__(None, None, None)
            connecting.cancel()
            raise
        stack.push_async_exit(client)
        yield


def _seen(done: "asyncio.Future[Any]") -> None:
    if not done.cancelled():
        done.exception()


def _inbox(received: OnMessage) -> type[asyncio.Queue[aiomqtt.Message]]:
    """aiomqtt's queue of incoming messages, without the queue: its iterator would make a task per message."""

    class Inbox(asyncio.Queue[aiomqtt.Message]):
        def put_nowait(self, item: aiomqtt.Message) -> None:
            received(item)

    return Inbox

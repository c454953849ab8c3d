"""The bus over Mosquitto: one MQTT 5 connection per process, on aiomqtt."""

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.subscribeoptions import SubscribeOptions

from cloud_stub.bus.api import CONGESTED, QUEUE_MAX, BusError, Delivery, OnDelivery, Subscriptions
from cloud_stub.bus.broker import MosquittoProcess, mosquitto_binary
from cloud_stub.bus.client5 import SESSION_S
from cloud_stub.bus.journal import Journal
from cloud_stub.bus.keeper import PATIENCE_S, Keeper
from cloud_stub.bus.properties import Properties, clean
from emulator.faults import Undo
from emulator.wire.address import Address
from emulator.wire.mqtt_fields import pack_length

__all__ = ["MosquittoBus", "MosquittoProcess", "mosquitto_binary"]

OnMessage = Callable[[aiomqtt.Message], None]

STOP_S = 3.0
WINDOW = (
    64  # publishes in flight: the fastest of 16, 64, 256; beyond, aiomqtt's bookkeeping per pending call costs more
)


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
        return pack_length(len(body)) + bytes(body)


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


@dataclass(frozen=True, slots=True, order=True)
class _Outgoing:
    """A queued message. Ordered by `sequence`, so that what is sent again comes before what is younger."""

    sequence: int
    message: Delivery
    acknowledged: "asyncio.Future[None] | None"
    """None: it was acknowledged once already, and comes out of the journal."""


class MosquittoBus:
    """The bus over one connection to a broker. When the broker goes away it reconnects and sends again what is open.

    So a message may arrive twice. What is published here reaches the subscribers here when the broker has taken it and,
    by MQTT 5's No Local, not a second time; what others publish comes from the broker. Limits: `queue_max` messages
    open, and `patience_s` of waiting for a broker that is away. `journal` and `session` are as of `LeanMosquittoBus`.
    """

    def __init__(
        self,
        broker: Address,
        *,
        queue_max: int = QUEUE_MAX,
        patience_s: float = PATIENCE_S,
        journal: Journal | None = None,
        session: str = "",
    ) -> None:
        self._broker = broker
        self._queue_max = queue_max
        self._subscriptions = Subscriptions()
        self._queue: asyncio.PriorityQueue[_Outgoing] = asyncio.PriorityQueue()
        self._open: set[asyncio.Future[None]] = set()
        self._sequence = 0
        self._client: aiomqtt.Client | None = None
        self._keeper = Keeper(broker, self._connect, self._give_up, patience_s=patience_s)
        self._journal = journal
        self._session = session
        self._lost_at: float | None = None
        self.connects = 0
        self.repeated = 0
        """Messages that were sent again out of the journal."""

    @property
    def congested(self) -> bool:
        return len(self._open) > CONGESTED

    async def start(self) -> None:
        await self._keeper.start()

    async def stop(self) -> None:
        if not self._keeper.running:
            return
        if self._open and self._client is not None:
            await asyncio.wait(self._open, timeout=STOP_S)
        await self._keeper.stop()
        self._give_up("bus is stopped")
        if self._journal is not None:
            self._journal.close()

    def publish(self, topic: str, payload: bytes, properties: Properties = ()) -> "asyncio.Future[None]":
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._keeper.running:
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
            self._repeat()
            try:
                yield client
            finally:
                self._client, self._lost_at = None, asyncio.get_running_loop().time()

    def _session_options(self) -> dict[str, Any]:
        if not self._session:
            return {}
        properties = PahoProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_S
        return {"identifier": self._session, "clean_start": False, "properties": properties}

    def _repeat(self) -> None:
        """Send again, before everything else, what the broker may have lost."""
        if self._journal is None:
            return
        waiting = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        lost_at = asyncio.get_running_loop().time() if self._lost_at is None else self._lost_at
        again = self._journal.recent(lost_at)
        for number, message in enumerate(again, start=-len(again)):
            self._queue.put_nowait(_Outgoing(number, message, None))
        for outgoing in waiting:
            if outgoing.acknowledged is not None:
                self._queue.put_nowait(outgoing)
        self.repeated += len(again)

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
            self._acked(outgoing)

    def _acked(self, outgoing: _Outgoing) -> None:
        if outgoing.acknowledged is None:
            if self._journal is not None:
                self._journal.settled()
            return
        try:
            if self._journal is not None:
                self._journal.add(outgoing.message)
        except BusError as error:
            if not outgoing.acknowledged.done():
                outgoing.acknowledged.set_exception(error)
            return
        if not outgoing.acknowledged.done():
            outgoing.acknowledged.set_result(None)
        # Subscribers of our own get it now: reading it back from the broker would cost twice what publishing does.
        asyncio.get_running_loop().call_soon(self._subscriptions.dispatch, outgoing.message)

    def _received(self, message: aiomqtt.Message) -> None:
        delivery = Delivery(str(message.topic), message.payload, tuple(getattr(message.properties, "UserProperty", ())))
        # A turn of the loop later: inside paho's callback a fault of a subscriber would pass for a broken connection.
        numbers = getattr(message.properties, "SubscriptionIdentifier", ())
        asyncio.get_running_loop().call_soon(self._subscriptions.dispatch_numbered, delivery, numbers)

    def _give_up(self, reason: str) -> None:
        while not self._queue.empty():
            outgoing = self._queue.get_nowait()
            if outgoing.acknowledged is not None and not outgoing.acknowledged.done():
                outgoing.acknowledged.set_exception(BusError(reason))


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

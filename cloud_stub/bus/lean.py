"""The bus over Mosquitto with an MQTT 5 client of our own: callbacks, no task per message, one write per loop turn."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, Unpack, cast

from cloud_stub.bus.api import BusError, Delivery, OnDelivery
from cloud_stub.bus.brokered import BrokeredBus, Options
from cloud_stub.bus.client5 import Acked, Client5, Connected, Ended, Event, Granted, Received
from cloud_stub.bus.keeper import START_S
from cloud_stub.bus.outgoing import Outgoing
from cloud_stub.bus.wire5 import REFUSED, Publish5
from emulator.faults import Undo
from emulator.wire.address import Address
from emulator.wire.mqtt import MqttError

TICKS = 3
"""PINGREQs per keep-alive. A broker that is silent from one to the next is taken for gone."""

Answer = TypeVar("Answer")


_Client = Client5[Outgoing]


class _Line(asyncio.Protocol):
    """One connection: carries bytes between the transport and the machine, and has at most one write per loop turn.

    `fill` is called before each write, to publish what waits; `acked` and `received` with what comes. `lost` is done
    when the connection has ended.
    """

    def __init__(
        self,
        fill: Callable[[], None],
        acked: Callable[[Outgoing, int], None],
        received: Callable[[Publish5], None],
        session: str,
    ) -> None:
        self.client = _Client(session=session)
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.paused = False
        self._fill, self._acked, self._received = fill, acked, received
        self._accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._granted: dict[int, asyncio.Future[int]] = {}
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False

    async def accepted(self) -> None:
        """Wait for the broker's CONNACK. BusError when it does not come."""
        await self._answer(self._accepted)

    async def subscribe(self, topic_filter: str, number: int) -> int:
        """Subscribe; the reason code. BusError when the connection ends."""
        granted = self._granted.setdefault(number, asyncio.get_running_loop().create_future())
        self.client.subscribe(topic_filter, number)
        self.write_soon()
        return await self._answer(granted)

    async def _answer(self, answer: "asyncio.Future[Answer]") -> "Answer":
        either: list[asyncio.Future[Any]] = [answer, self.lost]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise BusError(self.lost.result())
        return answer.result()

    def write_soon(self) -> None:
        """Write in the next turn of the loop, so that what is published until then goes out with it."""
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self._write)

    def end(self, reason: str) -> None:
        """Close the connection. What is written is still sent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        if not self.lost.done():
            self.lost.set_result(reason)

    def leave(self, *, forever: bool) -> None:
        """Say goodbye and close."""
        self.client.disconnect(forever=forever)
        self._flush()
        self.end("closed")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self._flush()

    def data_received(self, data: bytes) -> None:
        for event in self.client.receive(data):
            match event:
                case Acked(outgoing, code):
                    self._acked(outgoing, code)
                case Received(message):
                    self._received(message)
                case _:
                    self._take(event)
        self.write_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(str(exc or "the broker closed the connection"))

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.write_soon()

    def _take(self, event: Event[Outgoing]) -> None:
        match event:
            case Connected(keep_alive_s):
                self._tick_after(keep_alive_s / TICKS)
                if not self._accepted.done():
                    self._accepted.set_result(None)
            case Granted(number, code):
                granted = self._granted.pop(number, None)
                if granted is not None and not granted.done():
                    granted.set_result(code)
            case Ended(reason):
                self.end(reason)

    def _write(self) -> None:
        self._writing = False
        self._fill()
        self._flush()

    def _flush(self) -> None:
        data = self.client.output()
        if data and self._transport is not None:
            self._transport.write(data)

    def _tick_after(self, seconds: float) -> None:
        if seconds:  # a server's keep-alive of 0 turns it off
            self._timer = asyncio.get_running_loop().call_later(seconds, self._tick, seconds)

    def _tick(self, seconds: float) -> None:
        if self.client.tick():
            self.write_soon()
            self._tick_after(seconds)
        else:
            self.end("the broker is silent")


class LeanMosquittoBus(BrokeredBus):
    """The bus at a fraction of the CPU of `MosquittoBus`.

    What is in flight when the broker goes away is sent again, in order and before what is younger, on the next
    connection. If its session is `lasting`, the broker keeps what comes for us after an orderly end too.
    """

    def __init__(self, broker: Address, *, lasting: bool = False, **options: Unpack[Options]) -> None:
        super().__init__(broker, **options)
        self._lasting = lasting
        self._queue: deque[Outgoing] = deque()
        self._line: _Line | None = None

    @property
    def _connected(self) -> bool:
        return self._line is not None

    def _put(self, outgoing: Outgoing) -> None:
        self._queue.append(outgoing)
        if self._line is not None:
            self._line.write_soon()

    async def subscribe(self, topic_filter: str, deliver: OnDelivery) -> Undo:
        undo = self._subscriptions.add(topic_filter, deliver)
        line = self._line
        if line is None:  # the next connection subscribes to everything, as when this one is lost meanwhile
            return undo
        try:
            await self._subscribe(line, topic_filter)
        except BusError:
            if not line.lost.done():
                undo()
                raise
        return undo

    async def _connect(self, connected: Callable[[], None]) -> None:
        line = _Line(self._fill, self._acked, self._received, self._session)
        try:
            async with asyncio.timeout(START_S):
                await asyncio.get_running_loop().create_connection(lambda: line, self._broker.host, self._broker.port)
                await line.accepted()
                for topic_filter in self._subscriptions.filters:
                    await self._subscribe(line, topic_filter)
            self._line = line
            self.connects += 1
            self._queue = deque(self._open.again(self._queue))
            connected()
            line.write_soon()
            await asyncio.wait([line.lost])
            raise BusError(line.lost.result())
        except (OSError, TimeoutError) as error:
            raise BusError(str(error) or "no answer") from None
        finally:
            if self._line is not None:
                self._line = None
                self._open.lost()
            line.leave(forever=not self._keeper.running and not self._lasting)
            again = [replace(outgoing, dup=True) for outgoing in line.client.unacked]
            self._queue.extendleft(reversed(again))

    async def _subscribe(self, line: _Line, topic_filter: str) -> None:
        code = await line.subscribe(topic_filter, self._subscriptions.number_of(topic_filter))
        if code >= REFUSED:
            raise BusError(f"bus: the broker refuses a subscription to {topic_filter} with {code:#04x}")

    def _fill(self) -> None:
        """Publish as much of the queue as the connection takes now."""
        line = self._line
        if line is None:
            return
        client, room = line.client, 0 if line.paused else line.client.room
        while self._queue and room > 0:
            outgoing = self._queue.popleft()
            message = outgoing.message
            try:
                client.publish(outgoing, message.topic, message.payload, message.properties, dup=outgoing.dup)
                room -= 1
            except MqttError as error:
                self._open.refuse(outgoing, str(error))

    def _acked(self, outgoing: Outgoing, code: int) -> None:
        if code >= REFUSED:
            self._open.refuse(outgoing, f"the broker refuses a message with {code:#04x}")
        else:
            self._open.acknowledge(outgoing)

    def _received(self, message: Publish5) -> None:
        delivery = Delivery(message.topic, message.payload, message.properties)
        asyncio.get_running_loop().call_soon(self._subscriptions.dispatch_numbered, delivery, message.subscriptions)

    def _give_up(self, reason: str) -> None:
        while self._queue:
            self._open.give_up(self._queue.popleft(), reason)

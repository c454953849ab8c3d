"""The charger's connection to the hub: TLS and the MQTT machine over one stream. Used once; a new one per connect."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from emulator.clock import Rtc
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
)
from emulator.net.api import Address, Host
from emulator.net.tls import TlsInfo, TlsStream, tls_connect
from emulator.profile import Profile
from emulator.wire.mqtt import Connect

OnMessage = Callable[[str, bytes], None]

SILENCE = frozenset({EndReason.NO_ACK, EndReason.NO_PINGRESP})
"""The peer is dead, or the path to it: nothing that was said is wrong."""

EARLY_MESSAGES_MAX = 64  # what may arrive between CONNACK and the moment somebody listens


class HubConnection:
    """One session with the hub, from TCP connect to its end. No task of its own: bytes and timers drive it.

    A path that has gone silent is noticed by the PINGRESP that does not come: at the latest half a keep-alive and one
    `ack_timeout_s` after the last one, 160 s by the profile. Then `closed` tells TIMED_OUT.
    """

    __slots__ = (
        "_closing",
        "_early",
        "_flush_due",
        "_loop",
        "_mqtt",
        "_on_message",
        "_opened",
        "_stream",
        "_timer",
        "_waiting",
        "closed",
        "info",
    )

    def __init__(self, stream: TlsStream, mqtt: MqttClient) -> None:
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._mqtt = mqtt
        self._opened: asyncio.Future[bool] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[tuple[int, ...]]] = {}
        self._early: list[tuple[str, bytes]] = []
        self._on_message: OnMessage | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._flush_due = False
        self.closed: asyncio.Future[NetError | None] = self._loop.create_future()
        self.info: TlsInfo = stream.info

    @classmethod
    async def open(
        cls,
        host: Host,
        to: Address,
        *,
        server_name: str,
        context: ssl.SSLContext,
        rtc: Rtc,
        connect: Connect,
        profile: Profile,
    ) -> "HubConnection":
        """TCP, TLS, CONNECT, CONNACK. NetError: the reasons of TCP and TLS, MQTT_REFUSED with the code, MQTT_BROKEN."""
        network = profile.network
        tcp = await host.connect(to, timeout_s=network.connect_timeout_s)
        tls = await tls_connect(tcp, context, server_name=server_name, rtc=rtc, timeout_s=network.tls_timeout_s)
        mqtt = MqttClient(
            connect, max_packet_bytes=profile.hub.max_packet_bytes, ack_timeout_s=profile.hub.ack_timeout_s
        )
        connection = cls(tls, mqtt)
        try:
            await connection._login()
        except asyncio.CancelledError:
            tls.abort()
            raise
        return connection

    @property
    def on_message(self) -> OnMessage | None:
        """Called with topic and payload of everything the hub sends."""
        return self._on_message

    @on_message.setter
    def on_message(self, listener: OnMessage) -> None:
        self._on_message = listener
        while self._early:
            listener(*self._early.pop(0))

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> "asyncio.Future[tuple[int, ...]]":
        """Send a message; the future is done at PUBACK (QoS 1) or at once (QoS 0). NetError when the session ends."""
        return self._ask(lambda now: self._mqtt.publish(topic, payload, qos=qos, now=now))

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> "asyncio.Future[tuple[int, ...]]":
        """Ask for (filter, QoS) pairs; the future gives the granted codes."""
        return self._ask(lambda now: self._mqtt.subscribe(tuple(filters), now))

    async def close(self) -> None:
        """DISCONNECT and end the stream in order."""
        if not self.closed.done():
            self._closing = True
            self._mqtt.disconnect(self._loop.time())
            self._flush()
            self._stream.close()
        await asyncio.wait([self.closed], timeout=1.0)
        self.abort()

    def abort(self, why: NetError | None = None) -> None:
        """End now, without DISCONNECT: the hub publishes the will. `why` is what `closed` will tell."""
        self._stream.abort()
        self._end(why)

    def data_received(self, data: bytes) -> None:
        """Part of the Receiver of the TLS stream."""
        self._handle(self._mqtt.receive(data, self._loop.time()))

    def connection_lost(self, error: NetError | None) -> None:
        """Part of the Receiver of the TLS stream."""
        self._end(error)

    def pause_writing(self) -> None:
        """Part of the Receiver: publishes are bounded by the machine's in-flight limit, nothing to stop here."""

    def resume_writing(self) -> None:
        """Part of the Receiver; see `pause_writing`."""

    async def _login(self) -> None:
        self._stream.attach(self)
        self._mqtt.start(self._loop.time())
        self._flush()
        await self._opened

    def _ask(self, request: Callable[[float], int]) -> "asyncio.Future[tuple[int, ...]]":
        future: asyncio.Future[tuple[int, ...]] = self._loop.create_future()
        if self.closed.done() or self._mqtt.ended:
            future.set_exception(NetError(NetReason.CLOSED, "hub session is over"))
            future.exception()  # seen: nobody is obliged to wait for a publish
            return future
        packet_id = request(self._loop.time())
        if packet_id:
            self._waiting[packet_id] = future
        else:
            future.set_result(())
        if not self._flush_due:
            self._flush_due = True  # what is asked in one turn of the loop leaves in one TLS record
            self._loop.call_soon(self._flush)
        return future

    def _handle(self, events: list[Event]) -> None:
        try:
            for event in events:
                self._take(event)
        finally:  # a listener that raises must not hide the end of the session
            if events and isinstance(last := events[-1], Ended):
                reason = NetReason.TIMED_OUT if last.reason in SILENCE else NetReason.MQTT_BROKEN
                self._fail(NetError(reason, last.reason.value))
            self._flush()

    def _take(self, event: Event) -> None:
        match event:
            case Received():
                self._deliver(event)
            case Acked():
                self._answer(event.packet_id, ())
            case Granted():
                self._answer(event.packet_id, event.codes)
            case Connected():
                if not self._opened.done():
                    self._opened.set_result(event.session_present)
            case Refused():
                self._fail(NetError(NetReason.MQTT_REFUSED, f"CONNACK code {event.code}"))
            case _:
                pass  # the end is seen by `_handle`; UNSUBACK: the charger never unsubscribes

    def _deliver(self, message: Received) -> None:
        if self._on_message is None:
            self._early.append((message.topic, message.payload))
            del self._early[:-EARLY_MESSAGES_MAX]
        else:
            self._on_message(message.topic, message.payload)

    def _answer(self, packet_id: int, codes: tuple[int, ...]) -> None:
        future = self._waiting.pop(packet_id, None)
        if future is not None and not future.done():
            future.set_result(codes)

    def _flush(self) -> None:
        self._flush_due = False
        data = self._mqtt.output()
        if data:
            self._stream.write(data)
        self._arm()

    def _arm(self) -> None:
        deadline = self._mqtt.deadline()
        if self.closed.done() or deadline is None:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return  # it fires early, finds nothing due and is set again: cheaper than a timer per packet
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._handle(self._mqtt.wake(self._loop.time()))

    def _fail(self, error: NetError) -> None:
        self._stream.abort()
        self._end(error)

    def _end(self, error: NetError | None) -> None:
        if self.closed.done():
            return
        self.closed.set_result(error)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lost = error or NetError(NetReason.CLOSED, "the hub ended the session" if not self._closing else "closed")
        open_futures: list[asyncio.Future[Any]] = [self._opened, *self._waiting.values()]
        for future in open_futures:
            if not future.done():
                future.set_exception(lost)
                future.exception()  # seen: nobody is obliged to wait for a publish
        self._waiting.clear()

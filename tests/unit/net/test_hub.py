"""The hub connection at its end: whatever comes last, the session is over for everybody who asks."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from emulator.clock import SimLoop
from emulator.errors import NetError, NetReason
from emulator.machines.mqtt import MqttClient
from emulator.net.api import Receiver
from emulator.net.hub import HubConnection
from emulator.net.tls import TlsInfo, TlsStream
from emulator.wire.mqtt import ConnAck, Connect, Publish, encode

METHOD = encode(Publish("$iothub/methods/POST/503/?$rid=1", b"null"))
NOT_MQTT = b"\xff\xff\xff"


class Wire:
    """Stands where the TLS stream is."""

    def __init__(self) -> None:
        self.info = TlsInfo("TLSv1.2", "", "")
        self.aborted = False
        self.receiver: Receiver | None = None

    def attach(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True

    def arrive(self, data: bytes) -> None:
        assert self.receiver is not None
        self.receiver.data_received(data)


async def logged_in() -> tuple[HubConnection, Wire]:
    wire = Wire()
    machine = MqttClient(Connect("a"), max_packet_bytes=1000, ack_timeout_s=10)
    hub = HubConnection(cast(TlsStream, wire), machine)
    login = asyncio.create_task(hub._login())
    await asyncio.sleep(0)
    wire.arrive(encode(ConnAck(False, 0)))
    await login
    return hub, wire


def play(story: Callable[[HubConnection, Wire], None]) -> None:
    async def tell() -> None:
        story(*await logged_in())

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(tell())


def test_an_answer_to_a_message_that_came_with_garbage_finds_the_session_over() -> None:
    def story(hub: HubConnection, wire: Wire) -> None:
        answers: list[asyncio.Future[tuple[int, ...]]] = []
        hub.on_message = lambda topic, payload: answers.append(hub.publish("$iothub/methods/res/200/?$rid=1", b""))
        wire.arrive(METHOD + NOT_MQTT)
        (answer,) = answers
        assert isinstance(lost := answer.exception(), NetError)
        assert lost.reason is NetReason.CLOSED
        assert isinstance(end := hub.closed.result(), NetError)
        assert end.reason is NetReason.MQTT_BROKEN
        assert wire.aborted

    play(story)


def test_a_listener_that_raises_does_not_hide_the_end() -> None:
    class BugError(Exception):
        pass

    def listen(topic: str, payload: bytes) -> None:
        raise BugError

    def story(hub: HubConnection, wire: Wire) -> None:
        hub.on_message = listen
        with pytest.raises(BugError):
            wire.arrive(METHOD + NOT_MQTT)
        assert hub.closed.done()
        assert wire.aborted

    play(story)


def test_an_abort_tells_its_reason_to_who_watches_and_who_waits() -> None:
    def story(hub: HubConnection, wire: Wire) -> None:
        waiting = hub.publish("topic", b"")
        hub.abort(why := NetError(NetReason.TIMED_OUT, "no PUBACK"))
        assert hub.closed.result() is why
        assert waiting.exception() is why
        assert isinstance(hub.publish("topic", b"").exception(), NetError)

    play(story)

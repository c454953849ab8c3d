"""One suite for every bus: in one process, and over a real Mosquitto with either client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cloud_stub.bus.api import Bus, BusError, Delivery, LocalBus
from cloud_stub.bus.lean import LeanMosquittoBus
from cloud_stub.bus.mosquitto import MosquittoBus, MosquittoProcess

QUEUE_MAX = 300
WITHIN_S = 20

Story = Callable[[Bus], Awaitable[None]]


@asynccontextmanager
async def local(_: Path) -> AsyncIterator[Bus]:
    yield LocalBus(queue_max=QUEUE_MAX)


@asynccontextmanager
async def mosquitto(directory: Path) -> AsyncIterator[Bus]:
    broker = MosquittoProcess(directory)
    try:
        yield MosquittoBus(await broker.start(), queue_max=QUEUE_MAX)
    finally:
        await broker.stop()


@asynccontextmanager
async def lean(directory: Path) -> AsyncIterator[Bus]:
    broker = MosquittoProcess(directory)
    try:
        yield LeanMosquittoBus(await broker.start(), queue_max=QUEUE_MAX)
    finally:
        await broker.stop()


@pytest.fixture(params=[local, *(pytest.param(bus, marks=pytest.mark.needs("mosquitto")) for bus in (mosquitto, lean))])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Story], None]:
    """Runs a story on a bus that is started and, at the end, stopped."""

    async def main(story: Story) -> None:
        async with asyncio.timeout(WITHIN_S), request.param(tmp_path) as bus:
            await bus.start()
            try:
                await story(bus)
            finally:
                await bus.stop()

    return lambda story: asyncio.run(main(story))


class Inbox:
    """A subscriber that can be waited for."""

    def __init__(self) -> None:
        self.got: list[Delivery] = []
        self._more = asyncio.Event()

    def __call__(self, delivery: Delivery) -> None:
        self.got.append(delivery)
        self._more.set()

    async def until(self, count: int) -> list[Delivery]:
        while len(self.got) < count:
            self._more.clear()
            await self._more.wait()
        return self.got


def test_a_message_arrives_with_its_properties(play) -> None:
    async def story(bus: Bus) -> None:
        inbox = Inbox()
        await bus.subscribe("hub/+/d2c", inbox)
        properties = (("$.ct", "application/json"), ("empty", ""), ("ø", "€"), ("twice", "1"), ("twice", "2"))
        await bus.publish("hub/x/d2c", b"\0\xff", properties)
        await bus.publish("hub/x/connection", b"not for us")
        await bus.publish("hub/y/d2c", b"")
        assert await inbox.until(2) == [Delivery("hub/x/d2c", b"\0\xff", properties), Delivery("hub/y/d2c", b"")]

    play(story)


def test_order_is_kept_and_futures_end_in_order(play) -> None:
    async def story(bus: Bus) -> None:
        inbox = Inbox()
        await bus.subscribe("hub/#", inbox)
        sent = [bus.publish("hub/x/d2c", b"%d" % n) for n in range(QUEUE_MAX)]
        ended: list[asyncio.Future[None]] = []
        for future in sent:
            future.add_done_callback(ended.append)
        await asyncio.gather(*sent)
        assert [delivery.payload for delivery in await inbox.until(QUEUE_MAX)] == [b"%d" % n for n in range(QUEUE_MAX)]
        assert ended == sent

    play(story)


def test_the_queue_has_a_limit_and_room_comes_back(play) -> None:
    async def story(bus: Bus) -> None:
        sent = [bus.publish("hub/x/d2c", b"") for _ in range(QUEUE_MAX + 1)]
        with pytest.raises(BusError, match=f"{QUEUE_MAX} messages waiting"):
            await sent[-1]
        await asyncio.gather(*sent[:-1])
        await bus.publish("hub/x/d2c", b"")
        assert not bus.congested

    play(story)


def test_overlapping_filters_and_two_subscribers_of_one_each_get_one_copy(play) -> None:
    async def story(bus: Bus) -> None:
        inboxes = [Inbox() for _ in range(3)]
        for topic_filter, inbox in zip(("hub/#", "hub/+/d2c", "hub/+/d2c"), inboxes, strict=True):
            await bus.subscribe(topic_filter, inbox)
        await bus.publish("hub/x/d2c", b"1")
        await bus.publish("hub/x/d2c", b"2")
        for inbox in inboxes:
            assert [delivery.payload for delivery in await inbox.until(2)] == [b"1", b"2"]
        await bus.publish("hub/x/d2c", b"3")
        assert [len(await inbox.until(3)) for inbox in inboxes] == [3, 3, 3]

    play(story)


def test_a_subscription_ends_and_may_begin_again(play) -> None:
    async def story(bus: Bus) -> None:
        first, second, witness = Inbox(), Inbox(), Inbox()
        undo = await bus.subscribe("hub/+/d2c", first)
        await bus.subscribe("hub/#", witness)
        await bus.publish("hub/x/d2c", b"1")
        await first.until(1)
        undo()
        undo()
        await bus.publish("hub/x/d2c", b"2")
        await witness.until(2)
        await bus.subscribe("hub/+/d2c", second)
        await bus.publish("hub/x/d2c", b"3")
        await second.until(1)
        assert [delivery.payload for delivery in first.got + second.got] == [b"1", b"3"]

    play(story)


def test_text_that_a_broker_would_not_take_does_no_harm(play) -> None:
    async def story(bus: Bus) -> None:
        inbox = Inbox()
        await bus.subscribe("hub/#", inbox)
        await bus.publish("hub/x/d2c", b"", (("a\0b", "\ud800\ufffe\x01"),))
        await bus.publish("hub/x/d2c", b"after")
        first, second = await inbox.until(2)
        assert first.properties == (("a%00b", "%ED%A0%80%EF%BF%BE%01"),) and second.payload == b"after"

    play(story)


def test_a_subscriber_may_publish(play) -> None:
    async def story(bus: Bus) -> None:
        inbox = Inbox()
        await bus.subscribe("answers", inbox)

        def answer(question: Delivery) -> None:
            bus.publish("answers", question.payload)

        await bus.subscribe("questions", answer)
        await bus.publish("questions", b"?")
        assert (await inbox.until(1))[0].payload == b"?"

    play(story)


def test_nothing_is_taken_before_the_start_or_after_the_end(play) -> None:
    async def story(bus: Bus) -> None:
        await bus.stop()
        with pytest.raises(BusError, match="stopped"):
            await bus.publish("hub/x/d2c", b"")
        await bus.start()
        await bus.publish("hub/x/d2c", b"")

    play(story)

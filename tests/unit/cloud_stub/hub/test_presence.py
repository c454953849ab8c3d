"""Who is connected where, and what is done for endpoint processes that have died."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from cloud_stub.bus.api import WORKER, Delivery, Kind, LocalBus, filter_of, topic_of
from cloud_stub.hub.memory import HubMemory, hub_memory
from cloud_stub.hub.notices import SESSION
from cloud_stub.hub.presence import WORKER_LOST, News, Presence, Sightings, connection_state, news_of
from cloud_stub.state.c2d import C2dMessage
from cloud_stub.state.database import State
from cloud_stub.state.registry import derived_keys

SERIAL, OTHER = "ZPR000001", "ZPR000002"
NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def said(device_id: str, state: str, session: int, worker: str) -> Delivery:
    payload = f'{{"state":"{state}","reason":""}}'.encode()
    return Delivery(topic_of(device_id, Kind.CONNECTION), payload, ((SESSION, str(session)), (WORKER, worker)))


@pytest.mark.parametrize(
    ("payload", "state"),
    [
        (b'{"state":"connected"}', True),
        (b'{"state":"disconnected","reason":"x"}', False),
        (b'{"state":1}', None),
        (b'{"state":[]}', None),
        (b"[]", None),
        (b"[" * 100_000, None),
        (b"\xff", None),
    ],
)
def test_anything_may_be_said_about_connections(payload: bytes, state: bool | None) -> None:
    assert connection_state(payload) is state


def test_news_name_session_and_worker_or_do_not() -> None:
    assert news_of(said(SERIAL, "connected", 3, "1.1")) == News(SERIAL, True, 3, "1.1")
    strange = Delivery(topic_of(SERIAL, Kind.CONNECTION), b'{"state":"connected"}', ((SESSION, "many"),))
    assert news_of(strange) == News(SERIAL, True)
    assert news_of(Delivery(topic_of(SERIAL, Kind.D2C), b'{"state":"connected"}')) is None


def test_news_of_an_older_session_that_come_late_count_for_nothing() -> None:
    sightings = Sightings()
    assert sightings.heard(said(SERIAL, "connected", 2, "2.1"))
    assert sightings.heard(said(SERIAL, "disconnected", 1, "1.1")) is None
    assert sightings.connected(SERIAL)
    assert [news.device_id for news in sightings.at("2.1")] == [SERIAL] and sightings.at("1.1") == []


class Office:
    """A hub's main process whose workers are only said to be there."""

    def __init__(self) -> None:
        self.bus = LocalBus()
        self.memory: HubMemory = hub_memory(State(None), derived_keys(b"s" * 32), lambda: NOON)
        self.presence = Presence(self.bus, self.memory.sessions, self.memory.queues)
        self.heard: list[Delivery] = []

    async def connect(self, device_id: str, worker: str) -> None:
        """A device logs in at a worker, which says so."""
        self.memory.registry.produce_all([device_id])
        number = self.memory.sessions.begin(device_id, clean=False).number
        await self.bus.publish(*_parts(said(device_id, "connected", number, worker)))

    def said_of(self, kind: Kind) -> list[str]:
        """What was said about devices, by the office or by others: ids, and the reason if there is one."""
        return [each.topic.split("/")[1] for each in self.heard if each.topic.endswith(f"/{kind.value}")]


def _parts(delivery: Delivery) -> tuple[str, bytes, tuple[tuple[str, str], ...]]:
    return delivery.topic, delivery.payload, delivery.properties


def play(story: Callable[[Office], Awaitable[None]]) -> None:
    async def whole() -> None:
        office = Office()
        await office.bus.start()
        await office.presence.start()
        for kind in (Kind.CONNECTION, Kind.C2D_READY):
            await office.bus.subscribe(filter_of(kind), office.heard.append)
        await story(office)
        office.presence.stop()
        await office.bus.stop()
        office.memory.state.close()

    asyncio.run(whole())


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_devices_of_a_dead_worker_are_disconnected_and_their_messages_due_again() -> None:
    async def story(office: Office) -> None:
        await office.connect(SERIAL, "1.1")
        await office.connect(OTHER, "2.1")
        office.memory.queues.send(SERIAL, C2dMessage(b"a", "m1"))
        assert office.memory.queues.due(SERIAL) and not office.memory.queues.due(SERIAL)
        office.presence.worker_lost("1.1")
        await turns()
        assert not office.memory.sessions.seen(SERIAL).connected and office.memory.sessions.seen(OTHER).connected
        assert len(office.memory.queues.due(SERIAL)) == 1
        (last,) = [each for each in office.heard if WORKER_LOST.encode() in each.payload]
        assert last.topic == topic_of(SERIAL, Kind.CONNECTION) and office.said_of(Kind.C2D_READY) == [SERIAL]

    play(story)


def test_last_words_of_a_dead_worker_are_answered_too() -> None:
    async def story(office: Office) -> None:
        office.presence.worker_lost("1.1")
        await office.connect(SERIAL, "1.1")
        await turns()
        assert not office.memory.sessions.seen(SERIAL).connected

    play(story)


def test_a_device_that_is_at_another_worker_already_stays_there() -> None:
    async def story(office: Office) -> None:
        await office.connect(SERIAL, "1.1")
        await office.connect(SERIAL, "2.1")
        office.presence.worker_lost("1.1")
        await turns()
        assert office.memory.sessions.seen(SERIAL).connected and office.said_of(Kind.C2D_READY) == []

    play(story)

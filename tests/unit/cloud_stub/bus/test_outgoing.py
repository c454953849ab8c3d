"""What becomes of the messages that a bus has taken."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud_stub.bus.api import BusError, Delivery, Kind, topic_of
from cloud_stub.bus.journal import WINDOW_S, Journal
from cloud_stub.bus.outgoing import OpenMessages, Outgoing
from emulator.clock import SimLoop

COUNT_MAX = 3


class Post:
    """Open messages, with a journal, and what subscribers got of them."""

    def __init__(self, journal: Journal) -> None:
        self.got: list[bytes] = []
        self.open = OpenMessages(lambda delivery: self.got.append(delivery.payload), journal, COUNT_MAX)

    def send(self, text: bytes) -> Outgoing:
        acknowledged = self.open.admit(running=True)
        return Outgoing(Delivery(topic_of("ZPR000001", Kind.D2C), text), acknowledged)

    def again(self, *waiting: Outgoing) -> list[tuple[bytes, bool]]:
        return [(each.message.payload, each.dup) for each in self.open.again(waiting)]


@contextmanager
def opened(folder: Path) -> Iterator[Post]:
    post = Post(Journal(folder / "main", asyncio.get_running_loop().time))
    yield post
    post.open.end()


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[Post], Awaitable[None]]], None]:
    async def main(story: Callable[[Post], Awaitable[None]]) -> None:
        with opened(tmp_path) as post:
            await story(post)

    def run(story: Callable[[Post], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=SimLoop) as runner:
            runner.run(main(story))

    return run


def test_what_is_acknowledged_reaches_the_subscribers_here_and_makes_room(play) -> None:
    async def story(post: Post) -> None:
        sent = [post.send(b"%d" % number) for number in range(COUNT_MAX)]
        with pytest.raises(BusError, match="3 messages waiting"):
            await post.open.admit(running=True)
        post.open.acknowledge(sent[0])
        assert sent[0].acknowledged is not None
        await sent[0].acknowledged
        post.open.acknowledge(post.send(b"next"))
        await asyncio.sleep(0)
        assert post.got == [b"0", b"next"]

    play(story)


def test_what_is_refused_or_given_up_reaches_nobody_and_its_publisher_hears_why(play) -> None:
    async def story(post: Post) -> None:
        refused, given_up, forgotten = post.send(b"1"), post.send(b"2"), post.send(b"3")
        assert refused.acknowledged is not None and given_up.acknowledged is not None
        assert forgotten.acknowledged is not None
        forgotten.acknowledged.cancel()
        post.open.refuse(refused, "too long")
        post.open.give_up(given_up, "nobody there")
        post.open.refuse(forgotten, "too long")
        with pytest.raises(BusError, match=r"^bus: too long$"):
            await refused.acknowledged
        with pytest.raises(BusError, match=r"^nobody there$"):
            await given_up.acknowledged
        await post.open.none_left(0)
        assert post.got == [] and post.again() == []

    play(story)


def test_nothing_is_taken_while_the_bus_does_not_run(play) -> None:
    async def story(post: Post) -> None:
        with pytest.raises(BusError, match="stopped"):
            await post.open.admit(running=False)

    play(story)


def test_on_a_new_connection_what_the_broker_may_have_lost_comes_first_and_counts(play) -> None:
    async def story(post: Post) -> None:
        for text in (b"a", b"b"):
            post.open.acknowledge(post.send(text))
        post.open.lost()
        waiting = post.send(b"c")
        assert post.again(waiting) == [(b"a", True), (b"b", True), (b"c", False)]
        with pytest.raises(BusError, match="3 messages waiting"):
            await post.open.admit(running=True)
        assert post.open.repeated == 2

    play(story)


def test_what_comes_again_is_waited_for_and_told_to_nobody_twice(play) -> None:
    async def story(post: Post) -> None:
        post.open.acknowledge(post.send(b"a"))
        await asyncio.sleep(0)
        again = post.open.again([])
        loop = asyncio.get_running_loop()
        began, _ = loop.time(), loop.call_later(2, post.open.acknowledge, again[0])
        await post.open.none_left(5)
        assert loop.time() - began == pytest.approx(2) and post.got == [b"a"]

    play(story)


def test_what_was_given_up_out_of_the_journal_comes_again_all_the_same(play) -> None:
    async def story(post: Post) -> None:
        post.open.acknowledge(post.send(b"a"))
        post.open.lost()
        for repeated in post.open.again([]):
            post.open.give_up(repeated, "no broker for a long time")
        await asyncio.sleep(10 * WINDOW_S)
        post.open.lost()
        assert post.again() == [(b"a", True)]

    play(story)


def test_waiting_for_the_last_one_has_an_end(play) -> None:
    async def story(post: Post) -> None:
        post.send(b"a")
        began = asyncio.get_running_loop().time()
        await post.open.none_left(3)
        assert asyncio.get_running_loop().time() - began == pytest.approx(3)

    play(story)

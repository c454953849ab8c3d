"""What survives a broker that forgets and a process that is killed."""

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_stub.bus.api import BusError, Delivery, Kind, topic_of
from cloud_stub.bus.journal import WINDOW_S, Journal
from emulator.errors import UsageError


class Clock:
    """Monotonic seconds that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Callable[[], Journal]:
    return lambda: Journal(tmp_path / "main", clock)


def message(text: str, kind: Kind = Kind.D2C) -> Delivery:
    return Delivery(topic_of("ZPR000001", kind), text.encode(), (("name", "value"),))


def texts(messages: list[Delivery]) -> list[str]:
    return [each.payload.decode() for each in messages]


def test_what_was_acknowledged_in_the_last_seconds_is_known_in_order(opened, clock: Clock) -> None:
    journal = opened()
    for number in range(40):
        clock.now += 0.5
        journal.add(message(str(number)))
    recent = texts(journal.recent(clock.now))
    assert recent == [str(number) for number in range(int(recent[0]), 40)]
    needed, kept = int(WINDOW_S / 0.5), len(recent)
    assert needed <= kept <= 2 * needed + 2
    journal.close()


def test_properties_come_back_too(opened, clock: Clock) -> None:
    journal = opened()
    journal.add(message("a"))
    assert journal.recent(clock.now) == [message("a")]
    journal.close()


@pytest.mark.parametrize("kind", [Kind.METHOD, Kind.METHOD_RESPONSE, Kind.DESIRED, Kind.DEVICEBOUND])
def test_what_must_not_come_twice_is_not_kept(opened, clock: Clock, kind: Kind) -> None:
    journal = opened()
    rest = ("a", "b") if kind in (Kind.METHOD, Kind.METHOD_RESPONSE) else ()
    journal.add(Delivery(topic_of("ZPR000001", kind, *rest), b"x"))
    journal.add(Delivery("short", b"x"))
    assert journal.recent(clock.now) == []
    journal.close()


def test_another_process_finds_what_one_that_was_killed_has_left(opened, clock: Clock, tmp_path: Path) -> None:
    first = opened()
    for number in range(20):
        clock.now += 0.5
        first.add(message(str(number)))
    left = first.recent(clock.now)
    first.close()
    with next(iter(sorted(tmp_path.iterdir(), key=os.path.getmtime, reverse=True))).open("ab") as file:
        file.write(b"\x32\x7fhalf a packet")
    clock.now = 5.0  # another machine start, another beginning of time
    second = opened()
    assert second.recent(clock.now) == left
    second.add(message("new"))
    assert second.recent(clock.now) == [*left, message("new")]
    second.close()


def test_what_is_sent_again_stays_until_it_is_settled_and_a_window_longer(opened, clock: Clock) -> None:
    journal = opened()
    for text in "abc":
        journal.add(message(text))
    clock.now += 60  # the broker was away so long
    assert texts(journal.recent(clock.now - 60)) == ["a", "b", "c"]
    journal.settled()
    clock.now += 2 * WINDOW_S
    journal.add(message("d"))
    assert texts(journal.recent(clock.now)) == ["a", "b", "c", "d"]  # it died again in the middle
    for _ in range(4):
        journal.settled()
    clock.now += 1
    journal.add(message("e"))
    assert texts(journal.recent(clock.now)) == ["a", "b", "c", "d", "e"]  # and again, just after
    for _ in range(5):
        journal.settled()
    for _ in range(3):
        clock.now += WINDOW_S + 1
        journal.add(message("later"))
    assert set(texts(journal.recent(clock.now))) == {"later"}
    journal.close()


def test_what_the_broker_never_answered_comes_again_however_long_it_was_silent(opened, clock: Clock) -> None:
    journal = opened()
    for text in "ab":
        journal.add(message(text))
    assert texts(journal.recent(clock.now)) == ["a", "b"]
    journal.settled()
    clock.now += 5 * WINDOW_S  # connected, and not a word
    assert texts(journal.recent(clock.now)) == ["a", "b"]
    journal.close()


def test_a_broker_that_dies_again_and_again_makes_nothing_grow(opened, clock: Clock) -> None:
    journal = opened()
    for text in "abc":
        journal.add(message(text))
    for _ in range(50):
        clock.now += 1
        again = journal.recent(clock.now)
        for _ in again:
            journal.settled()
        assert texts(again) == ["a", "b", "c"]
    journal.close()


def test_a_journal_is_waited_for_while_another_has_it(opened) -> None:
    """Its process is about to end; here it never does."""
    first = opened()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the other process
        signal.alarm(1)
        opened()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
    first.close()
    opened().close()


def test_a_disk_that_is_full_is_said_and_leaves_nothing_half_written(opened, clock: Clock) -> None:
    journal = opened()
    journal.add(message("a"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(BusError, match="journal: "):
            journal.add(message("x" * 200))
        with pytest.raises(BusError, match="journal: "):
            journal.add(message("x" * 2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    journal.add(message("b"))
    assert texts(journal.recent(clock.now)) == ["a", "b"]
    journal.close()


def test_a_place_that_cannot_be_is_bad_usage(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        Journal(tmp_path / "nowhere" / "main", clock)


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    stem = tmp_path_factory.mktemp("journal") / "main"
    stem.with_name("main.0").write_bytes(data)
    journal = Journal(stem, Clock())
    before = journal.recent(1000.0)
    journal.add(message("a"))
    assert journal.recent(1000.0) == [*before, message("a")]
    journal.close()

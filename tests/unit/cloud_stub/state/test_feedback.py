import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_stub.state.c2d import Ack
from cloud_stub.state.feedback import RECORDS_MAX, FeedbackBatch
from tests.unit.cloud_stub.state.c2d_lab import SERIAL, C2dLab


@pytest.fixture
def lab() -> Iterator[C2dLab]:
    lab = C2dLab()
    yield lab
    lab.close()


def acknowledged(lab: C2dLab, *texts: str) -> None:
    """Messages whose delivery the device has acknowledged."""
    for text in texts:
        lab.send(text, Ack.FULL)
        for delivery in lab.queues.due(SERIAL):
            assert lab.queues.complete(SERIAL, delivery.lock)


def received(lab: C2dLab) -> FeedbackBatch:
    batch = lab.feedback.receive()
    assert batch is not None
    return batch


def ids(batch: FeedbackBatch) -> list[str]:
    return [item["originalMessageId"] for item in batch.items]


def test_a_batch_is_ready_fifteen_seconds_after_its_first_record(lab: C2dLab) -> None:
    acknowledged(lab, "a")
    lab.wait(14)
    acknowledged(lab, "b")
    assert lab.feedback.receive() is None
    lab.wait(1)
    batch = received(lab)
    assert json.loads(batch.body) == [
        {
            "originalMessageId": name,
            "enqueuedTimeUtc": f"2026-06-01T12:00:{second}.000000Z",
            "statusCode": "Success",
            "description": "Success",
            "deviceId": SERIAL,
            "deviceGenerationId": lab.memory.registry.require(SERIAL).generation_id,
        }
        for name, second in (("a", "00"), ("b", "14"))
    ]
    assert lab.feedback.receive() is None


def test_a_batch_of_sixty_four_is_ready_at_once(lab: C2dLab) -> None:
    acknowledged(lab, *(str(number) for number in range(65)))
    assert ids(received(lab)) == [str(number) for number in range(64)]
    assert lab.feedback.receive() is None
    lab.wait(15)
    assert ids(received(lab)) == ["64"]


def test_a_batch_that_was_completed_is_gone(lab: C2dLab) -> None:
    acknowledged(lab, "a")
    lab.wait(15)
    batch = received(lab)
    assert lab.feedback.complete(batch.lock) and not lab.feedback.complete(batch.lock)
    lab.wait(120)
    assert lab.feedback.receive() is None


def test_a_batch_that_was_not_completed_comes_again(lab: C2dLab) -> None:
    acknowledged(lab, "a")
    lab.wait(15)
    first = received(lab)
    lab.wait(60)
    assert not lab.feedback.complete(first.lock)
    second = received(lab)
    assert second.items == first.items and not lab.feedback.complete(first.lock)
    assert lab.feedback.abandon(second.lock) and not lab.feedback.complete(second.lock)
    assert lab.feedback.complete(received(lab).lock)


def test_a_batch_that_nobody_wants_is_lost_after_ten_times(lab: C2dLab) -> None:
    acknowledged(lab, "a")
    lab.wait(15)
    for _ in range(10):
        assert lab.feedback.abandon(received(lab).lock)
    assert lab.feedback.receive() is None


def test_feedback_is_kept_for_an_hour(lab: C2dLab) -> None:
    acknowledged(lab, "a")
    lab.wait(3_600)
    assert lab.feedback.receive() is None


def test_feedback_outlives_its_device_and_names_the_generation_it_had(lab: C2dLab) -> None:
    generation = lab.memory.registry.require(SERIAL).generation_id
    acknowledged(lab, "a")
    lab.memory.registry.delete(SERIAL)
    lab.memory.registry.produce(SERIAL)
    lab.wait(15)
    assert received(lab).items[0]["deviceGenerationId"] == generation


def test_the_oldest_record_goes_when_there_are_too_many(lab: C2dLab) -> None:
    acknowledged(lab, "a", "b")
    with lab.memory.state.change() as database:
        database.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'feedback'", (RECORDS_MAX,))
    acknowledged(lab, "c")
    lab.wait(15)
    assert ids(received(lab)) == ["b", "c"]


@pytest.mark.parametrize("lock", ["", "-", "1", "x-1", "1-", "1-2", "99999999999999999999-1"])
def test_a_lock_that_never_was_settles_nothing(lab: C2dLab, lock: str) -> None:
    acknowledged(lab, "a")
    lab.wait(15)
    batch = received(lab)
    assert not lab.feedback.complete(lock) and not lab.feedback.abandon(lock)
    assert lab.feedback.complete(batch.lock)


def test_feedback_survives_the_process(tmp_path: Path) -> None:
    before = C2dLab(path=tmp_path / "hub.sqlite")
    acknowledged(before, "a")
    before.close()
    after = C2dLab(path=tmp_path / "hub.sqlite")
    after.wait(15)
    assert ids(received(after)) == ["a"]
    after.close()

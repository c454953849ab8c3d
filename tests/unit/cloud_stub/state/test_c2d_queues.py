from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cloud_stub.state.c2d import Ack, C2dDelivery, C2dMessage, C2dRules, FirstSession
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.identity import DeviceSpec
from tests.unit.cloud_stub.state.c2d_lab import SERIAL, C2dLab


@pytest.fixture
def lab() -> Iterator[C2dLab]:
    lab = C2dLab()
    yield lab
    lab.close()


def test_messages_come_in_order_and_are_gone_once_acknowledged(lab: C2dLab) -> None:
    for text in "abc":
        assert lab.send(text)
    deliveries = lab.queues.due(SERIAL)
    assert [delivery.message.message_id for delivery in deliveries] == ["a", "b", "c"]
    assert lab.bodies() == [] and lab.queues.count(SERIAL) == 3
    assert all(lab.queues.complete(SERIAL, delivery.lock) for delivery in deliveries)
    assert lab.queues.count(SERIAL) == 0 and lab.queues.deadline() is None
    assert not lab.queues.complete(SERIAL, deliveries[0].lock)


def test_no_more_than_asked_for_are_locked(lab: C2dLab) -> None:
    for text in "abc":
        lab.send(text)
    assert [delivery.message.body for delivery in lab.queues.due(SERIAL, 2)] == [b"a", b"b"]
    assert lab.bodies() == ["c"]


def test_what_a_connection_did_not_acknowledge_comes_again_on_the_next(lab: C2dLab) -> None:
    lab.send("a")
    lab.send("b")
    first, second = lab.queues.due(SERIAL)
    lab.queues.complete(SERIAL, second.lock)
    lab.queues.abandon(SERIAL, [first.lock, second.lock])
    (again,) = lab.queues.due(SERIAL)
    assert again.message == first.message and (first.delivery_count, again.delivery_count) == (1, 2)
    assert again.lock != first.lock


def test_a_new_connection_gets_at_once_what_an_older_one_never_gave_up(lab: C2dLab) -> None:
    """As when the process that had the older one was killed."""
    lab.send("a")
    (old,) = lab.queues.due(SERIAL)
    lab.queues.connected(SERIAL, clean=False)
    (new,) = lab.queues.due(SERIAL)
    assert new.delivery_count == 2 and not lab.queues.complete(SERIAL, old.lock)
    lab.queues.abandon(SERIAL, [old.lock])  # it was not killed after all
    assert lab.bodies() == [] and lab.queues.complete(SERIAL, new.lock)


def test_the_locks_of_an_older_connection_cannot_touch_those_of_the_newer(lab: C2dLab) -> None:
    lab.send("a")
    (old,) = lab.queues.due(SERIAL)
    lab.wait(60)
    (new,) = lab.queues.due(SERIAL)
    lab.queues.abandon(SERIAL, [old.lock])
    assert lab.bodies() == [] and not lab.queues.complete(SERIAL, old.lock)
    assert lab.queues.complete(SERIAL, new.lock)


def test_a_lock_ends_after_a_minute(lab: C2dLab) -> None:
    lab.send("a")
    (delivery,) = lab.queues.due(SERIAL)
    assert lab.queues.deadline() == lab.now + 60
    lab.wait(59)
    assert lab.queues.expire() == [] and lab.bodies() == []
    lab.wait(1)
    assert not lab.queues.complete(SERIAL, delivery.lock)
    assert lab.queues.expire() == [SERIAL] and lab.queues.expire() == [] and lab.bodies() == ["a"]


def test_after_ten_deliveries_a_message_is_dead(lab: C2dLab) -> None:
    lab.send("a", Ack.FULL)
    for number in range(1, 11):
        (delivery,) = lab.queues.due(SERIAL)
        assert delivery.delivery_count == number
        lab.queues.abandon(SERIAL, [delivery.lock])
    assert lab.bodies() == [] and lab.queues.count(SERIAL) == 0
    lab.wait(15)
    batch = lab.feedback.receive()
    assert batch is not None and batch.items[0]["statusCode"] == "DeliveryCountExceeded"


def test_what_has_expired_is_dead_unless_it_is_being_delivered(lab: C2dLab) -> None:
    for text in "ab":
        lab.send(text, Ack.NEGATIVE, ttl_s=30)
    (delivery,) = lab.queues.due(SERIAL, 1)
    lab.wait(30)
    assert lab.queues.expire() == [] and lab.queues.count(SERIAL) == 1
    assert lab.queues.complete(SERIAL, delivery.lock)
    lab.wait(15)
    batch = lab.feedback.receive()
    assert batch is not None
    assert [(item["originalMessageId"], item["statusCode"]) for item in batch.items] == [("b", "Expired")]


def test_the_fifty_first_message_is_refused_until_there_is_room(lab: C2dLab) -> None:
    for number in range(50):
        lab.send(str(number), ttl_s=60 + number)
    with pytest.raises(HubError) as full:
        lab.send("one more")
    assert full.value.code is ErrorCode.QUEUE_FULL and full.value.status == 403
    lab.queues.due(SERIAL)
    with pytest.raises(HubError):
        lab.send("what is being delivered counts")
    lab.wait(120)
    assert lab.send("the others have expired") and lab.bodies() == ["the others have expired"]


def test_purging_empties_the_queue_and_says_so(lab: C2dLab) -> None:
    lab.send("a", Ack.NEGATIVE)
    lab.send("b")
    (delivery,) = lab.queues.due(SERIAL, 1)
    assert lab.queues.purge(SERIAL) == 2 and lab.queues.purge(SERIAL) == 0
    assert not lab.queues.complete(SERIAL, delivery.lock) and lab.bodies() == []
    lab.wait(15)
    batch = lab.feedback.receive()
    assert batch is not None and [item["statusCode"] for item in batch.items] == ["Purged"]


def test_a_message_without_an_id_gets_one_of_its_own(lab: C2dLab) -> None:
    for _ in range(2):
        lab.queues.send(SERIAL, C2dMessage(b"x", properties=(("a", None), ("a", "1"))))
    first, second = (delivery.message for delivery in lab.queues.due(SERIAL))
    assert len(first.message_id) == 36 and first.message_id != second.message_id
    assert first.properties == (("a", None), ("a", "1"))


def test_nothing_waits_for_a_device_that_was_never_there() -> None:
    lab = C2dLab()
    lab.memory.registry.create("new", DeviceSpec())
    assert not lab.queues.send("new", C2dMessage(b"x")) and lab.queues.count("new") == 0
    lab.memory.sessions.begin("new", clean=True)
    assert lab.queues.send("new", C2dMessage(b"x"))
    lab.close()
    eager = C2dLab(C2dRules(first_session=FirstSession.QUEUE))
    eager.memory.registry.create("new", DeviceSpec())
    assert eager.queues.send("new", C2dMessage(b"x")) and len(eager.queues.due("new")) == 1
    eager.close()


def test_a_clean_session_keeps_the_queue_or_empties_it_as_the_rules_say(lab: C2dLab) -> None:
    lab.send("a")
    lab.queues.connected(SERIAL, clean=True)
    assert lab.bodies() == ["a"]
    strict = C2dLab(C2dRules(clean_session_discards=True))
    strict.send("a")
    strict.queues.connected(SERIAL, clean=False)
    assert strict.queues.count(SERIAL) == 1
    strict.queues.connected(SERIAL, clean=True)
    assert strict.bodies() == []
    strict.close()


def test_unknown_devices_have_no_queue_and_deleted_ones_lose_theirs(lab: C2dLab) -> None:
    for ask in (lambda: lab.queues.send("none", C2dMessage(b"")), lambda: lab.queues.purge("none")):
        with pytest.raises(HubError) as missing:
            ask()
        assert missing.value.code is ErrorCode.NOT_FOUND
    lab.send("a")
    lab.memory.registry.delete(SERIAL)
    lab.memory.registry.produce(SERIAL)
    assert lab.queues.count(SERIAL) == 0 and lab.queues.deadline() is None


@pytest.mark.parametrize("lock", ["", "-", "1", "1-", "x-y", "-1-1", "99999999999999999999-1", "1-2", "01-1x"])
def test_a_lock_that_never_was_holds_nothing(lab: C2dLab, lock: str) -> None:
    lab.send("a")
    lab.queues.due(SERIAL)
    assert not lab.queues.complete(SERIAL, lock) and not lab.queues.reject(SERIAL, lock)
    lab.queues.abandon(SERIAL, [lock])
    assert lab.queues.count(SERIAL) == 1 and lab.bodies() == []


def test_a_queue_outlives_the_process(tmp_path: Path) -> None:
    before = C2dLab(path=tmp_path / "hub.sqlite")
    before.send("a", Ack.FULL)
    before.send("b")
    assert before.bodies() == ["a", "b"]
    before.close()
    after = C2dLab(path=tmp_path / "hub.sqlite")
    assert after.bodies() == []
    after.memory.begin()
    first, second = after.queues.due(SERIAL)
    assert (first.message.body, first.message.ack, first.delivery_count) == (b"a", Ack.FULL, 2)
    assert after.queues.complete(SERIAL, first.lock) and after.queues.reject(SERIAL, second.lock)
    after.close()


class QueueAgainstModel(RuleBasedStateMachine):
    """A message is never lost, never delivered while it is locked, and there is never more than fits."""

    def __init__(self) -> None:
        super().__init__()
        self.rules_of_hub = C2dRules(depth_max=4, delivery_count_max=3, ttl_s=100.0, lock_s=10.0)
        self.lab = C2dLab(self.rules_of_hub)
        self.sent = 0
        self.waiting: dict[str, list[float]] = {}  # id -> expiry, end of the lock, deliveries; in order
        self.held: dict[str, C2dDelivery] = {}  # the newest delivery of each
        self.ended: dict[str, str] = {}

    def teardown(self) -> None:
        self.lab.wait(15)
        heard: dict[str, str] = {}
        while batch := self.lab.feedback.receive():
            heard.update({item["originalMessageId"]: item["statusCode"] for item in batch.items})
            self.lab.feedback.complete(batch.lock)
        self.lab.close()
        assert heard == self.ended
        assert len(self.ended) + len(self.waiting) == self.sent

    def settle(self) -> None:
        """What has died by now."""
        for name, (expires_at, locked_until, count) in tuple(self.waiting.items()):
            if locked_until <= self.lab.now and (count >= 3 or expires_at <= self.lab.now):
                self.end(name, "DeliveryCountExceeded" if count >= 3 else "Expired")

    def end(self, name: str, outcome: str) -> None:
        del self.waiting[name]
        self.held.pop(name, None)
        self.ended[name] = outcome

    @rule(ttl_s=st.sampled_from([None, 5.0, 30.0]))
    def send(self, ttl_s: float | None) -> None:
        self.settle()
        name = str(self.sent)
        if len(self.waiting) >= 4:
            with pytest.raises(HubError, match="403004"):
                self.lab.send(name, Ack.FULL, ttl_s=ttl_s)
            return
        assert self.lab.send(name, Ack.FULL, ttl_s=ttl_s)
        self.waiting[name] = [self.lab.now + (ttl_s or 100.0), 0.0, 0]
        self.sent += 1

    @rule(limit=st.sampled_from([None, 1, 2]))
    def deliver(self, limit: int | None) -> None:
        self.settle()
        free = [name for name, (_, locked_until, _) in self.waiting.items() if locked_until <= self.lab.now][:limit]
        deliveries = self.lab.queues.due(SERIAL, limit)
        assert [delivery.message.message_id for delivery in deliveries] == free
        for delivery in deliveries:
            entry = self.waiting[delivery.message.message_id]
            entry[1:] = [self.lab.now + 10, entry[2] + 1]
            assert delivery.delivery_count == entry[2]
            self.held[delivery.message.message_id] = delivery

    @precondition(lambda self: self.held)
    @rule(data=st.data(), rejects=st.booleans())
    def answer(self, data: st.DataObject, rejects: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        answer = self.lab.queues.reject if rejects else self.lab.queues.complete
        in_time = self.waiting[name][1] > self.lab.now
        assert answer(SERIAL, self.held[name].lock) is in_time
        if in_time:
            self.end(name, "Rejected" if rejects else "Success")

    @rule()
    def disconnect(self) -> None:
        self.lab.queues.abandon(SERIAL, [delivery.lock for delivery in self.held.values()])
        for name in self.held:
            self.waiting[name][1] = min(self.waiting[name][1], self.lab.now)
        self.held.clear()
        self.settle()

    @rule(seconds=st.sampled_from([1.0, 5.0, 10.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.lab.wait(seconds)

    @rule()
    def expire(self) -> None:
        self.settle()
        self.lab.queues.expire()
        assert self.lab.queues.count(SERIAL) == len(self.waiting)

    @rule()
    def purge(self) -> None:
        self.lab.queues.expire()
        self.settle()
        assert self.lab.queues.purge(SERIAL) == len(self.waiting)
        for name in tuple(self.waiting):
            self.end(name, "Purged")

    @invariant()
    def there_is_never_more_than_fits(self) -> None:
        assert self.lab.queues.count(SERIAL) <= 4

    @invariant()
    def time_acts_no_later_than_the_deadline_says(self) -> None:
        deadline = self.lab.queues.deadline()
        assert (deadline is None) is (self.lab.queues.count(SERIAL) == 0)


TestQueueAgainstModel = QueueAgainstModel.TestCase
TestQueueAgainstModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

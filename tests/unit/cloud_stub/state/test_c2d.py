from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.state.c2d import (
    MESSAGE_BYTES_MAX,
    TTL_S_MAX,
    VENDOR_RULES,
    Ack,
    C2dMessage,
    C2dRules,
    Outcome,
    Waiting,
    delivered,
    enqueued,
    fate,
    parse_message,
    released,
    reports,
)
from cloud_stub.state.errors import ErrorCode, HubError
from emulator.errors import UsageError

NOW = 1_780_000_000.0


def test_the_vendors_defaults() -> None:
    rules = VENDOR_RULES
    assert (rules.depth_max, rules.ttl_s, rules.lock_s, rules.delivery_count_max) == (50, 3_600, 60, 10)


@pytest.mark.parametrize(
    "setting",
    [{"ttl_s": 59.0}, {"ttl_s": 172_801.0}, {"lock_s": 4.0}, {"delivery_count_max": 0}, {"delivery_count_max": 101}],
)
def test_settings_that_the_vendor_does_not_allow_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(setting))):
        C2dRules(**setting)


def test_a_bag_becomes_a_message() -> None:
    bag = [
        ("$.to", "/devices/a/messages/deviceBound"),
        ("$.mid", "m-1"),
        ("$.ct", "application/json"),
        ("flag", None),
        ("$.exp", "2026-06-01T12:00:00Z"),
        ("iothub-ack", "full"),
    ]
    message = parse_message(bag, b"{}")
    at = datetime.fromisoformat("2026-06-01T12:00:00+00:00").timestamp()
    assert message == C2dMessage(b"{}", "m-1", (("$.ct", "application/json"), ("flag", None)), Ack.FULL, at)
    assert message.delivered_properties == (*message.properties, ("iothub-ack", "full"))
    assert parse_message([], b"") == C2dMessage(b"")
    assert C2dMessage(b"").delivered_properties == ()
    assert parse_message([("$.exp", "2026-06-01T12:00:00")], b"").expires_at == at


@pytest.mark.parametrize(
    ("bag", "message"),
    [
        ([("iothub-ack", "loud")], "iothub-ack"),
        ([("$.exp", "tomorrow")], "exp"),
        ([("$.mid", "x" * 129)], "mid"),
        ([("$.mid", "ø")], "mid"),
        ([("", "x")], "no name"),
        ([("a", "\ud800")], "UTF-8"),
    ],
)
def test_a_message_that_cannot_be_is_refused(bag: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(HubError, match=message) as refused:
        parse_message(bag, b"")
    assert refused.value.code is ErrorCode.BAD_ARGUMENT


def test_a_message_counts_its_body_and_its_properties() -> None:
    assert parse_message([("a", "øø")], bytes(MESSAGE_BYTES_MAX - 5)).size == MESSAGE_BYTES_MAX
    with pytest.raises(HubError) as refused:
        parse_message([("a", "øø")], bytes(MESSAGE_BYTES_MAX - 4))
    assert refused.value.code is ErrorCode.TOO_LARGE


@given(st.lists(st.tuples(st.text(max_size=12) | st.sampled_from(["$.exp", "$.mid", "iothub-ack"]), st.text())))
def test_garbage_gives_only_a_hub_error(bag: list[tuple[str, str]]) -> None:
    with suppress(HubError):
        parse_message(bag, b"")


def test_a_message_waits_as_long_as_it_says_but_at_most_two_days() -> None:
    assert enqueued(C2dMessage(b""), NOW, VENDOR_RULES).expires_at == NOW + 3_600
    assert enqueued(C2dMessage(b"", expires_at=NOW + 5), NOW, VENDOR_RULES).expires_at == NOW + 5
    assert enqueued(C2dMessage(b"", expires_at=NOW * 2), NOW, VENDOR_RULES).expires_at == NOW + TTL_S_MAX


def test_the_life_of_a_message() -> None:
    rules = replace(VENDOR_RULES, delivery_count_max=2)
    waiting = enqueued(C2dMessage(b""), NOW, rules)
    assert fate(waiting, NOW + 3_599, rules) is None and waiting.due_at == NOW + 3_600
    assert fate(waiting, NOW + 3_600, rules) is Outcome.EXPIRED
    locked = delivered(waiting, NOW + 3_590, rules)
    assert locked.locked(NOW + 3_649) and fate(locked, NOW + 3_649, rules) is None and locked.due_at == NOW + 3_650
    assert not locked.locked(NOW + 3_650) and fate(locked, NOW + 3_650, rules) is Outcome.EXPIRED
    again = delivered(released(delivered(waiting, NOW, rules)), NOW + 1, rules)
    assert again == Waiting(NOW + 3_600, NOW + 61, 2)
    assert fate(released(again), NOW + 2, rules) is Outcome.DELIVERY_COUNT_EXCEEDED


def test_who_hears_of_what() -> None:
    heard = {ack: [outcome for outcome in Outcome if reports(ack, outcome)] for ack in Ack}
    bad = [outcome for outcome in Outcome if outcome is not Outcome.SUCCESS]
    assert heard == {
        Ack.NONE: [],
        Ack.POSITIVE: [Outcome.SUCCESS],
        Ack.NEGATIVE: bad,
        Ack.FULL: [Outcome.SUCCESS, *bad],
    }

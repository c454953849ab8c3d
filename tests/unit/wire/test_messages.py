"""What a charger says, byte for byte, and what is no message at all."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.messages import (
    Collection,
    CompletedSession,
    DeviceEvent,
    EventType,
    Message,
    MessageError,
    MessageType,
    Observation,
    Pulse,
    collection,
    completed_session,
    encode,
    event,
    number,
    observation,
    parse,
    parse_completed_session,
    pulse,
    type_of,
)

AT = datetime(2025, 3, 1, 12, 30, 5, 7, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
times = st.datetimes(timezones=st.just(UTC))
observations = st.builds(Observation, st.integers(-1000, 100_000), texts, times)
messages = st.one_of(
    observations,
    st.just(Pulse()),
    st.builds(DeviceEvent, st.sampled_from(EventType), texts),
    st.builds(Collection, st.lists(observations, max_size=5).map(tuple)),
)
sessions = st.builds(
    CompletedSession,
    session_id=texts,
    energy_kwh=st.integers(0, 10**6).map(lambda wh: wh / 1000),
    started_at=times,
    ended_at=times,
    reliable_clock=st.booleans(),
    stopped_by_rfid=st.booleans(),
    authentication_code=texts,
    signed_session=texts,
)


def test_an_observation_has_its_keys_in_the_firmwares_order_and_microseconds() -> None:
    assert observation(Observation(710, "2", AT)) == (
        b'{"ObservedAt":"2025-03-01T12:30:05.000007Z","Value":"2","ObservationId":710,"Type":1}'
    )


def test_a_pulse_is_nothing_but_its_type() -> None:
    assert pulse() == b'{"Type":2}'


def test_an_event_carries_a_kind_and_a_text() -> None:
    assert event(30, "Connected: 1") == b'{"EventType":30,"Message":"Connected: 1","Type":5}'


def test_a_collection_holds_whole_observations() -> None:
    first, second = Observation(708, "16.000", AT), Observation(519, "4", AT)
    inner = observation(first).decode() + "," + observation(second).decode()
    assert collection([first, second]) == f'{{"Observations":[{inner}],"Type":6}}'.encode()


def test_text_is_sent_as_utf8_not_escaped() -> None:
    assert "Bergstraße" in observation(Observation(802, "Bergstraße", AT)).decode()


@pytest.mark.parametrize(
    ("value", "text"),
    [(16, "16"), (True, "1"), (16.0, "16.000"), (0.12345, "0.123"), (-12, "-12"), (11040.0, "11040.000")],
)
def test_numbers_have_three_decimals_or_none(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(MessageError):
        number(value)


def test_a_time_that_is_not_utc_is_refused() -> None:
    with pytest.raises(MessageError):
        observation(Observation(710, "2", AT.astimezone(timezone(timedelta(hours=1)))))
    with pytest.raises(MessageError):
        observation(Observation(710, "2", AT.replace(tzinfo=None)))


def test_half_a_character_is_refused() -> None:
    with pytest.raises(MessageError):
        event(30, "\ud800")
    with pytest.raises(MessageError):
        parse(b'{"EventType":30,"Message":"\\ud800","Type":5}')


def test_a_completed_session_has_its_keys_in_order() -> None:
    session = CompletedSession("id", 1.23456, AT, AT + timedelta(hours=1), True, False, "", "OCMF|{}")
    assert completed_session(session) == (
        '{"SessionId":"id","Energy":1.235,"StartDateTime":"2025-03-01T12:30:05.000007Z",'
        '"EndDateTime":"2025-03-01T13:30:05.000007Z","ReliableClock":true,"StoppedByRFID":false,'
        '"AuthenticationCode":"","SignedSession":"OCMF|{}"}'
    )


@given(messages)
def test_every_message_comes_back(message: Message) -> None:
    payload = encode(message)
    assert parse(payload) == message
    assert (
        type_of(payload)
        is {
            Observation: MessageType.OBSERVATION,
            Pulse: MessageType.PULSE,
            DeviceEvent: MessageType.EVENT,
            Collection: MessageType.COLLECTION,
        }[type(message)]
    )


@given(sessions)
def test_every_session_comes_back(session: CompletedSession) -> None:
    assert parse_completed_session(completed_session(session)) == session


@given(st.binary())
def test_garbage_gives_a_message_error_and_nothing_else(data: bytes) -> None:
    for reader in (parse, type_of):
        with suppress(MessageError):
            reader(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
fields = ["Type", "ObservedAt", "Value", "ObservationId", "EventType", "Message", "Observations", "SessionId", "Energy"]


@given(st.dictionaries(st.sampled_from(fields), json_values | st.sampled_from([1, 2, 5, 6, 30])))
def test_json_of_the_wrong_shape_gives_a_message_error_and_nothing_else(record: dict[str, object]) -> None:
    text = json.dumps(record)
    for read in (lambda: parse(text.encode()), lambda: parse_completed_session(text)):
        with suppress(MessageError):
            read()


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 100_000,
        b'{"Type":true}',
        b'{"Type":7}',
        b'{"Type":' + b"9" * 5000 + b"}",
        b'{"EventType":11,"Message":"","Type":5}',
        b'{"Observations":[{"Type":2}],"Type":6}',
        b'{"Observations":[1],"Type":6}',
        b'{"ObservedAt":"2025-03-01T12:30:05.000007","Value":"2","ObservationId":710,"Type":1}',
        b'{"ObservedAt":"2025-03-01T12:30:05+05:00Z","Value":"2","ObservationId":710,"Type":1}',
        b'{"ObservedAt":"2025-03-01T12:30:05.000007Z","Value":2,"ObservationId":710,"Type":1}',
        b'{"ObservedAt":"2025-03-01T12:30:05.000007Z","Value":"2","ObservationId":"710","Type":1}',
    ],
)
def test_near_misses_are_refused(payload: bytes) -> None:
    with pytest.raises(MessageError):
        parse(payload)

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.effects import Effect, Send, Tried
from emulator.machines.ntp import NoTime, NtpQuery, NtpReason, Synced
from emulator.profile import load_profile
from emulator.wire.address import Address
from emulator.wire.ntp import CLIENT, SERVER, NtpPacket, decode, encode, timestamp

TRUE = datetime(2026, 6, 1, 12, tzinfo=UTC)
BUILT = datetime(2025, 3, 1, tzinfo=UTC)
ONE, TWO = Address("185.1.1.1", 123), Address("185.1.1.2", 123)
TIMING = load_profile("pro").ntp


class Clock:
    """A charger's clock that the test moves."""

    def __init__(self, utc: datetime) -> None:
        self.utc = utc

    def __call__(self) -> datetime:
        return self.utc


def sent(effects: list[Effect]) -> Send:
    (send,) = effects
    assert isinstance(send, Send)
    return send


def due(machine: NtpQuery) -> float:
    deadline = machine.deadline()
    assert deadline is not None
    return deadline


def reply(query: Send, utc: datetime = TRUE, **changes: object) -> bytes:
    asked = decode(query.data)
    stamp = timestamp(utc)
    answer = NtpPacket(mode=SERVER, stratum=2, origin=asked.transmitted, received=stamp, transmitted=stamp)
    return encode(replace(answer, **changes))  # type: ignore[arg-type]


def test_a_clock_that_is_a_year_behind_learns_by_how_much() -> None:
    clock = Clock(BUILT)
    machine = NtpQuery([ONE, TWO], TIMING, clock)
    query = sent(machine.start(0.0))
    asked = decode(query.data)
    assert (query.to, asked.mode, asked.version, asked.transmitted) == (ONE, CLIENT, 4, timestamp(BUILT))
    clock.utc += timedelta(seconds=0.25)
    (result,) = machine.receive(reply(query), ONE, 0.25)
    assert isinstance(result, Synced)
    assert result.offset_s == pytest.approx((TRUE - BUILT).total_seconds() - 0.125)
    assert result.delay_s == pytest.approx(0.25)
    assert (result.server, result.stratum) == (ONE, 2)
    assert machine.deadline() is None


@pytest.mark.parametrize("ours", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC), TRUE])
def test_any_clock_is_set_right(ours: datetime) -> None:
    machine = NtpQuery([ONE], TIMING, Clock(ours))
    (result,) = machine.receive(reply(sent(machine.start(0.0))), ONE, 0.0)
    assert isinstance(result, Synced)
    assert ours + timedelta(seconds=result.offset_s) == TRUE


def test_silence_goes_round_all_servers_and_ends() -> None:
    clock = Clock(BUILT)
    machine = NtpQuery([ONE, TWO], TIMING, clock)
    asked, effects = [], machine.start(0.0)
    while machine.deadline() is not None:
        asked.append(sent(effects).to)
        clock.utc += timedelta(seconds=TIMING.try_timeout_s)
        effects = machine.wake(due(machine))
    assert asked == [ONE, TWO, ONE, TWO, ONE]
    assert effects == [NoTime(NtpReason.SILENT, tuple(Tried(server, "silent") for server in asked))]


def test_a_kiss_of_death_is_a_refusal_and_that_server_is_left_alone() -> None:
    machine = NtpQuery([ONE, TWO], TIMING, Clock(BUILT))
    query = sent(machine.start(0.0))
    query = sent(machine.receive(reply(query, stratum=0, leap=3, reference_id=b"RATE"), ONE, 0.1))
    assert query.to == TWO
    kiss = reply(query, stratum=0, leap=3, reference_id=b"DENY", transmitted=0)
    expected = NoTime(NtpReason.REFUSED, (Tried(ONE, "RATE"), Tried(TWO, "DENY")))
    assert machine.receive(kiss, TWO, 0.2) == [expected]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"leap": 3}, "unsynchronised"),
        ({"stratum": 16}, "unsynchronised"),
        ({"stratum": 255}, "unsynchronised"),
        ({"transmitted": 0}, "no_time"),
        ({"stratum": 0}, "kiss"),
    ],
)
def test_a_server_without_time_is_left_at_once(changes: dict[str, Any], what: str) -> None:
    clock = Clock(BUILT)
    machine = NtpQuery([ONE, TWO], TIMING.model_copy(update={"tries": 1}), clock)
    query = sent(machine.start(0.0))
    assert machine.receive(reply(query, **changes), ONE, 0.1) == [NoTime(NtpReason.REFUSED, (Tried(ONE, what),))]


def test_replies_that_are_not_to_our_request_are_ignored() -> None:
    machine = NtpQuery([ONE, TWO], TIMING, Clock(BUILT))
    query = sent(machine.start(0.0))
    assert machine.receive(reply(query, origin=timestamp(BUILT) + 1), ONE, 0.1) == []
    assert machine.receive(reply(query, origin=0), ONE, 0.1) == []
    assert machine.receive(reply(query, mode=CLIENT), ONE, 0.1) == []
    assert machine.receive(reply(query, mode=5), ONE, 0.1) == []
    assert machine.receive(reply(query), TWO, 0.1) == []
    assert machine.receive(reply(query), Address(ONE.host, 1123), 0.1) == []
    assert machine.receive(b"garbage", TWO, 0.1) == []
    assert due(machine) == TIMING.try_timeout_s


def test_garbage_from_the_server_moves_on_at_once() -> None:
    machine = NtpQuery([ONE, TWO], TIMING, Clock(BUILT))
    machine.start(0.0)
    assert sent(machine.receive(b"garbage", ONE, 0.1)).to == TWO


def test_a_reply_over_a_slow_link_is_still_good() -> None:
    clock = Clock(TRUE)
    machine = NtpQuery([ONE], TIMING, clock)
    first = sent(machine.start(0.0))
    clock.utc += timedelta(seconds=2)
    machine.wake(2.0)
    clock.utc += timedelta(seconds=1)
    assert machine.receive(reply(first, stratum=0), ONE, 3.0) == [], "too late to matter"
    (result,) = machine.receive(reply(first, TRUE + timedelta(seconds=1.5)), ONE, 3.0)
    assert isinstance(result, Synced)
    assert result.offset_s == pytest.approx(0.0, abs=1e-6)
    assert result.delay_s == pytest.approx(3.0)


def test_a_wake_before_the_deadline_does_nothing() -> None:
    machine = NtpQuery([ONE], TIMING, Clock(BUILT))
    machine.start(0.0)
    assert machine.wake(TIMING.try_timeout_s - 0.001) == []


def test_without_servers_there_is_only_silence() -> None:
    assert NtpQuery([], TIMING, Clock(BUILT)).start(0.0) == [NoTime(NtpReason.SILENT, ())]


def test_after_the_result_nothing_more_happens() -> None:
    machine = NtpQuery([ONE], TIMING, Clock(BUILT))
    query = sent(machine.start(0.0))
    machine.receive(reply(query), ONE, 0.1)
    assert machine.receive(reply(query), ONE, 0.2) == []
    assert machine.wake(100.0) == []


@given(
    st.lists(
        st.one_of(st.binary(max_size=80), st.sampled_from([0, 1, 2, 15, 16]), st.floats(0, 5)),
        max_size=30,
    )
)
def test_whatever_comes_there_is_one_result_in_bounded_time(story: list[bytes | int | float]) -> None:
    clock, now, results = Clock(BUILT), 0.0, 0
    machine = NtpQuery([ONE, TWO], TIMING, clock)
    query = sent(machine.start(now))
    for step in [*story, *[5.0] * TIMING.tries]:
        if isinstance(step, float):
            now += step
            clock.utc += timedelta(seconds=step)
            effects = machine.wake(now)
        else:
            data = step if isinstance(step, bytes) else reply(query, stratum=step)
            effects = machine.receive(data, query.to, now)
        for effect in effects:
            if isinstance(effect, Send):
                query = effect
            else:
                results += 1
    assert results == 1
    assert machine.deadline() is None

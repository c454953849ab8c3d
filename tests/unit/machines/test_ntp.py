import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.effects import Effect, Send, Tried
from emulator.machines.ntp import REMARKS_MAX, SERVERS_MAX, NoTime, NtpQuery, NtpReason, Refusals, Synced
from emulator.machines.ntp_reply import ROUND_TRIP_MAX_S
from emulator.profile import load_profile
from emulator.wire.address import Address
from emulator.wire.ntp import CLIENT, SECOND, SERVER, NtpPacket, decode, encode, shifted, timestamp

TRUE = datetime(2026, 6, 1, 12, tzinfo=UTC)
BUILT = datetime(2025, 3, 1, tzinfo=UTC)
ONE, TWO = Address("185.1.1.1", 123), Address("185.1.1.2", 123)
STRANGER = Address("185.9.9.9", 123)
TIMING = load_profile("pro").ntp
ONCE = TIMING.model_copy(update={"tries": 1})
DENY: dict[str, Any] = {"stratum": 0, "leap": 3, "reference_id": b"DENY", "received": 0, "transmitted": 0}


class Clock:
    """A charger's clock that the test moves."""

    def __init__(self, utc: datetime) -> None:
        self.utc = utc

    def __call__(self) -> datetime:
        return self.utc

    def pass_by(self, seconds: float) -> None:
        self.utc += timedelta(seconds=seconds)


def query_of(
    *servers: Address,
    timing: Any = TIMING,
    clock: Clock | None = None,
    refusals: Refusals | None = None,
    until: float = math.inf,
) -> NtpQuery:
    return NtpQuery(servers, timing, clock or Clock(BUILT), refusals or Refusals(TIMING.rate_pause_s), until=until)


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


def no_time(effects: list[Effect]) -> NoTime:
    (result,) = effects
    assert isinstance(result, NoTime)
    return result


def synced(effects: list[Effect]) -> Synced:
    (result,) = effects
    assert isinstance(result, Synced)
    return result


def words(result: NoTime | Synced) -> list[tuple[Address, str]]:
    return [(tried.server, tried.what) for tried in result.tried]


def test_a_clock_that_is_a_year_behind_learns_by_how_much() -> None:
    clock = Clock(BUILT)
    machine = query_of(ONE, TWO, clock=clock)
    query = sent(machine.start(0.0))
    asked = decode(query.data)
    assert (query.to, asked.mode, asked.version, asked.transmitted) == (ONE, CLIENT, 4, timestamp(BUILT))
    clock.pass_by(0.25)
    result = synced(machine.receive(reply(query), ONE, 0.25))
    assert result.offset_s == pytest.approx((TRUE - BUILT).total_seconds() - 0.125)
    assert result.delay_s == pytest.approx(0.25)
    assert (result.server, result.stratum, words(result)) == (ONE, 2, [(ONE, "answered")])
    assert machine.deadline() is None


@pytest.mark.parametrize(
    "ours", [datetime(year, 1, 1, tzinfo=UTC) for year in (1900, 1970, 2036, 2037, 2099, 2162, 2999)] + [TRUE]
)
@pytest.mark.parametrize("true", [TRUE, datetime(2036, 2, 7, 6, 28, 16, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)])
def test_any_clock_is_set_right_in_either_era(ours: datetime, true: datetime) -> None:
    machine = query_of(ONE, clock=Clock(ours))
    late = true + timedelta(seconds=1)
    result = synced(machine.receive(reply(sent(machine.start(0.0)), late), ONE, 0.0))
    assert ours + timedelta(seconds=result.offset_s) == late


def test_silence_goes_round_all_servers_and_ends() -> None:
    clock, now = Clock(BUILT), 0.0
    machine = query_of(ONE, TWO, clock=clock)
    asked, effects = [], machine.start(now)
    while machine.deadline() is not None:
        asked.append(sent(effects).to)
        clock.pass_by(due(machine) - now)
        now = due(machine)
        effects = machine.wake(now)
    assert asked == [ONE, TWO] * TIMING.tries
    assert now == 2 * TIMING.tries * TIMING.try_timeout_s
    assert effects == [NoTime(NtpReason.SILENT, tuple(Tried(server, "silent") for server in asked))]


def test_of_many_addresses_only_so_many_are_asked_and_each_once_a_round() -> None:
    many = [Address(f"185.1.2.{number}", 123) for number in range(1, 40)]
    machine = query_of(*many, *many, timing=ONCE)
    effects, now = machine.start(0.0), 0.0
    asked = []
    while machine.deadline() is not None:
        asked.append(sent(effects).to)
        now = due(machine)
        effects = machine.wake(now)
    assert asked == many[:SERVERS_MAX]


@pytest.mark.parametrize(
    ("changes", "what", "reason"),
    [
        ({"version": 3}, "wrong_version", NtpReason.ABSURD),
        ({"stratum": 0, "reference_id": b"ACST"}, "ACST", NtpReason.REFUSED),
        ({"leap": 3}, "unsynchronised", NtpReason.REFUSED),
        ({"received": shifted(timestamp(TRUE), -5.0)}, "negative_delay", NtpReason.ABSURD),
        ({"received": 1 << 63}, "negative_delay", NtpReason.ABSURD),
    ],
)
def test_a_server_whose_reply_is_no_good_is_left_at_once(changes: dict[str, Any], what: str, reason: NtpReason) -> None:
    machine = query_of(ONE, TWO, timing=ONCE)
    query = sent(machine.start(0.0))
    query = sent(machine.receive(reply(query, **changes), ONE, 0.1))
    assert query.to == TWO
    assert no_time(machine.receive(reply(query, **changes), TWO, 0.2)) == NoTime(
        reason, (Tried(ONE, what), Tried(TWO, what))
    )


def test_a_server_that_is_good_after_a_bad_one_is_believed() -> None:
    machine = query_of(ONE, TWO)
    query = sent(machine.start(0.0))
    query = sent(machine.receive(reply(query, leap=3), ONE, 0.1))
    result = synced(machine.receive(reply(query), TWO, 0.2))
    assert words(result) == [(ONE, "unsynchronised"), (TWO, "answered")]


def test_a_round_trip_that_takes_too_long_is_absurd() -> None:
    clock = Clock(TRUE)
    machine = query_of(ONE, timing=ONCE.model_copy(update={"try_timeout_s": 60.0}), clock=clock)
    query = sent(machine.start(0.0))
    clock.pass_by(ROUND_TRIP_MAX_S + 0.1)
    assert words(no_time(machine.receive(reply(query), ONE, 10.1))) == [(ONE, "absurd_delay")]


def test_a_clock_that_is_moved_while_it_asks_believes_nothing() -> None:
    for moved_s, what in ((3600.0, "absurd_delay"), (-3600.0, "negative_delay")):
        clock = Clock(TRUE)
        machine = query_of(ONE, timing=ONCE, clock=clock)
        query = sent(machine.start(0.0))
        clock.pass_by(moved_s)
        assert words(no_time(machine.receive(reply(query), ONE, 0.1))) == [(ONE, what)]


@pytest.mark.parametrize("code", ["DENY", "RSTR"])
def test_a_server_that_denies_is_not_asked_again_for_an_hour(code: str) -> None:
    refusals = Refusals(TIMING.rate_pause_s)
    machine = query_of(ONE, TWO, refusals=refusals)
    query = sent(machine.start(0.0))
    query = sent(machine.receive(reply(query, **{**DENY, "reference_id": code.encode()}), ONE, 0.1))
    assert query.to == TWO
    effects = machine.wake(due(machine))
    assert sent(effects).to == TWO, "the second round is without the first server"
    result = no_time(machine.wake(due(machine)))
    assert words(result) == [(ONE, code), (TWO, "silent"), (TWO, "silent")]
    assert result.reason is NtpReason.REFUSED
    later = query_of(ONE, refusals=refusals)
    assert no_time(later.start(3600.0)) == NoTime(NtpReason.REFUSED, (Tried(ONE, "left_alone"),))
    assert sent(query_of(ONE, refusals=refusals).start(3600.2)).to == ONE


def test_a_server_that_is_asked_too_often_is_given_longer_and_longer_rests() -> None:
    refusals, now, rests = Refusals(TIMING.rate_pause_s), 0.0, []
    for _ in range(7):
        query = sent((machine := query_of(ONE, refusals=refusals)).start(now))
        machine.receive(reply(query, **{**DENY, "reference_id": b"RATE"}), ONE, now)
        began = now
        while refusals.forbid(ONE, now):
            now += 16.0
        rests.append(now - began)
    assert rests == [64.0, 128.0, 256.0, 512.0, 1024.0, 1024.0, 1024.0]


def test_a_kiss_that_comes_late_counts_all_the_same() -> None:
    refusals = Refusals(TIMING.rate_pause_s)
    machine = query_of(ONE, TWO, refusals=refusals)
    first = sent(machine.start(0.0))
    second = sent(machine.wake(due(machine)))
    assert machine.receive(reply(first, **DENY), ONE, 2.5) == []
    assert refusals.forbid(ONE, 3.0)
    result = synced(machine.receive(reply(second), TWO, 2.6))
    assert words(result) == [(ONE, "silent"), (ONE, "DENY"), (TWO, "answered")]


def test_refusals_are_bounded() -> None:
    refusals = Refusals(64.0)
    for number in range(Refusals.LIMIT + 1):
        refusals.note(Address(f"10.0.{number}.1", 123), "DENY", 0.0)
    assert not refusals.forbid(Address("10.0.0.1", 123), 1.0)
    assert refusals.forbid(Address("10.0.1.1", 123), 1.0)
    refusals.note(TWO, "ACST", 0.0)
    assert not refusals.forbid(TWO, 0.0)


def test_what_cannot_be_told_to_be_the_servers_reply_is_remarked_on_and_waited_past() -> None:
    machine = query_of(ONE, TWO)
    query = sent(machine.start(0.0))
    assert machine.receive(reply(query), STRANGER, 0.1) == []
    assert machine.receive(reply(query), Address(ONE.host, 1123), 0.1) == []
    assert machine.receive(reply(query, origin=timestamp(BUILT) + 1), ONE, 0.1) == []
    assert machine.receive(b"garbage", ONE, 0.2) == []
    assert due(machine) == TIMING.try_timeout_s
    result = synced(machine.receive(reply(query), ONE, 0.3))
    assert words(result) == [
        (STRANGER, "spoofed"),
        (Address(ONE.host, 1123), "spoofed"),
        (ONE, "wrong_origin"),
        (ONE, "garbage"),
        (ONE, "answered"),
    ]


@pytest.mark.parametrize(
    ("data", "sender", "expected"),
    [
        (b"garbage", ONE, [(ONE, "garbage")]),
        (encode(NtpPacket(mode=SERVER, stratum=2)), ONE, [(ONE, "wrong_origin")]),
        (b"garbage", STRANGER, [(STRANGER, "spoofed"), (ONE, "silent")]),
    ],
)
def test_a_server_that_only_talks_nonsense_is_left_when_its_time_is_over(
    data: bytes, sender: Address, expected: list[tuple[Address, str]]
) -> None:
    machine = query_of(ONE, timing=ONCE)
    machine.start(0.0)
    assert machine.receive(data, sender, 0.1) == machine.receive(data, sender, 0.2) == []
    result = no_time(machine.wake(2.0))
    assert (words(result), result.reason) == (expected, NtpReason.ABSURD)


def test_a_flood_of_forgeries_is_remarked_on_a_few_times_only() -> None:
    machine = query_of(ONE, timing=ONCE)
    machine.start(0.0)
    for number in range(1000):
        machine.receive(b"x", Address("185.9.9.9", number + 1), 0.1)
    assert len(no_time(machine.wake(2.0)).tried) == REMARKS_MAX + 1


def test_a_server_cannot_answer_for_another() -> None:
    machine = query_of(ONE, TWO)
    first = sent(machine.start(0.0))
    machine.wake(2.0)
    assert machine.receive(reply(first), TWO, 2.1) == []


def test_two_requests_in_the_same_instant_are_told_apart() -> None:
    machine = query_of(ONE, TWO)
    first = sent(machine.start(0.0))
    second = sent(machine.receive(reply(first, leap=3), ONE, 0.0))
    assert decode(first.data).transmitted != decode(second.data).transmitted
    assert synced(machine.receive(reply(second), TWO, 0.0)).server == TWO


def test_a_reply_over_a_slow_link_is_still_good() -> None:
    clock = Clock(TRUE)
    machine = query_of(ONE, clock=clock)
    first = sent(machine.start(0.0))
    clock.pass_by(2)
    machine.wake(2.0)
    clock.pass_by(1)
    assert machine.receive(reply(first, leap=3), ONE, 3.0) == [], "too late to matter"
    result = synced(machine.receive(reply(first, TRUE + timedelta(seconds=1.5)), ONE, 3.0))
    assert result.offset_s == pytest.approx(0.0, abs=1e-6)
    assert result.delay_s == pytest.approx(3.0)


def test_the_end_of_all_patience_cuts_a_query_short() -> None:
    machine = query_of(ONE, TWO, until=3.0)
    machine.start(0.0)
    sent(machine.wake(due(machine)))
    assert due(machine) == 3.0
    assert words(no_time(machine.wake(3.0))) == [(ONE, "silent"), (TWO, "silent")]
    assert no_time(query_of(ONE, until=3.0).start(3.0)).tried == ()


def test_a_wake_before_the_deadline_does_nothing() -> None:
    machine = query_of(ONE)
    machine.start(0.0)
    assert machine.wake(TIMING.try_timeout_s - 0.001) == []


def test_without_servers_there_is_only_silence() -> None:
    assert query_of().start(0.0) == [NoTime(NtpReason.SILENT, ())]


def test_after_the_result_nothing_more_happens() -> None:
    machine = query_of(ONE)
    query = sent(machine.start(0.0))
    machine.receive(reply(query), ONE, 0.1)
    assert machine.receive(reply(query), ONE, 0.2) == []
    assert machine.wake(100.0) == []


def near(utc: datetime) -> st.SearchStrategy[int]:
    """Timestamps about a moment, and the odd ones out."""
    around = st.integers(-20 * SECOND, 20 * SECOND).map(lambda by: timestamp(utc) + by)
    return st.one_of(st.sampled_from([0, 1, 1 << 63, (1 << 64) - 1, timestamp(utc)]), around)


fields = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from([0, 3, 4, 4, 5]),
        "version": st.sampled_from([3, 4, 4]),
        "leap": st.integers(0, 3),
        "stratum": st.sampled_from([0, 1, 2, 15, 16, 255]),
        "reference_id": st.sampled_from([b"DENY", b"RATE", b"RSTR", b"\0\0\0\0", b"\xff\xff\xff\xff"]),
        "root_delay_s": st.sampled_from([0.0, 0.5, 1.0, 40000.0]),
        "root_dispersion_s": st.sampled_from([0.0, 0.5, 1.0, 16.0]),
        "reference": near(TRUE),
        "received": near(TRUE),
        "transmitted": near(TRUE),
        "origin": st.integers(0, (1 << 64) - 1),
    },
)
steps = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 5)),
    st.tuples(st.just("jump"), st.floats(-1e9, 1e9)),
    st.tuples(st.just("bytes"), st.binary(max_size=80), st.sampled_from([ONE, TWO, STRANGER])),
    st.tuples(st.just("reply"), fields, st.integers(0, 3), st.sampled_from([ONE, TWO, STRANGER])),
)


def is_sane(data: bytes, query: Send) -> bool:
    """What RFC 4330 section 5 asks of a reply, said once more in other words."""
    it = decode(data)
    fit = it.mode == SERVER and it.version == 4 and it.leap != 3 and 1 <= it.stratum <= 15
    set_ = it.received > 0 and it.transmitted > 0 and it.origin == decode(query.data).transmitted
    return fit and set_ and it.root_delay_s < 1 and it.root_dispersion_s < 1


@given(st.lists(steps, max_size=40), st.integers(1, 3))
def test_whatever_comes_there_is_one_result_in_bounded_time_and_it_is_never_from_an_insane_reply(
    story: list[Any], tries: int
) -> None:
    clock, now, results = Clock(BUILT), 0.0, list[Effect]()
    timing = TIMING.model_copy(update={"tries": tries})
    machine = query_of(ONE, TWO, timing=timing, clock=clock)
    queries = [sent(machine.start(now))]
    for kind, value, *rest in [*story, *[("wait", 5.0)] * 2 * tries]:
        data, sender = b"", rest[-1] if rest else ONE
        if kind == "wait":
            now += value
            clock.pass_by(value)
            effects = machine.wake(now)
        elif kind == "jump":
            clock.utc = min(max(clock.utc + timedelta(seconds=value), datetime(1970, 1, 1, tzinfo=UTC)), TRUE)
            continue
        else:
            data = value if kind == "bytes" else reply(queries[-1 - min(rest[0], len(queries) - 1)], **value)
            effects = machine.receive(data, sender, now)
        for effect in effects:
            if isinstance(effect, Send):
                queries.append(effect)
            else:
                results.append(effect)
            if isinstance(effect, Synced):
                assert any(query.to == sender and is_sane(data, query) for query in queries)
                assert -0.01 <= effect.delay_s <= ROUND_TRIP_MAX_S
        assert machine.deadline() is None or now <= due(machine) or not effects
    (result,) = results
    assert isinstance(result, NoTime | Synced)
    assert len(queries) <= 2 * tries
    assert len(result.tried) <= (REMARKS_MAX + 1) * 2 * tries
    assert machine.deadline() is None

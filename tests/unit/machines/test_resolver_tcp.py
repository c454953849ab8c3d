"""Answers that do not fit into a datagram, and everything at random."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.effects import Effect, Send
from emulator.machines.resolver import IGNORED_MAX, AskOverTcp, Resolution, Resolved, Tried, Unresolved
from emulator.wire.dns import Answer, Question, decode_query
from tests.unit.machines.look_up import (
    CLOUDFLARE,
    GOOGLE,
    HUB,
    PRIMARY,
    SERVERS,
    STRANGER,
    TIMING,
    due,
    good,
    over_tcp,
    resolution,
    said,
    sent,
    truncated,
)


def test_a_cut_answer_is_asked_for_again_over_tcp() -> None:
    machine, ask = truncated()
    assert ask.to == PRIMARY
    assert decode_query(ask.query).question == Question(HUB)
    assert due(machine) == 0.1 + TIMING.tcp_timeout_s
    (result,) = machine.receive_tcp(good(ask), 0.2)
    assert isinstance(result, Resolved)
    assert (result.server, result.tried) == (PRIMARY, (Tried(PRIMARY, "answered_tcp"),))
    assert machine.deadline() is None


def test_a_connection_that_comes_to_nothing_moves_on() -> None:
    machine, _ = truncated()
    query = sent(machine.tcp_failed("refused", 0.2))
    query = sent(machine.receive(said(query, Answer(rcode="servfail")), GOOGLE, 0.3))
    (result,) = machine.receive(good(query), CLOUDFLARE, 0.4)
    assert isinstance(result, Resolved)
    assert [tried.what for tried in result.tried] == ["tcp_refused", "servfail", "answered"]


def test_a_connection_that_takes_too_long_is_given_up() -> None:
    machine, ask = truncated()
    assert machine.wake(2.0) == [], "the time of a datagram does not count any more"
    assert sent(machine.wake(due(machine))).to == GOOGLE
    assert machine.receive_tcp(good(ask), 6.0) == []
    assert machine.tcp_failed("timed_out", 6.0) == []


@pytest.mark.parametrize(
    ("spoilt", "what"),
    [
        (lambda ask: b"garbage", "tcp_garbage"),
        (lambda ask: said(ask, query_id=decode_query(ask.query).query_id ^ 1), "tcp_wrong_id"),
        (lambda ask: said(ask, question=Question("evil.example")), "tcp_wrong_question"),
        (lambda ask: said(ask, Answer(truncated=True)), "truncated"),
        (lambda ask: said(ask, Answer(rcode="servfail")), "servfail"),
        (lambda ask: said(ask), "no_address"),
    ],
    ids=["garbage", "wrong id", "wrong question", "cut again", "servfail", "empty"],
)
def test_what_comes_over_tcp_is_checked_as_well(spoilt: Any, what: str) -> None:
    machine, ask = truncated()
    query = sent(machine.receive_tcp(spoilt(ask), 0.2))
    (result,) = machine.receive(good(query), GOOGLE, 0.3)
    assert isinstance(result, Resolved)
    assert result.tried[0] == Tried(PRIMARY, what)


def test_datagrams_are_taken_while_a_connection_is_waited_for() -> None:
    machine = resolution()
    first = sent(machine.start(0.0))
    second = sent(machine.wake(2.0))
    cut = said(second, Answer(truncated=True))
    over_tcp(machine.receive(cut, GOOGLE, 2.1))
    assert machine.receive(cut, GOOGLE, 2.2) == [], "a duplicate"
    (result,) = machine.receive(good(first), PRIMARY, 2.3)
    assert isinstance(result, Resolved)
    assert result.tried == (Tried(PRIMARY, "silent"), Tried(GOOGLE, "overtaken"), Tried(PRIMARY, "answered"))
    assert machine.receive_tcp(good(second), 2.4) == []


answers = st.sampled_from(
    [
        Answer(addresses=("40.74.0.1",), ttl_s=60),
        Answer(rcode="servfail"),
        Answer(rcode="nxdomain", ttl_s=5),
        Answer(rcode="refused"),
        Answer(),
        Answer(truncated=True),
        Answer(aliases=("a.example", HUB)),
    ]
)
STEPS = st.one_of(
    st.tuples(st.just("garbage"), st.binary(max_size=80), st.sampled_from([*SERVERS, STRANGER])),
    st.tuples(st.sampled_from(["answer", "answer late", "wrong id", "wrong sender", "tcp"]), answers, st.none()),
    st.tuples(st.just("tcp garbage"), st.binary(max_size=80), st.none()),
    st.tuples(st.just("tcp failed"), st.sampled_from(["refused", "closed"]), st.none()),
    st.tuples(st.just("wait"), st.floats(0, 6), st.none()),
)


def act(machine: Resolution, queries: list[Send], step: tuple[str, Any, Any], now: float) -> list[Effect]:
    """One thing that happens to a look-up."""
    does, what, sender = step
    last = queries[-1]
    match does:
        case "garbage":
            return machine.receive(what, sender, now)
        case "answer":
            return machine.receive(said(last, what), last.to, now)
        case "answer late":
            return machine.receive(said(queries[0], what), queries[0].to, now)
        case "wrong id":
            return machine.receive(said(last, what, query_id=decode_query(last.data).query_id ^ 1), last.to, now)
        case "wrong sender":
            return machine.receive(said(last, what), STRANGER, now)
        case "tcp":
            return machine.receive_tcp(said(last, what), now)
        case "tcp garbage":
            return machine.receive_tcp(what, now)
        case "tcp failed":
            return machine.tcp_failed(what, now)
    return machine.wake(now)


@given(st.lists(STEPS, max_size=40), st.booleans())
def test_whatever_comes_there_is_one_result_after_a_bounded_number_of_tries(
    story: list[tuple[str, Any, Any]], instead: bool
) -> None:
    machine = resolution(servers=SERVERS[:1], instead=SERVERS[1:]) if instead else resolution()
    now, results, tries = 0.0, list[Resolved | Unresolved](), len(SERVERS) * TIMING.attempts
    queries, connections = [sent(machine.start(now))], 0
    for step in [*story, *[("wait", 6.0, None)] * (2 * tries)]:
        before, now = machine.deadline(), now + (step[1] if step[0] == "wait" else 0.001)
        for effect in act(machine, queries, step, now):
            match effect:
                case Send():
                    queries.append(effect)
                case AskOverTcp():
                    connections += 1
                case Resolved() | Unresolved():
                    results.append(effect)
        after = machine.deadline()
        assert after is None or after > now or after == before, "deadlines move on"
    assert len(results) == 1
    assert machine.deadline() is None
    assert len(queries) <= tries
    assert connections <= len(queries)
    assert len(results[0].tried) <= tries + 1
    assert len(results[0].ignored) <= IGNORED_MAX + 4

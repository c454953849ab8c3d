import pytest

from emulator.machines.effects import Send
from emulator.machines.resolver import IGNORED_MAX, OTHERS, DnsReason, Ignored, Resolved, Tried, Unresolved
from emulator.wire.address import Address
from emulator.wire.dns import Answer, DnsError, Question, decode_query
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
    resolution,
    said,
    sent,
)


def test_the_first_server_that_knows_is_enough() -> None:
    machine = resolution()
    query = sent(machine.start(0.0))
    assert query.to == PRIMARY
    assert decode_query(query.data).question == Question(HUB)
    expected = Resolved(HUB, ("40.74.0.1", "40.74.0.2"), 60, PRIMARY, (Tried(PRIMARY, "answered"),))
    assert machine.receive(good(query), PRIMARY, 0.02) == [expected]
    assert machine.deadline() is None


def test_a_silent_server_is_left_after_its_time() -> None:
    machine = resolution()
    machine.start(0.0)
    assert due(machine) == TIMING.try_timeout_s
    assert machine.wake(TIMING.try_timeout_s - 0.001) == []
    query = sent(machine.wake(TIMING.try_timeout_s))
    assert query.to == GOOGLE
    (result,) = machine.receive(good(query), GOOGLE, 2.1)
    assert isinstance(result, Resolved)
    assert result.server == GOOGLE
    assert result.tried == (Tried(PRIMARY, "silent"), Tried(GOOGLE, "answered"))


def test_when_all_are_silent_the_whole_list_is_asked_again() -> None:
    machine = resolution()
    asked, effects = [], machine.start(0.0)
    while machine.deadline() is not None:
        asked.append(sent(effects).to)
        effects = machine.wake(due(machine))
    assert asked == SERVERS * TIMING.attempts
    assert effects == [Unresolved(HUB, DnsReason.SILENT, tuple(Tried(server, "silent") for server in asked))]


@pytest.mark.parametrize("rcode", ["servfail", "refused", "nxdomain", "formerr"])
def test_an_error_moves_on_at_once(rcode: str) -> None:
    machine = resolution()
    query = sent(machine.start(0.0))
    query = sent(machine.receive(said(query, Answer(rcode=rcode)), PRIMARY, 0.1))
    assert query.to == GOOGLE
    (result,) = machine.receive(good(query), GOOGLE, 0.2)
    assert isinstance(result, Resolved)
    assert result.tried[0] == Tried(PRIMARY, rcode)


def test_an_error_without_its_question_moves_on_as_well() -> None:
    machine = resolution()
    query = sent(machine.start(0.0))
    assert sent(machine.receive(query.data[:2] + bytes.fromhex("81020000000000000000"), PRIMARY, 0.1)).to == GOOGLE


@pytest.mark.parametrize("rcode", ["noerror", "nxdomain"])
def test_a_server_that_knows_no_address_is_not_asked_again(rcode: str) -> None:
    machine = resolution(servers=[PRIMARY, GOOGLE])
    query = sent(machine.start(0.0))
    query = sent(machine.receive(said(query, Answer(rcode=rcode, ttl_s=30)), PRIMARY, 0.1))
    assert query.to == GOOGLE
    (result,) = machine.receive(said(query, Answer(rcode=rcode, ttl_s=20)), GOOGLE, 0.2)
    what = "no_address" if rcode == "noerror" else rcode
    assert result == Unresolved(HUB, DnsReason.NOT_FOUND, (Tried(PRIMARY, what), Tried(GOOGLE, what)), ttl_s=20)


def test_a_server_that_was_silent_is_asked_again_and_what_was_not_said_by_all_is_not_kept() -> None:
    machine = resolution(servers=[PRIMARY, GOOGLE])
    machine.start(0.0)
    query = sent(machine.wake(2.0))
    query = sent(machine.receive(said(query, Answer(rcode="nxdomain", ttl_s=30)), GOOGLE, 2.1))
    assert query.to == PRIMARY
    (result,) = machine.wake(due(machine))
    tried = (Tried(PRIMARY, "silent"), Tried(GOOGLE, "nxdomain"), Tried(PRIMARY, "silent"))
    assert result == Unresolved(HUB, DnsReason.NOT_FOUND, tried, ttl_s=0)


@pytest.mark.parametrize("rcode", ["servfail", "refused"])
def test_an_error_beside_a_negative_answer_is_a_failure(rcode: str) -> None:
    machine = resolution(servers=[PRIMARY, GOOGLE])
    query = sent(machine.start(0.0))
    query = sent(machine.receive(said(query, Answer(rcode="nxdomain")), PRIMARY, 0.1))
    query = sent(machine.receive(said(query, Answer(rcode=rcode)), GOOGLE, 0.2))
    assert query.to == GOOGLE, "an error may pass; a name that does not exist stays away"
    (result,) = machine.receive(said(query, Answer(rcode=rcode)), GOOGLE, 0.3)
    assert isinstance(result, Unresolved)
    assert result.reason is DnsReason.FAILED


def test_aliases_that_never_end_move_on() -> None:
    machine = resolution()
    query = sent(machine.start(0.0))
    query = sent(machine.receive(said(query, Answer(aliases=("a.example", HUB))), PRIMARY, 0.1))
    long = Answer(aliases=tuple(f"a{number}.example" for number in range(20)), addresses=("40.74.0.1",))
    query = sent(machine.receive(said(query, long), GOOGLE, 0.2))
    (result,) = machine.receive(good(query), CLOUDFLARE, 0.3)
    assert isinstance(result, Resolved)
    assert [tried.what for tried in result.tried] == ["cname_loop", "cname_too_long", "answered"]


def test_garbage_with_the_id_of_the_question_moves_on_at_once() -> None:
    machine = resolution()
    query = sent(machine.start(0.0))
    assert sent(machine.receive(query.data[:2] + b"garbage", PRIMARY, 0.1)).to == GOOGLE


def test_what_is_no_answer_to_the_question_is_counted_and_ignored_and_the_true_one_is_taken() -> None:
    machine = resolution()
    query = sent(machine.start(0.0))
    query_id = decode_query(query.data).query_id
    for _ in range(3):
        assert machine.receive(said(query, Answer(addresses=("6.6.6.6",)), query_id=query_id ^ 1), PRIMARY, 0.1) == []
    for name, type_ in (("evil.example", "A"), (HUB, "AAAA")):
        assert machine.receive(said(query, question=Question(name, type_)), PRIMARY, 0.1) == []
    assert machine.receive(b"", PRIMARY, 0.1) == machine.receive(b"no message", PRIMARY, 0.1) == []
    for sender in (STRANGER, Address(PRIMARY.host, 5353), GOOGLE):
        assert machine.receive(good(query), sender, 0.1) == [], "google was not asked yet"
    assert due(machine) == TIMING.try_timeout_s
    (result,) = machine.receive(good(query), PRIMARY, 0.2)
    assert isinstance(result, Resolved)
    assert result.tried == (Tried(PRIMARY, "answered"),)
    assert result.ignored == (
        Ignored(PRIMARY, "wrong_id", 5),
        Ignored(PRIMARY, "wrong_question", 2),
        Ignored(STRANGER, "stranger", 1),
        Ignored(Address(PRIMARY.host, 5353), "stranger", 1),
        Ignored(GOOGLE, "stranger", 1),
    )


def test_the_list_of_who_was_ignored_has_a_limit() -> None:
    machine = resolution()
    query = sent(machine.start(0.0))
    for number in range(100):
        machine.receive(good(query), Address(f"10.0.0.{number}", 53), 0.1)
    (result,) = machine.receive(good(query), PRIMARY, 0.2)
    assert isinstance(result, Resolved)
    assert len(result.ignored) == IGNORED_MAX + 1
    assert result.ignored[-1] == Ignored(OTHERS, "stranger", 100 - IGNORED_MAX)


def test_a_server_that_says_nothing_but_nonsense_was_not_silent() -> None:
    machine = resolution(servers=[PRIMARY])
    effects = machine.start(0.0)
    for _ in range(TIMING.attempts):
        query = sent(effects)
        machine.receive(said(query, query_id=decode_query(query.data).query_id ^ 1), PRIMARY, 0.1)
        machine.receive(good(query), STRANGER, 0.1)
        effects = machine.wake(due(machine))
    (result,) = effects
    assert isinstance(result, Unresolved)
    assert (result.reason, result.tried) == (DnsReason.FAILED, (Tried(PRIMARY, "wrong_id"),) * TIMING.attempts)


def test_an_answer_that_comes_late_is_still_good() -> None:
    machine = resolution()
    first = sent(machine.start(0.0))
    machine.wake(2.0)
    assert machine.receive(said(first, Answer(rcode="servfail")), PRIMARY, 2.1) == [], "too late to matter"
    (result,) = machine.receive(good(first), PRIMARY, 2.2)
    assert isinstance(result, Resolved)
    assert result.server == PRIMARY


def test_errors_only_is_a_failure_and_not_silence() -> None:
    machine = resolution(servers=[PRIMARY])
    query = sent(machine.start(0.0))
    machine.receive(said(query, Answer(rcode="servfail")), PRIMARY, 0.1)
    (result,) = machine.wake(due(machine))
    assert result == Unresolved(HUB, DnsReason.FAILED, (Tried(PRIMARY, "servfail"), Tried(PRIMARY, "silent")))


def test_without_servers_there_is_only_silence() -> None:
    machine = resolution(servers=[])
    assert machine.start(0.0) == [Unresolved(HUB, DnsReason.SILENT, ())]


def test_instead_servers_are_asked_when_none_of_the_others_answers_in_time() -> None:
    machine = resolution(servers=[PRIMARY], instead=[GOOGLE, CLOUDFLARE])
    asked, effects = [], machine.start(0.0)
    while machine.deadline() is not None:
        asked.append(sent(effects).to)
        effects = machine.wake(due(machine))
    assert asked == [PRIMARY] * TIMING.attempts + [GOOGLE, CLOUDFLARE] * TIMING.attempts
    assert isinstance(effects[0], Unresolved)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(rcode="servfail"), DnsReason.FAILED),
        (Answer(rcode="nxdomain"), DnsReason.NOT_FOUND),
        (Answer(), DnsReason.NOT_FOUND),
    ],
    ids=["servfail", "nxdomain", "empty"],
)
def test_an_error_in_time_is_an_answer_and_keeps_instead_servers_out(answer: Answer, reason: DnsReason) -> None:
    machine = resolution(servers=[PRIMARY], instead=[GOOGLE])
    query = sent(machine.start(0.0))
    effects = machine.receive(said(query, answer), PRIMARY, 0.1)
    if isinstance(effects[0], Send):  # an error may pass, so it is asked again
        assert effects[0].to == PRIMARY
        effects = machine.wake(due(machine))
    (result,) = effects
    assert isinstance(result, Unresolved)
    assert result.reason is reason


def test_what_was_never_an_answer_lets_instead_servers_in() -> None:
    machine = resolution(servers=[PRIMARY], instead=[GOOGLE])
    effects = machine.start(0.0)
    for _ in range(TIMING.attempts):
        query = sent(effects)
        effects = machine.receive(query.data[:2] + b"garbage", PRIMARY, 0.1)
    assert sent(effects).to == GOOGLE


def test_after_the_result_nothing_more_happens() -> None:
    machine = resolution()
    query = sent(machine.start(0.0))
    machine.receive(good(query), PRIMARY, 0.1)
    assert machine.receive(good(query), PRIMARY, 0.2) == []
    assert machine.wake(100.0) == []


def test_names_are_alike_in_any_spelling() -> None:
    machine = resolution("ZapCloud.Azure-Devices.NET.")
    assert decode_query(sent(machine.start(0.0)).data).question == Question(HUB)


def test_a_name_that_dns_cannot_carry_is_an_error() -> None:
    with pytest.raises(DnsError):
        resolution("a..b").start(0.0)


def test_ids_come_from_the_random_source() -> None:
    ids = {decode_query(sent(resolution(seed=seed).start(0.0)).data).query_id for seed in range(50)}
    assert len(ids) > 45

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.effects import Effect, Send
from emulator.machines.resolver import Cache, DnsReason, Resolution, Resolved, Tried, Unresolved
from emulator.profile import load_profile
from emulator.wire.address import Address
from emulator.wire.dns import DnsError, Query, Question, decode_query, encode_query, encode_reply

HUB = "zapcloud.azure-devices.net"
PRIMARY, GOOGLE, CLOUDFLARE = Address("192.168.40.1", 53), Address("8.8.8.8", 53), Address("1.1.1.1", 53)
SERVERS = [PRIMARY, GOOGLE, CLOUDFLARE]
TIMING = load_profile("pro").dns


def resolution(name: str = HUB, servers: list[Address] = SERVERS, seed: int = 1) -> Resolution:
    return Resolution(name, servers, TIMING, Random(seed))


def sent(effects: list[Effect]) -> Send:
    (send,) = effects
    assert isinstance(send, Send)
    return send


def due(machine: Resolution) -> float:
    deadline = machine.deadline()
    assert deadline is not None
    return deadline


def good(query: Send) -> bytes:
    return encode_reply(query.data, addresses=("40.74.0.1", "40.74.0.2"), ttl_s=60)


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
    query = sent(machine.receive(encode_reply(query.data, rcode=rcode), PRIMARY, 0.1))
    assert query.to == GOOGLE
    (result,) = machine.receive(good(query), GOOGLE, 0.2)
    assert isinstance(result, Resolved)
    assert result.tried[0] == Tried(PRIMARY, rcode)


def test_an_error_without_its_question_moves_on_as_well() -> None:
    machine = resolution()
    query = sent(machine.start(0.0))
    assert sent(machine.receive(query.data[:2] + bytes.fromhex("81020000000000000000"), PRIMARY, 0.1)).to == GOOGLE


def test_a_name_without_an_address_moves_on() -> None:
    machine = resolution(servers=[PRIMARY])
    query = sent(machine.start(0.0))
    query = sent(machine.receive(encode_reply(query.data), PRIMARY, 0.1))
    (result,) = machine.receive(encode_reply(query.data), PRIMARY, 0.2)
    assert result == Unresolved(HUB, DnsReason.NOT_FOUND, (Tried(PRIMARY, "no_address"),) * 2)


def test_a_cut_answer_moves_on() -> None:
    machine = resolution()
    cut = bytearray(encode_reply(sent(machine.start(0.0)).data))
    cut[2] |= 0x02
    query = sent(machine.receive(bytes(cut), PRIMARY, 0.1))
    (result,) = machine.receive(good(query), GOOGLE, 0.2)
    assert isinstance(result, Resolved)
    assert result.tried[0].what == "truncated"


def test_garbage_from_the_server_moves_on_at_once() -> None:
    machine = resolution()
    machine.start(0.0)
    assert sent(machine.receive(b"\0garbage", PRIMARY, 0.1)).to == GOOGLE


def test_garbage_and_answers_of_strangers_are_ignored() -> None:
    machine = resolution()
    query = sent(machine.start(0.0))
    stranger = Address("192.168.40.66", 53)
    assert machine.receive(b"garbage", stranger, 0.1) == []
    assert machine.receive(good(query), stranger, 0.1) == []
    assert machine.receive(good(query), Address(PRIMARY.host, 5353), 0.1) == []
    assert machine.receive(good(query), GOOGLE, 0.1) == [], "google was not asked yet"


def test_a_wrong_id_or_question_is_ignored() -> None:
    machine = resolution()
    query_id = decode_query(sent(machine.start(0.0)).data).query_id
    wrong_id = encode_query(Query(query_id ^ 1, Question(HUB)))
    wrong_name = encode_query(Query(query_id, Question("evil.example")))
    wrong_type = encode_query(Query(query_id, Question(HUB, "AAAA")))
    for forged in (wrong_id, wrong_name):
        assert machine.receive(encode_reply(forged, addresses=("6.6.6.6",)), PRIMARY, 0.1) == []
    assert machine.receive(encode_reply(wrong_type), PRIMARY, 0.1) == []
    assert due(machine) == TIMING.try_timeout_s


def test_an_answer_that_comes_late_is_still_good() -> None:
    machine = resolution()
    first = sent(machine.start(0.0))
    machine.wake(2.0)
    assert machine.receive(encode_reply(first.data, rcode="servfail"), PRIMARY, 2.1) == [], "too late to matter"
    (result,) = machine.receive(good(first), PRIMARY, 2.2)
    assert isinstance(result, Resolved)
    assert result.server == PRIMARY


def test_errors_only_is_a_failure_and_not_silence() -> None:
    machine = resolution(servers=[PRIMARY])
    query = sent(machine.start(0.0))
    machine.receive(encode_reply(query.data, rcode="servfail"), PRIMARY, 0.1)
    (result,) = machine.wake(due(machine))
    assert result == Unresolved(HUB, DnsReason.FAILED, (Tried(PRIMARY, "servfail"), Tried(PRIMARY, "silent")))


def test_without_servers_there_is_only_silence() -> None:
    machine = resolution(servers=[])
    assert machine.start(0.0) == [Unresolved(HUB, DnsReason.SILENT, ())]


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


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.sampled_from(["good", "servfail", "nxdomain", "refused", "empty"]),
            st.floats(0, 5),
        ),
        max_size=30,
    )
)
def test_whatever_comes_there_is_one_result_in_bounded_time(story: list[bytes | str | float]) -> None:
    machine, now, results = resolution(), 0.0, 0
    effects = machine.start(now)
    query = sent(effects)
    for step in [*story, *[5.0] * 6]:
        if isinstance(step, float):
            now += step
            effects = machine.wake(now)
        else:
            rcode = {"good": "noerror", "empty": "noerror"}.get(step, step) if isinstance(step, str) else ""
            reply = step if isinstance(step, bytes) else encode_reply(query.data, rcode=rcode)
            effects = machine.receive(good(query) if step == "good" else reply, query.to, now)
        for effect in effects:
            if isinstance(effect, Send):
                query = effect
            else:
                results += 1
    assert results == 1
    assert machine.deadline() is None


def resolved(name: str = HUB, ttl_s: int = 60) -> Resolved:
    return Resolved(name, ("40.74.0.1",), ttl_s, PRIMARY, ())


def test_the_cache_keeps_a_name_for_its_time() -> None:
    cache = Cache(8)
    cache.put(resolved(), 100.0)
    assert cache.get("ZAPCLOUD.azure-devices.net.", 159.9) == resolved()
    assert cache.get(HUB, 160.0) is None
    assert cache.get(HUB, 100.0) is None, "what is over is gone"


def test_an_answer_without_lifetime_is_not_kept() -> None:
    cache = Cache(8)
    cache.put(resolved(ttl_s=0), 100.0)
    assert cache.get(HUB, 100.0) is None


def test_the_cache_has_a_limit_and_the_first_goes_first() -> None:
    cache = Cache(2)
    for name in ("a.net", "b.net", "a.net", "c.net"):
        cache.put(resolved(name), 0.0)
    assert [cache.get(name, 1.0) is not None for name in ("a.net", "b.net", "c.net")] == [True, False, True]

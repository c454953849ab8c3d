from datetime import UTC, datetime
from random import Random
from typing import Any

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.site.dns import CACHE_MAX, DnsServer
from cloud_stub.site.dns_faults import DELAY_MAX_S, NOWHERE, Silence
from cloud_stub.site.dns_tcp import QUERY_MAX_BYTES
from emulator.errors import UsageError
from emulator.faults import Injected, fault_from
from emulator.wire.address import Address
from emulator.wire.dns import Aliases, DnsError, Query, Question, Reply, decode_reply, encode_query

HUB = "zapcloud.azure-devices.net"
HUB_A = Question(HUB)
CHARGER = Address("192.168.40.100", 40000)
ZONE = {"ZapCloud.azure-devices.net.": ("192.168.40.9",), "no.pool.ntp.org": ("192.168.40.11", "192.168.40.10")}


def server(label: str = "primary") -> DnsServer:
    utc = datetime(2026, 1, 1, tzinfo=UTC)
    return DnsServer(label=label, zone=ZONE, ttl_s=60, rng=Random(1), utc=lambda: utc, now=lambda: 0.0)


def ask(dns_server: DnsServer, name: str = HUB, type_: str = "A", query_id: int = 1) -> Reply | None:
    replies = dns_server.answer(encode_query(Query(query_id, Question(name, type_))), CHARGER)
    assert all(reply.to == CHARGER for reply in replies)
    return decode_reply(replies[0].data) if replies else None


def test_names_of_the_zone_are_answered_in_any_spelling() -> None:
    expected = Reply(1, Question(HUB), "noerror", ("192.168.40.9",), 60)
    assert ask(server()) == expected
    assert ask(server(), "ZAPCLOUD.Azure-Devices.net") == expected


def test_several_addresses_keep_their_order() -> None:
    for query_id in range(20):
        reply = ask(server(), "no.pool.ntp.org", query_id=query_id)
        assert reply is not None
        assert reply.addresses == ("192.168.40.11", "192.168.40.10")


def test_other_names_do_not_exist_and_other_types_are_empty() -> None:
    unknown, other = ask(server(), "elsewhere.example"), ask(server(), HUB, "AAAA")
    assert unknown is not None and other is not None
    assert (unknown.rcode, other.rcode) == ("nxdomain", "noerror")
    assert unknown.addresses == other.addresses == ()


def test_a_ready_answer_carries_the_id_of_each_query() -> None:
    dns_server = server()
    first, second = ask(dns_server, query_id=0x1111), ask(dns_server, query_id=0x2222)
    assert first is not None and second is not None
    assert (first.query_id, second.query_id) == (0x1111, 0x2222)
    assert first.addresses == second.addresses


def test_ready_answers_have_a_limit() -> None:
    dns_server = server()
    for number in range(CACHE_MAX + 10):
        assert ask(dns_server, f"n{number}.example") is not None
    assert len(dns_server._ready) <= CACHE_MAX
    assert ask(dns_server) is not None


def test_an_independent_client_reads_the_answer() -> None:
    query = dns.message.make_query(HUB, "A", use_edns=0, payload=1232)
    (reply,) = server().answer(query.to_wire(), CHARGER)
    answer = dns.message.from_wire(reply.data)
    assert query.is_response(answer)
    assert answer.rcode() == dns.rcode.NOERROR
    assert [record.to_text() for record in answer.answer[0]] == ["192.168.40.9"]


def inject(dns_server: DnsServer, kind: str, **fields: Any) -> Injected:
    table = {fault.kind: fault for fault in DnsServer.FAULTS}
    return dns_server.inject(fault_from({"kind": f"dns.{kind}"} | fields, table))


def said(dns_server: DnsServer, name: str = HUB, type_: str = "A") -> Reply:
    reply = ask(dns_server, name, type_)
    assert reply is not None
    return reply


SPOILT: dict[str, tuple[str, dict[str, Any], Reply, str]] = {
    "servfail": ("servfail", {}, Reply(1, Question(HUB), "servfail"), "SERVFAIL"),
    "refused": ("refused", {}, Reply(1, Question(HUB), "refused"), "REFUSED"),
    "nxdomain": ("nxdomain", {}, Reply(1, Question(HUB), "nxdomain", ttl_s=60), "NXDOMAIN"),
    "empty": ("empty", {}, Reply(1, Question(HUB), "noerror", ttl_s=60), "empty"),
    "truncated": ("truncated", {}, Reply(1, Question(HUB), "noerror", truncated=True), "truncated"),
    "ttl": ("ttl", {"ttl_s": 0}, Reply(1, Question(HUB), "noerror", ("192.168.40.9",), 0), "192.168.40.9"),
    "hijack": ("hijack", {"address": "10.0.0.1"}, Reply(1, Question(HUB), "noerror", ("10.0.0.1",), 0), "10.0.0.1"),
    "addresses": (
        "addresses",
        {"addresses": ["10.0.0.2", "10.0.0.1"]},
        Reply(1, Question(HUB), "noerror", ("10.0.0.2", "10.0.0.1"), 60),
        "10.0.0.2 10.0.0.1",
    ),
    "cname_chain": (
        "cname_chain",
        {"length": 3},
        Reply(1, Question(HUB), "noerror", ("192.168.40.9",), 60),
        "3 aliases 192.168.40.9",
    ),
    "endless chain": (
        "cname_chain",
        {"length": 16},
        Reply(1, Question(HUB), "noerror", aliases=Aliases.TOO_LONG),
        "16 aliases 192.168.40.9",
    ),
    "cname_loop": ("cname_loop", {}, Reply(1, Question(HUB), "noerror", aliases=Aliases.LOOP), "2 aliases"),
    "wrong_question": (
        "wrong_question",
        {},
        Reply(1, Question("another-name.example"), "noerror", (NOWHERE,), 60),
        "about another-name.example",
    ),
}


@pytest.mark.parametrize("broken", SPOILT)
def test_a_spoiled_server_errs_until_it_is_healed(broken: str) -> None:
    kind, fields, expected, words = SPOILT[broken]
    dns_server = server()
    undo = inject(dns_server, kind, **fields)
    assert said(dns_server) == expected
    undo()
    assert said(dns_server) == Reply(1, Question(HUB), "noerror", ("192.168.40.9",), 60)
    spoiled, healed = dns_server.history
    assert (spoiled.reply, spoiled.data) == (words, {"server": "primary", "faults": [f"dns.{kind}"]})
    assert (healed.reply, healed.data) == ("192.168.40.9", {"server": "primary"})


def test_a_wrong_id_is_never_the_right_one() -> None:
    dns_server = server()
    inject(dns_server, "wrong_id")
    for query_id in (0, 1, 0xFFFF):
        reply = ask(dns_server, query_id=query_id)
        assert reply is not None
        assert (reply.query_id != query_id, reply.addresses) == (True, ("192.168.40.9",))


def test_garbage_carries_the_id_and_nothing_that_can_be_read() -> None:
    dns_server = server()
    inject(dns_server, "garbage")
    for query_id in range(20):
        request = encode_query(Query(query_id, Question(HUB)))
        (reply,) = dns_server.answer(request, CHARGER)
        assert reply.data[:2] == request[:2]
        with pytest.raises(DnsError):
            decode_reply(reply.data)


def test_a_slow_server_says_the_same_later() -> None:
    dns_server = server()
    inject(dns_server, "slow", delay_s=3.0)
    (reply,) = dns_server.answer(encode_query(Query(1, Question(HUB))), CHARGER)
    assert (reply.delay_s, decode_reply(reply.data).addresses) == (3.0, ("192.168.40.9",))


def test_a_forger_guesses_ids_before_the_server_answers() -> None:
    dns_server = server()
    inject(dns_server, "spoofed", answers=20, address="6.6.6.6")
    *forged, true = (decode_reply(reply.data) for reply in dns_server.answer(encode_query(Query(7, HUB_A)), CHARGER))
    assert len(forged) == 20
    assert {reply.addresses for reply in forged} == {("6.6.6.6",)}
    assert 7 not in {reply.query_id for reply in forged}
    assert true == Reply(7, HUB_A, "noerror", ("192.168.40.9",), 60)


def test_a_hijacker_knows_every_name_but_no_other_type() -> None:
    dns_server = server()
    inject(dns_server, "hijack", address="10.0.0.1")
    assert said(dns_server, "elsewhere.example").addresses == ("10.0.0.1",)
    (reply,) = dns_server.answer(encode_query(Query(1, Question(HUB, "AAAA"))), CHARGER)
    assert dns.message.from_wire(reply.data).answer == []


def test_faults_of_one_answer_work_together() -> None:
    dns_server = server()
    inject(dns_server, "ttl", ttl_s=7)
    inject(dns_server, "cname_chain", length=2)
    inject(dns_server, "slow", delay_s=0.5)
    inject(dns_server, "hijack", address="10.0.0.1", host="no.pool.ntp.org")
    (reply,) = dns_server.answer(encode_query(Query(1, HUB_A)), CHARGER)
    assert (reply.delay_s, decode_reply(reply.data).ttl_s) == (0.5, 7)
    assert dns_server.history[-1].data["faults"] == ["dns.slow", "dns.cname_chain", "dns.ttl"]
    assert said(dns_server, "no.pool.ntp.org").addresses == ("10.0.0.1",)


@pytest.mark.parametrize("host", [HUB, "ZAPCLOUD.azure-devices.net."])
def test_a_fault_may_be_about_one_name(host: str) -> None:
    dns_server = server()
    inject(dns_server, "nxdomain", host=host)
    assert said(dns_server).rcode == "nxdomain"
    assert said(dns_server, "no.pool.ntp.org").rcode == "noerror"


def test_a_fault_of_one_transport_spares_the_other() -> None:
    dns_server = server()
    inject(dns_server, "servfail", transport="tcp")
    assert said(dns_server).rcode == "noerror"


def test_ready_answers_with_faults_have_a_limit_too() -> None:
    dns_server = server()
    for number in range(CACHE_MAX // 10 + 10):
        undo = inject(dns_server, "ttl", ttl_s=number)
        for name in range(10):
            said(dns_server, f"n{name}.example")
        undo()
    assert len(dns_server._ready) <= CACHE_MAX


@pytest.mark.parametrize(
    ("fault", "key"),
    [
        ({"kind": "dns.silence", "server": "gogle"}, "server"),
        ({"kind": "dns.silence", "transport": "sctp"}, "transport"),
        ({"kind": "dns.hijack"}, "address"),
        ({"kind": "dns.hijack", "address": "nowhere"}, "address"),
        ({"kind": "dns.addresses", "addresses": []}, "addresses"),
        ({"kind": "dns.addresses", "addresses": ["10.0.0.1", "nowhere"]}, "addresses"),
        ({"kind": "dns.cname_chain", "length": 0}, "length"),
        ({"kind": "dns.cname_chain", "length": 100}, "length"),
        ({"kind": "dns.ttl", "ttl_s": -1}, "ttl_s"),
        ({"kind": "dns.ttl", "ttl_s": 2**31}, "ttl_s"),
        ({"kind": "dns.slow", "delay_s": 2 * DELAY_MAX_S}, "delay_s"),
        ({"kind": "dns.spoofed", "answers": 1000}, "answers"),
        ({"kind": "dns.spoofed", "by": "guess"}, "by"),
        ({"kind": "dns.spoofed", "transport": "tcp"}, "transport"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_a_fault_that_makes_no_sense_is_refused_with_its_key(fault: dict[str, Any], key: str) -> None:
    with pytest.raises(UsageError, match=key):
        fault_from(fault, {cls.kind: cls for cls in DnsServer.FAULTS})


def test_silence_is_recorded() -> None:
    dns_server = server()
    dns_server.inject(Silence(count=1))
    assert ask(dns_server) is None
    assert ask(dns_server) is not None
    assert [(one.request, one.reply) for one in dns_server.history] == [
        (f"A {HUB}", "silence"),
        (f"A {HUB}", "192.168.40.9"),
    ]


def test_the_history_names_errors_and_empty_answers() -> None:
    dns_server = server()
    ask(dns_server, "elsewhere.example")
    ask(dns_server, HUB, "AAAA")
    assert [one.reply for one in dns_server.history] == ["NXDOMAIN", "empty"]
    assert dns_server.history_json()[0]["data"] == {"server": "primary"}


def test_a_fault_strikes_the_server_of_its_label() -> None:
    primary, google = server("primary"), server("google")
    undos = [each.inject(Silence(server="google")) for each in (primary, google)]
    assert ask(primary) is not None
    assert ask(google) is None
    for undo in undos:
        undo()
    assert ask(google) is not None
    for each in (primary, google):
        each.inject(Silence())
    assert ask(primary) is ask(google) is None


def test_every_fault_of_the_table_can_be_read_from_data() -> None:
    table = {fault.kind: fault for fault in DnsServer.FAULTS}
    assert len(table) == len(DnsServer.FAULTS) == 16
    assert fault_from({"kind": "dns.silence", "server": "google"}, table) == Silence(server="google")


def test_a_zone_without_addresses_is_bad_usage() -> None:
    utc = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(UsageError, match=r"dns zone: a\.net"):
        DnsServer(label="x", zone={"a.net": ("nowhere",)}, rng=Random(1), utc=lambda: utc, now=lambda: 0.0)


def test_what_is_too_long_for_a_query_is_not_looked_at() -> None:
    assert server().answer(bytes(QUERY_MAX_BYTES + 1), CHARGER) == []


@given(st.binary(max_size=200))
def test_garbage_is_answered_with_silence_or_a_reply_of_its_own_id(data: bytes) -> None:
    for reply in server().answer(data, CHARGER):
        assert reply.data[:2] == data[:2]

from datetime import UTC, datetime
from random import Random

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_stub.dns import CACHE_MAX, QUERY_MAX_BYTES, DnsServer, Refused, ServFail, Silence
from emulator.errors import UsageError
from emulator.faults import fault_from
from emulator.wire.address import Address
from emulator.wire.dns import Query, Question, Reply, decode_reply, encode_query

HUB = "zapcloud.azure-devices.net"
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


@pytest.mark.parametrize(("fault", "rcode"), [(ServFail(), "servfail"), (Refused(), "refused")])
def test_a_spoiled_server_errs_until_it_is_healed(fault: ServFail | Refused, rcode: str) -> None:
    dns_server = server()
    undo = dns_server.inject(fault)
    spoiled = ask(dns_server)
    undo()
    healed = ask(dns_server)
    assert spoiled is not None and healed is not None
    assert (spoiled.rcode, spoiled.addresses) == (rcode, ())
    assert healed.rcode == "noerror"


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
    assert sorted(table) == ["dns.refused", "dns.servfail", "dns.silence"]
    assert fault_from({"kind": "dns.silence", "server": "google"}, table) == Silence(server="google")
    with pytest.raises(UsageError, match="server"):
        fault_from({"kind": "dns.silence", "server": 5}, table)


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

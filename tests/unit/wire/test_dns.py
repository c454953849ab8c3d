import contextlib
from pathlib import Path

import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.dns import (
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    TCP_MAX_BYTES,
    UDP_MAX_BYTES,
    Aliases,
    Answer,
    DnsError,
    Messages,
    Query,
    Question,
    decode_query,
    decode_reply,
    encode_query,
    encode_reply,
    with_length,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "dns"
HUB = Question("zapcloud.azure-devices.net")


def vector(name: str) -> bytes:
    return bytes.fromhex((VECTORS / f"{name}.hex").read_text())


labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)
names = st.lists(labels, min_size=1, max_size=6).map(".".join)
questions = st.builds(Question, name=names, type=st.sampled_from(["A", "AAAA", "TXT", "CNAME"]))
queries = st.builds(Query, query_id=st.integers(0, 0xFFFF), question=questions)


@given(queries)
def test_every_query_survives_the_wire(query: Query) -> None:
    assert decode_query(encode_query(query)) == query


@given(
    st.builds(Query, query_id=st.integers(0, 0xFFFF), question=st.builds(Question, name=names)),
    st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=8, unique=True),
    st.integers(0, 86400),
)
def test_every_answer_survives_the_wire(query: Query, addresses: list[str], ttl_s: int) -> None:
    reply = decode_reply(encode_reply(encode_query(query), Answer(addresses=tuple(addresses), ttl_s=ttl_s)))
    assert (reply.query_id, reply.question, reply.rcode) == (query.query_id, query.question, "noerror")
    assert (reply.addresses, reply.ttl_s) == (tuple(addresses), ttl_s)


@given(st.binary(max_size=600))
def test_garbage_is_a_dns_error_or_a_message(data: bytes) -> None:
    for read in (decode_query, decode_reply):
        with contextlib.suppress(DnsError):
            read(data)


@given(st.sampled_from(sorted(VECTORS.glob("*.hex"))), st.data())
def test_damage_to_real_messages_gives_nothing_but_dns_errors(path: Path, data: st.DataObject) -> None:
    damaged = bytearray.fromhex(path.read_text())
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for read in (decode_query, decode_reply):
        with contextlib.suppress(DnsError):
            read(bytes(damaged))


def test_our_query_is_what_dnspython_writes() -> None:
    assert encode_query(Query(0x4242, HUB)) == vector("query_dnspython")
    assert decode_query(vector("query_dnspython")) == Query(0x4242, HUB)


def test_an_answer_of_dnsmasq_is_understood() -> None:
    reply = decode_reply(vector("a_dnsmasq"))
    assert (reply.query_id, reply.question, reply.addresses, reply.ttl_s) == (0x1234, HUB, ("192.168.40.2",), 60)


def test_aliases_are_followed_and_the_smallest_ttl_counts() -> None:
    reply = decode_reply(vector("cname_dnsmasq"))
    assert (reply.question, reply.addresses, reply.ttl_s) == (Question("hub.example.test"), ("192.168.40.3",), 30)
    chain = decode_reply(vector("cname_chain_dnspython"))
    assert (chain.question, chain.addresses, chain.ttl_s) == (HUB, ("40.74.0.1", "40.74.0.2"), 10)


def test_extension_records_do_not_disturb() -> None:
    assert decode_reply(vector("edns_dnspython")).addresses == ("40.74.0.1",)


@pytest.mark.parametrize(
    ("name", "rcode"),
    [("nxdomain_dnsmasq", NXDOMAIN), ("refused_dnsmasq", REFUSED), ("servfail_dnspython", SERVFAIL)],
)
def test_errors_of_other_servers_are_told(name: str, rcode: str) -> None:
    reply = decode_reply(vector(name))
    assert (reply.rcode, reply.addresses) == (rcode, ())


def test_an_error_without_its_question_is_understood() -> None:
    reply = decode_reply(bytes.fromhex("424281020000000000000000"))
    assert (reply.query_id, reply.question, reply.rcode) == (0x4242, None, SERVFAIL)


def test_a_cut_answer_says_so() -> None:
    cut = decode_reply(encode_reply(encode_query(Query(1, HUB)), Answer(truncated=True)))
    assert (cut.truncated, cut.rcode, cut.question, cut.addresses) == (True, "noerror", HUB, ())


def test_what_a_cut_answer_holds_is_not_believed_even_if_it_ends_within_a_record() -> None:
    whole = bytearray(encode_reply(encode_query(Query(1, HUB)), Answer(addresses=("40.74.0.1", "40.74.0.2"))))
    whole[2] |= 0x02
    for end in (len(whole), len(whole) - 3):
        reply = decode_reply(bytes(whole[:end]))
        assert (reply.truncated, reply.addresses) == (True, ())


def test_what_does_not_fit_into_a_datagram_is_cut() -> None:
    query, many = encode_query(Query(1, HUB)), tuple(f"40.74.0.{number}" for number in range(1, 100))
    cut = encode_reply(query, Answer(addresses=many), max_bytes=UDP_MAX_BYTES)
    assert len(cut) <= UDP_MAX_BYTES
    assert decode_reply(cut).truncated
    assert decode_reply(encode_reply(query, Answer(addresses=many))).addresses == many
    fits = encode_reply(query, Answer(addresses=many[:29]), max_bytes=UDP_MAX_BYTES)
    assert decode_reply(fits).addresses == many[:29]


def test_a_client_may_offer_more_room_than_a_datagram_has() -> None:
    query = dns.message.make_query(HUB.name, "A", use_edns=0, payload=1232).to_wire()
    reply = encode_reply(query, Answer(addresses=tuple(f"40.74.0.{n}" for n in range(1, 60))), max_bytes=UDP_MAX_BYTES)
    assert UDP_MAX_BYTES < len(reply) <= 1232
    assert not decode_reply(reply).truncated


@pytest.mark.parametrize("length", [1, 2, 15])
def test_a_chain_of_aliases_leads_to_the_addresses(length: int) -> None:
    aliases = tuple(f"alias-{number}.example" for number in range(length))
    answer = Answer(aliases=aliases, addresses=("40.74.0.1",), ttl_s=60)
    reply = decode_reply(encode_reply(encode_query(Query(1, HUB)), answer))
    assert (reply.question, reply.addresses, reply.ttl_s, reply.aliases) == (HUB, ("40.74.0.1",), 60, Aliases.ENDED)


@pytest.mark.parametrize(
    ("aliases", "how"),
    [
        ((HUB.name,), Aliases.LOOP),
        (("a.example", "b.example", "A.example"), Aliases.LOOP),
        (("a.example", HUB.name.upper()), Aliases.LOOP),
        (tuple(f"alias-{number}.example" for number in range(16)), Aliases.TOO_LONG),
    ],
    ids=["itself", "not back to the first", "back to the first", "sixteen"],
)
def test_aliases_without_an_end_are_told_apart(aliases: tuple[str, ...], how: Aliases) -> None:
    answer = Answer(aliases=aliases, addresses=() if how is Aliases.LOOP else ("40.74.0.1",))
    reply = decode_reply(encode_reply(encode_query(Query(1, HUB)), answer))
    assert (reply.aliases, reply.addresses) == (how, ())


def test_aliases_that_end_nowhere_have_no_address() -> None:
    reply = decode_reply(encode_reply(encode_query(Query(1, HUB)), Answer(aliases=("gone.example",), ttl_s=60)))
    assert (reply.rcode, reply.addresses, reply.ttl_s, reply.aliases) == ("noerror", (), 0, Aliases.ENDED)


@pytest.mark.parametrize("rcode", ["noerror", NXDOMAIN])
def test_a_negative_answer_says_how_long_it_is_good(rcode: str) -> None:
    reply = decode_reply(encode_reply(encode_query(Query(1, HUB)), Answer(rcode=rcode, ttl_s=60)))
    assert (reply.rcode, reply.addresses, reply.ttl_s) == (rcode, (), 60)


def test_the_smaller_number_of_the_authority_counts_and_none_is_no_time_at_all() -> None:
    message = dns.message.make_response(dns.message.make_query(HUB.name, "A"))
    assert decode_reply(message.to_wire()).ttl_s == 0
    soa = "ns.example. admin.example. 1 3600 600 86400 30"
    message.authority.append(dns.rrset.from_text("net.", 900, "IN", "SOA", soa))
    assert decode_reply(message.to_wire()).ttl_s == 30
    message.authority[0].ttl = 20
    assert decode_reply(message.to_wire()).ttl_s == 20


def test_a_ttl_that_is_no_number_of_seconds_is_none_at_all() -> None:
    data = bytearray(encode_reply(encode_query(Query(1, HUB)), Answer(addresses=("40.74.0.1",), ttl_s=60)))
    data[-10:-6] = b"\xff\xff\xff\xff"  # RFC 2181 section 8
    assert decode_reply(bytes(data)).ttl_s == 0


def test_the_reply_keeps_the_spelling_of_the_question() -> None:
    request = encode_query(Query(7, Question("ZapCloud.Azure-Devices.NET")))
    data = encode_reply(request, Answer(addresses=("127.0.1.9",), ttl_s=60))
    assert b"ZapCloud" in data
    assert decode_reply(data).question == HUB


@pytest.mark.parametrize("name", ["malformed_pointer_loop", "malformed_truncated", "malformed_trailing"])
def test_malformed_messages_are_refused(name: str) -> None:
    with pytest.raises(DnsError):
        decode_reply(vector(name))


def test_a_query_is_no_reply_and_a_reply_no_query() -> None:
    with pytest.raises(DnsError, match="not a reply"):
        decode_reply(vector("query_dnspython"))
    with pytest.raises(DnsError, match="not a query"):
        decode_query(vector("a_dnsmasq"))


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".net", ".".join(["abcdefghi"] * 30), "bad\ud800name"])
def test_names_that_dns_cannot_carry_are_refused(name: str) -> None:
    with pytest.raises(DnsError):
        encode_query(Query(1, Question(name)))


@pytest.mark.parametrize(
    "answer",
    [Answer(rcode="nonsense"), Answer(addresses=("300.1.1.1",)), Answer(aliases=("a..b",)), Answer(ttl_s=-1)],
    ids=lambda answer: str(answer),
)
def test_replies_that_dns_cannot_carry_are_refused(answer: Answer) -> None:
    with pytest.raises(DnsError):
        encode_reply(vector("query_dnspython"), answer)


@given(st.lists(st.binary(max_size=300), max_size=6), st.data())
def test_messages_survive_a_stream_that_is_cut_anywhere(messages: list[bytes], data: st.DataObject) -> None:
    stream, reader, found = b"".join(map(with_length, messages)), Messages(300), list[bytes]()
    while stream:
        end = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:end])
        stream = stream[end:]
    assert found == messages


def test_a_message_that_is_announced_as_too_long_is_an_error_after_those_before_it() -> None:
    reader = Messages(100)
    assert reader.feed(with_length(b"first") + (101).to_bytes(2, "big")) == [b"first"]
    with pytest.raises(DnsError, match="101 bytes"):
        reader.feed(b"")


def test_a_message_longer_than_its_length_can_say_is_not_sent() -> None:
    assert with_length(bytes(TCP_MAX_BYTES))[:2] == b"\xff\xff"
    with pytest.raises(DnsError):
        with_length(bytes(TCP_MAX_BYTES + 1))

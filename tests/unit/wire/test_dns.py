import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.wire.dns import (
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    DnsError,
    Query,
    Question,
    decode_query,
    decode_reply,
    encode_query,
    encode_reply,
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
    reply = decode_reply(encode_reply(encode_query(query), addresses=addresses, ttl_s=ttl_s))
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
    cut = bytearray(encode_reply(encode_query(Query(1, HUB))))
    cut[2] |= 0x02
    assert decode_reply(bytes(cut)).truncated


def test_the_reply_keeps_the_spelling_of_the_question() -> None:
    request = encode_query(Query(7, Question("ZapCloud.Azure-Devices.NET")))
    data = encode_reply(request, addresses=("127.0.1.9",), ttl_s=60)
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


@pytest.mark.parametrize(("rcode", "addresses"), [("nonsense", ()), ("noerror", ("300.1.1.1",))])
def test_replies_that_dns_cannot_carry_are_refused(rcode: str, addresses: tuple[str, ...]) -> None:
    with pytest.raises(DnsError):
        encode_reply(vector("query_dnspython"), rcode=rcode, addresses=addresses)

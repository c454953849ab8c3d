"""DNS messages for address look-ups, over dnspython (RFC 1035)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from emulator.errors import WireError

SAME_QUESTION = SAME_ANSWER = 256
"""Thousands of chargers ask the same few questions: what differs is the id, so the rest is worked out once."""

NOERROR, SERVFAIL, NXDOMAIN, REFUSED = "noerror", "servfail", "nxdomain", "refused"


class DnsError(WireError):
    """Not a DNS message, or one that answers no question of ours."""


@dataclass(frozen=True, slots=True)
class Question:
    """A name in lower case without the final dot, and a record type, ``A`` unless told."""

    name: str
    type: str = "A"


@dataclass(frozen=True, slots=True)
class Query:
    """What a client asks."""

    query_id: int
    question: Question


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server says. `question` is None where an error reply leaves it out."""

    query_id: int
    question: Question | None
    rcode: str
    """In lower case: ``noerror``, ``servfail``, ``nxdomain``, ``refused`` and the rest of the IANA list."""
    addresses: tuple[str, ...] = ()
    """The IPv4 addresses at the end of the CNAME chain, in the server's order."""
    ttl_s: int = 0
    """The smallest TTL along the chain."""
    truncated: bool = False


def encode_query(query: Query) -> bytes:
    """One recursive query. DnsError for a name that DNS cannot carry."""
    return query.query_id.to_bytes(2, "big") + _encode_question(query.question)


@lru_cache(maxsize=SAME_QUESTION)
def _encode_question(question: Question) -> bytes:
    try:
        return dns.message.make_query(question.name, question.type, id=0).to_wire()[2:]
    except (dns.exception.DNSException, ValueError) as error:
        raise DnsError(f"{question.name!r}: {error}") from None


def decode_query(data: bytes) -> Query:
    """The query in one datagram; DnsError for anything else."""
    message = _parse(data)
    question = _question(message)
    if message.flags & dns.flags.QR or question is None:
        raise DnsError("not a query")
    return Query(message.id, question)


def encode_reply(request: bytes, *, rcode: str = NOERROR, addresses: Sequence[str] = (), ttl_s: int = 0) -> bytes:
    """A recursive server's reply to `request`, with its id, and its question in the same spelling."""
    query = _parse(request)
    try:
        message = dns.message.make_response(query, recursion_available=True)
        message.set_rcode(dns.rcode.from_text(rcode))
        if addresses:
            message.answer.append(dns.rrset.from_text_list(query.question[0].name, ttl_s, "IN", "A", addresses))
        return message.to_wire(want_shuffle=False)
    except (dns.exception.DNSException, ValueError, IndexError) as error:
        raise DnsError(f"reply: {error}") from None


def decode_reply(data: bytes) -> Reply:
    """The reply in one datagram, CNAMEs followed within it; DnsError for anything else."""
    return replace(_decode_reply(bytes(2) + data[2:]), query_id=int.from_bytes(data[:2], "big"))


@lru_cache(maxsize=SAME_ANSWER)
def _decode_reply(data: bytes) -> Reply:
    message = _parse(data)
    if not message.flags & dns.flags.QR:
        raise DnsError("not a reply")
    question = _question(message)
    rcode = dns.rcode.to_text(message.rcode()).lower()
    truncated = bool(message.flags & dns.flags.TC)
    if question is None or question.type != "A":
        return Reply(message.id, question, rcode, truncated=truncated)
    try:
        chain = message.resolve_chaining()
    except dns.exception.DNSException as error:
        raise DnsError(f"answer: {error}") from None
    addresses = tuple(record.address for record in chain.answer or ())
    return Reply(message.id, question, rcode, addresses, chain.minimum_ttl, truncated)


def _parse(data: bytes) -> dns.message.QueryMessage:
    try:
        message = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError) as error:
        raise DnsError(f"{type(error).__name__}: {error}") from None
    if not isinstance(message, dns.message.QueryMessage):
        raise DnsError("not a standard query")
    return message


def _question(message: dns.message.QueryMessage) -> Question | None:
    if not message.question:
        return None
    asked = message.question[0]
    if len(message.question) > 1 or asked.rdclass != dns.rdataclass.IN:
        raise DnsError("not one Internet question")
    return Question(asked.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(asked.rdtype))

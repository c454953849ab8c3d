"""DNS messages for address look-ups, over dnspython (RFC 1035), and how a TCP stream carries them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
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

UDP_MAX_BYTES = 512  # RFC 1035 section 4.2.1
TCP_MAX_BYTES = 65_535  # section 4.2.2: the length has two octets
EDNS_MAX_BYTES = 4096  # RFC 6891 section 6.2.5 suggests it

NOERROR, SERVFAIL, NXDOMAIN, REFUSED = "noerror", "servfail", "nxdomain", "refused"

_LENGTH_BYTES = 2
_TRUNCATED = 0x02  # in the third octet of the header


class DnsError(WireError):
    """Not a DNS message, or one that answers no question of ours."""


class Aliases(StrEnum):
    """How the CNAMEs of an answer end."""

    ENDED = "ended"
    """At the name that has the addresses, or that ought to have them; most answers have no CNAME at all."""
    LOOP = "cname_loop"
    """At a name that is an alias again."""
    TOO_LONG = "cname_too_long"
    """After more names than dnspython follows (15)."""


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
class Answer:
    """What a server has to say to a question, apart from id and question."""

    rcode: str = NOERROR
    addresses: tuple[str, ...] = ()
    """IPv4, in the order in which they are sent."""
    aliases: tuple[str, ...] = ()
    """CNAMEs from the name in question to the name that has the addresses."""
    ttl_s: int = 0
    """Of every record, and of the knowledge that there is none (RFC 2308 section 5)."""
    truncated: bool = False
    """Say that there is more than fits, and send none of it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server said. `question` is None where an error reply leaves it out."""

    query_id: int
    question: Question | None
    rcode: str
    """In lower case: ``noerror``, ``servfail``, ``nxdomain``, ``refused`` and the rest of the IANA list."""
    addresses: tuple[str, ...] = ()
    """The IPv4 addresses at the end of the CNAME chain, in the server's order."""
    ttl_s: int = 0
    """The smallest TTL along the chain; without addresses, how long that is known (RFC 2308), 0 if nobody said."""
    truncated: bool = False
    """There is more than fitted: nothing but id, question and rcode is to be believed (RFC 2181 section 9)."""
    aliases: Aliases = Aliases.ENDED


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
    """The query in one message; DnsError for anything else."""
    message = _parse(data)
    question = _question(message)
    if message.flags & dns.flags.QR or question is None:
        raise DnsError("not a query")
    return Query(message.id, question)


def encode_reply(request: bytes, answer: Answer, *, max_bytes: int = TCP_MAX_BYTES) -> bytes:
    """A recursive server's reply to `request`, with its id, and its question in the same spelling.

    What does not fit into `max_bytes`, or into what the request offers by EDNS, is cut off and marked as truncated.
    """
    query = _parse(request)
    try:
        message = dns.message.make_response(query, recursion_available=True)
        message.set_rcode(dns.rcode.from_text(answer.rcode))
        if answer.truncated:
            message.flags |= dns.flags.TC
        else:
            _fill(message, query.question[0].name, answer)
        offered = min(query.payload, EDNS_MAX_BYTES) if query.edns >= 0 else 0
        return message.to_wire(max_size=max(max_bytes, offered), prefer_truncation=True, want_shuffle=False)
    except (dns.exception.DNSException, ValueError, IndexError) as error:
        raise DnsError(f"reply: {error}") from None


def _fill(message: dns.message.Message, owner: dns.name.Name, answer: Answer) -> None:
    for alias in answer.aliases:
        message.answer.append(dns.rrset.from_text(owner, answer.ttl_s, "IN", "CNAME", f"{alias.rstrip('.')}."))
        owner = dns.name.from_text(alias)
    if answer.addresses:
        message.answer.append(dns.rrset.from_text_list(owner, answer.ttl_s, "IN", "A", answer.addresses))
    elif answer.rcode in (NOERROR, NXDOMAIN) and not answer.aliases:
        # Whose zone it is does not matter to a client, which is all that ever reads this one.
        start_of_authority = f"dns.invalid. hostmaster.invalid. 1 3600 600 86400 {answer.ttl_s}"
        message.authority.append(dns.rrset.from_text(dns.name.root, answer.ttl_s, "IN", "SOA", start_of_authority))


def decode_reply(data: bytes) -> Reply:
    """The reply in one message, CNAMEs followed within it; DnsError for anything else."""
    return replace(_decode_reply(bytes(2) + data[2:]), query_id=int.from_bytes(data[:2], "big"))


@lru_cache(maxsize=SAME_ANSWER)
def _decode_reply(data: bytes) -> Reply:
    truncated = len(data) > 2 and bool(data[2] & _TRUNCATED)
    message = _parse(data, question_only=truncated)
    if not message.flags & dns.flags.QR:
        raise DnsError("not a reply")
    question = _question(message)
    rcode = dns.rcode.to_text(message.rcode()).lower()
    reply = Reply(message.id, question, rcode, truncated=truncated)
    if truncated or question is None or question.type != "A":
        return reply
    try:
        chain = message.resolve_chaining()
    except dns.message.ChainTooLong:
        return replace(reply, aliases=_endless(message))
    except dns.exception.DNSException as error:
        raise DnsError(f"answer: {error}") from None
    addresses = tuple(record.address for record in chain.answer or ())
    return replace(reply, addresses=addresses, ttl_s=chain.minimum_ttl if addresses else _negative_ttl_s(message))


def _endless(message: dns.message.Message) -> Aliases:
    """Whether CNAMEs that dnspython has given up go round in a circle."""
    aliases = {record.name: record[0].target for record in message.answer if record.rdtype == dns.rdatatype.CNAME}
    name, seen = message.question[0].name, set[dns.name.Name]()
    while name in aliases and name not in seen:
        seen.add(name)
        name = aliases[name]
    return Aliases.LOOP if name in seen else Aliases.TOO_LONG


def _negative_ttl_s(message: dns.message.Message) -> int:
    """RFC 2308 section 5: the smaller of the SOA's own TTL and its last field; without a SOA nothing may be kept."""
    authority = (found for found in message.authority if found.rdtype == dns.rdatatype.SOA)
    return min((min(found.ttl, found[0].minimum) for found in authority), default=0)


def _parse(data: bytes, *, question_only: bool = False) -> dns.message.QueryMessage:
    try:
        message = dns.message.from_wire(data, question_only=question_only)
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


def with_length(message: bytes) -> bytes:
    """A message as it goes over TCP (RFC 1035 section 4.2.2). DnsError: it is longer than its length can say."""
    if len(message) > TCP_MAX_BYTES:
        raise DnsError(f"a message of {len(message)} bytes")
    return len(message).to_bytes(_LENGTH_BYTES, "big") + message


class Messages:
    """Cuts what comes over TCP into messages; holds at most one that is not complete."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Sequence[bytes]:
        """The messages that these bytes complete. DnsError: the next one is announced as longer than `max_bytes`."""
        self._buffer += data
        found: list[bytes] = []
        while len(self._buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
            if length > self._max_bytes:
                if found:
                    break  # these first: the error is told when there is nothing else to tell
                raise DnsError(f"a message of {length} bytes, at most {self._max_bytes} are taken")
            end = _LENGTH_BYTES + length
            if len(self._buffer) < end:
                break
            found.append(bytes(self._buffer[_LENGTH_BYTES:end]))
            del self._buffer[:end]
        return found

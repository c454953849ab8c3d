"""The resolver: asks its name servers in order until one knows the name (manual row M8, RFC 1035, 5452 and 7766)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from emulator.machines.effects import Effect, Send, Tried
from emulator.profile import Dns
from emulator.wire.address import UNSPECIFIED, Address
from emulator.wire.dns import NOERROR, NXDOMAIN, Aliases, DnsError, Query, Question, Reply, decode_reply, encode_query

__all__ = ["AskOverTcp", "Cache", "DnsReason", "Ignored", "Resolution", "Resolved", "Tried", "Unresolved"]

ANSWERED, ANSWERED_TCP, CACHED, OVERTAKEN = "answered", "answered_tcp", "cached", "overtaken"
SILENT, GARBAGE, WRONG_ID, WRONG_QUESTION, STRANGER = "silent", "garbage", "wrong_id", "wrong_question", "stranger"
TRUNCATED, NO_ADDRESS, TCP_TIMED_OUT = "truncated", "no_address", "tcp_timed_out"

NO_ANSWER = frozenset({SILENT, GARBAGE, WRONG_ID, WRONG_QUESTION})
"""What a server did that has not answered the question at all."""
NEGATIVE = frozenset({NXDOMAIN, NO_ADDRESS})
"""Answers that will be the same when the server is asked again."""

IGNORED_MAX = 8
OTHERS = Address(UNSPECIFIED, 0)
"""Stands for the senders of ignored datagrams when there are more than `IGNORED_MAX`."""


class DnsReason(StrEnum):
    """Why a name has no address."""

    SILENT = "silent"
    """No server said anything."""
    NOT_FOUND = "not_found"
    """Every server that answered says that there is no such name, or no address behind it."""
    FAILED = "failed"
    """Servers were heard, but what they said was an error or of no use."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Datagrams that were no answer to what was asked of their sender (RFC 5452 section 9.1), and how many."""

    sender: Address
    what: str
    """``wrong_id``, ``wrong_question``, ``garbage``, or ``stranger`` for one that was not asked."""
    count: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """The addresses of a name, in the server's order, never empty. `tried` ends with the server that knew."""

    name: str
    addresses: tuple[str, ...]
    ttl_s: int
    server: Address
    tried: tuple[Tried, ...]
    ignored: tuple[Ignored, ...] = ()


@dataclass(frozen=True, slots=True)
class Unresolved:
    """No server gave an address. `ttl_s` is how long that may be believed; 0 unless all that was heard is negative."""

    name: str
    reason: DnsReason
    tried: tuple[Tried, ...]
    ttl_s: int = 0
    ignored: tuple[Ignored, ...] = ()


@dataclass(frozen=True, slots=True)
class AskOverTcp:
    """Put this query to the server over TCP, then call `Resolution.receive_tcp` or `tcp_failed`.

    Whoever does it has until the machine's deadline; at that time `wake` gives the exchange up.
    """

    query: bytes
    to: Address


class Resolution:
    """One look-up, a `DatagramMachine`. The whole list of servers is tried `timing.attempts` times.

    A server that errs is left at once, a silent one after `timing.try_timeout_s`; an address that comes later all the
    same is taken. One that says that there is no such name or address is not asked again. Servers of `instead` take
    the place of the others when none of those has answered in time, be it with an error.
    """

    def __init__(
        self, name: str, servers: Sequence[Address], timing: Dns, rng: Random, *, instead: Sequence[Address] = ()
    ) -> None:
        self._question = Question(name.rstrip(".").lower())
        self._left = _rounds(servers, timing)
        self._instead = _rounds(instead, timing)
        self._timing = timing
        self._rng = rng
        self._asked: dict[int, Address] = {}
        self._current = -1
        self._heard = SILENT
        """What a try comes to that ends by its time."""
        self._over_tcp = False
        self._tried: list[Tried] = []
        self._ttl_s: int | None = None
        self._ignored: dict[tuple[Address, str], int] = {}
        self._deadline: float | None = None

    def start(self, now: float) -> list[Effect]:
        """Ask the first server. DnsError for a name that DNS cannot carry."""
        return self._next(now)

    def receive(self, data: bytes, sender: Address, now: float) -> list[Effect]:
        """Take one datagram. Unless id, question, address and port are those of a query it is counted and ignored."""
        if self._deadline is None:
            return []
        query_id = int.from_bytes(data[:2], "big")
        server = self._asked.get(query_id)
        if not any(_same(sender, asked) for asked in self._asked.values()):
            return self._ignore(sender, STRANGER)
        if server is None or not _same(sender, server):
            return self._ignore(sender, WRONG_ID)
        try:
            reply = decode_reply(data)
        except DnsError:
            return self._failed(GARBAGE, now) if self._waits_for(query_id) else self._ignore(sender, GARBAGE)
        if reply.question not in (None, self._question):
            return self._ignore(sender, WRONG_QUESTION)
        if reply.rcode == NOERROR and reply.addresses:
            return self._resolved(reply, server, ANSWERED)
        if not self._waits_for(query_id):
            return []  # it changes nothing any more
        return self._ask_over_tcp(now) if reply.truncated and reply.rcode == NOERROR else self._refused(reply, now)

    def receive_tcp(self, data: bytes, now: float) -> list[Effect]:
        """Take the message that came back over TCP. Nothing happens if none is waited for any more."""
        if not self._over_tcp:
            return []
        try:
            reply = decode_reply(data)
        except DnsError:
            return self.tcp_failed(GARBAGE, now)
        if reply.query_id != self._current:
            return self.tcp_failed(WRONG_ID, now)
        if reply.question not in (None, self._question):
            return self.tcp_failed(WRONG_QUESTION, now)
        if reply.rcode == NOERROR and reply.addresses:
            return self._resolved(reply, self._asked[self._current], ANSWERED_TCP)
        return self._refused(reply, now)

    def tcp_failed(self, why: str, now: float) -> list[Effect]:
        """The exchange over TCP came to nothing; `why` is one word. Nothing happens if none is waited for any more."""
        return self._failed(f"tcp_{why}", now) if self._over_tcp else []

    def wake(self, now: float) -> list[Effect]:
        """Leave a server that takes too long. Does nothing before the deadline."""
        if self._deadline is None or now < self._deadline:
            return []
        return self._failed(TCP_TIMED_OUT if self._over_tcp else self._heard, now)

    def deadline(self) -> float | None:
        """When to call `wake`; None once there is a result."""
        return self._deadline

    def _next(self, now: float) -> list[Effect]:
        self._heard, self._over_tcp = SILENT, False
        server = self._next_server()
        if server is None:
            return self._unresolved()
        self._current = self._new_id()
        self._asked[self._current] = server
        self._deadline = now + self._timing.try_timeout_s
        return [Send(self._query(), server)]

    def _next_server(self) -> Address | None:
        if not self._left and all(tried.what in NO_ANSWER for tried in self._tried):
            self._left, self._instead = self._instead, []
        said_no = [tried.server for tried in self._tried if tried.what in NEGATIVE]
        while self._left:
            server = self._left.pop()
            if server not in said_no:
                return server
        return None

    def _new_id(self) -> int:
        while (query_id := self._rng.getrandbits(16)) in self._asked:
            pass
        return query_id

    def _query(self) -> bytes:
        return encode_query(Query(self._current, self._question))

    def _waits_for(self, query_id: int) -> bool:
        return query_id == self._current and not self._over_tcp

    def _ask_over_tcp(self, now: float) -> list[Effect]:
        self._over_tcp = True
        self._deadline = now + self._timing.tcp_timeout_s
        return [AskOverTcp(self._query(), self._asked[self._current])]

    def _refused(self, reply: Reply, now: float) -> list[Effect]:
        what = _complaint(reply)
        if what in NEGATIVE:
            self._ttl_s = reply.ttl_s if self._ttl_s is None else min(self._ttl_s, reply.ttl_s)
        return self._failed(what, now)

    def _failed(self, what: str, now: float) -> list[Effect]:
        self._tried.append(Tried(self._asked[self._current], what))
        return self._next(now)

    def _ignore(self, sender: Address, what: str) -> list[Effect]:
        if _same(sender, self._asked[self._current]):
            self._heard = what
        key = sender, what
        if key not in self._ignored and len(self._ignored) >= IGNORED_MAX:
            key = OTHERS, what
        self._ignored[key] = self._ignored.get(key, 0) + 1
        return []

    def _resolved(self, reply: Reply, server: Address, what: str) -> list[Effect]:
        asked = self._asked[self._current]
        if server != asked:
            self._tried.append(Tried(asked, OVERTAKEN))
        self._tried.append(Tried(server, what))
        self._deadline, self._over_tcp = None, False
        tried, ignored = tuple(self._tried), self._all_ignored()
        return [Resolved(self._question.name, reply.addresses, reply.ttl_s, server, tried, ignored)]

    def _unresolved(self) -> list[Effect]:
        self._deadline = None
        seen = {tried.what for tried in self._tried}
        ttl_s = (self._ttl_s or 0) if seen <= NEGATIVE else 0
        return [Unresolved(self._question.name, _reason(seen), tuple(self._tried), ttl_s, self._all_ignored())]

    def _all_ignored(self) -> tuple[Ignored, ...]:
        return tuple(Ignored(sender, what, count) for (sender, what), count in self._ignored.items())


class Cache:
    """Answers until their TTL is over, at most `timing.cache_max`; the one that was stored first goes first."""

    def __init__(self, timing: Dns) -> None:
        self._timing = timing
        self._entries: dict[str, tuple[Resolved | Unresolved, float]] = {}

    def get(self, name: str, now: float) -> Resolved | Unresolved | None:
        """What is known about a name at `now`, the time of the same clock as in `put`."""
        key = name.rstrip(".").lower()
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now < entry[1]:
            return entry[0]
        del self._entries[key]
        return None

    def put(self, answer: Resolved | Unresolved, now: float) -> None:
        """Remember an answer for its TTL, within the profile's limits, in place of an older one for the same name."""
        self._entries.pop(answer.name, None)
        if isinstance(answer, Resolved):
            ttl_s = min(answer.ttl_s, self._timing.ttl_max_s)
        else:
            ttl_s = min(answer.ttl_s, self._timing.negative_ttl_max_s)
        if ttl_s <= 0:
            return
        self._entries[answer.name] = (_as_cached(answer), now + ttl_s)
        if len(self._entries) > self._timing.cache_max:
            del self._entries[next(iter(self._entries))]


def _as_cached(answer: Resolved | Unresolved) -> Resolved | Unresolved:
    """What the servers did is news only once."""
    if isinstance(answer, Resolved):
        return Resolved(answer.name, answer.addresses, answer.ttl_s, answer.server, (Tried(answer.server, CACHED),))
    servers = dict.fromkeys(tried.server for tried in answer.tried)
    return replace(answer, tried=tuple(Tried(server, CACHED) for server in servers), ignored=())


def _rounds(servers: Sequence[Address], timing: Dns) -> list[Address]:
    """The next server is the last of the list."""
    return (list(servers) * timing.attempts)[::-1]


def _same(one: Address, other: Address) -> bool:
    return one.host == other.host and one.port == other.port


def _reason(seen: set[str]) -> DnsReason:
    if seen <= {SILENT}:
        return DnsReason.SILENT
    return DnsReason.NOT_FOUND if seen - {SILENT} <= NEGATIVE else DnsReason.FAILED


def _complaint(reply: Reply) -> str:
    if reply.rcode != NOERROR:
        return reply.rcode
    if reply.truncated:
        return TRUNCATED
    return NO_ADDRESS if reply.aliases is Aliases.ENDED else reply.aliases.value

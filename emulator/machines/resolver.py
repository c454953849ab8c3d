"""The resolver: asks its name servers in order until one knows the name (manual row M8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from emulator.machines.effects import Effect, Send, Tried
from emulator.profile import Dns
from emulator.wire.address import Address
from emulator.wire.dns import NOERROR, DnsError, Query, Question, Reply, decode_reply, encode_query

__all__ = ["Cache", "DnsReason", "Resolution", "Resolved", "Tried", "Unresolved"]


class DnsReason(StrEnum):
    """Why a name has no address."""

    SILENT = "silent"
    """No server said anything."""
    NOT_FOUND = "not_found"
    """A server said that there is no such name, or no address behind it."""
    FAILED = "failed"
    """Servers answered, but with errors only."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The addresses of a name, in the server's order, never empty. `tried` ends with the server that knew."""

    name: str
    addresses: tuple[str, ...]
    ttl_s: int
    server: Address
    tried: tuple[Tried, ...]


@dataclass(frozen=True, slots=True)
class Unresolved:
    """No server gave an address."""

    name: str
    reason: DnsReason
    tried: tuple[Tried, ...]


class Resolution:
    """One look-up, a `DatagramMachine`. The whole list of servers is tried `timing.attempts` times.

    A server that errs or sends garbage is left at once, a silent one after `timing.try_timeout_s`; an address that
    comes later all the same is taken.
    """

    def __init__(self, name: str, servers: Sequence[Address], timing: Dns, rng: Random) -> None:
        self._question = Question(name.rstrip(".").lower())
        self._left = list(servers) * timing.attempts
        self._left.reverse()
        self._timeout_s = timing.try_timeout_s
        self._rng = rng
        self._asked: dict[int, Address] = {}
        self._current = -1
        self._tried: list[Tried] = []
        self._deadline: float | None = None

    def start(self, now: float) -> list[Effect]:
        """Ask the first server. DnsError for a name that DNS cannot carry."""
        return self._next(now)

    def receive(self, data: bytes, sender: Address, now: float) -> list[Effect]:
        """Take one datagram. A wrong id, a wrong question or a sender that was never asked is ignored."""
        if self._deadline is None:
            return []
        try:
            reply = decode_reply(data)
        except DnsError:
            return self._failed("garbage", now) if _same(sender, self._asked[self._current]) else []
        server = self._asked.get(reply.query_id)
        if server is None or not _same(sender, server) or reply.question not in (None, self._question):
            return []
        if reply.rcode == NOERROR and reply.addresses:
            return self._resolved(reply, server)
        return self._failed(_complaint(reply), now) if reply.query_id == self._current else []

    def wake(self, now: float) -> list[Effect]:
        """Leave a server that is silent for too long. Does nothing before the deadline."""
        return [] if self._deadline is None or now < self._deadline else self._failed("silent", now)

    def deadline(self) -> float | None:
        """When to call `wake`; None once there is a result."""
        return self._deadline

    def _next(self, now: float) -> list[Effect]:
        if not self._left:
            self._deadline = None
            return [Unresolved(self._question.name, self._reason(), tuple(self._tried))]
        server = self._left.pop()
        self._current = self._rng.getrandbits(16)
        self._asked[self._current] = server
        self._deadline = now + self._timeout_s
        return [Send(encode_query(Query(self._current, self._question)), server)]

    def _failed(self, what: str, now: float) -> list[Effect]:
        self._tried.append(Tried(self._asked[self._current], what))
        return self._next(now)

    def _resolved(self, reply: Reply, server: Address) -> list[Effect]:
        self._deadline = None
        self._tried.append(Tried(server, "answered"))
        return [Resolved(self._question.name, reply.addresses, reply.ttl_s, server, tuple(self._tried))]

    def _reason(self) -> DnsReason:
        seen = {tried.what for tried in self._tried}
        if seen <= {"silent"}:
            return DnsReason.SILENT
        return DnsReason.NOT_FOUND if seen & {"nxdomain", "no_address"} else DnsReason.FAILED


class Cache:
    """Resolved names until their TTL is over, at most `limit`; the one that was stored first goes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[str, tuple[Resolved, float]] = {}

    def get(self, name: str, now: float) -> Resolved | None:
        """What is known about a name at `now`, the time of the same clock as in `put`."""
        key = name.rstrip(".").lower()
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now < entry[1]:
            return entry[0]
        del self._entries[key]
        return None

    def put(self, resolved: Resolved, now: float) -> None:
        """Remember a result for its TTL, in place of an older one for the same name."""
        self._entries.pop(resolved.name, None)
        self._entries[resolved.name] = (resolved, now + resolved.ttl_s)
        if len(self._entries) > self._limit:
            del self._entries[next(iter(self._entries))]


def _same(one: Address, other: Address) -> bool:
    return one.host == other.host and one.port == other.port


def _complaint(reply: Reply) -> str:
    if reply.rcode != NOERROR:
        return reply.rcode
    return "truncated" if reply.truncated else "no_address"

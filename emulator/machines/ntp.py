"""The SNTP client: finds out how wrong the charger's clock is (RFC 4330, manual row M9)."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from emulator.machines.effects import Effect, Send, Tried
from emulator.machines.ntp_reply import NONSENSE, Complaint, complaint_about, complaint_about_trip
from emulator.profile import Ntp
from emulator.wire.address import Address
from emulator.wire.ntp import CLIENT, NtpError, NtpPacket, decode, encode, measure, timestamp

SERVERS_MAX = 16
"""Invented; a pool name has four addresses. How many of a name's addresses are asked."""

REMARKS_MAX = 4
"""Invented. How many replies that are none of the server's are remarked on while it is waited for."""

SILENT, LEFT_ALONE, ANSWERED = "silent", "left_alone", "answered"


class NtpReason(StrEnum):
    """Why there is no time."""

    SILENT = "silent"
    """No server said anything."""
    REFUSED = "refused"
    """A server answered, but does not give the time: a kiss of death, or an unsynchronised clock."""
    ABSURD = "absurd"
    """What came were replies that cannot be true, or that are none."""


@dataclass(frozen=True, slots=True)
class Synced:
    """The server's clock is `offset_s` ahead of ours; `delay_s` is the round trip. `tried` ends with the server."""

    offset_s: float
    delay_s: float
    server: Address
    stratum: int
    tried: tuple[Tried, ...]


@dataclass(frozen=True, slots=True)
class NoTime:
    """No server gave the time."""

    reason: NtpReason
    tried: tuple[Tried, ...]


class Refusals:
    """Servers that want to be left alone (RFC 5905 section 7.4), at most `LIMIT`; the first to refuse goes first.

    ``DENY`` and ``RSTR`` hold for `DENIED_S`, ``RATE`` for `rate_pause_s` seconds, twice as long with each further one
    up to `PAUSE_GROWTH_MAX` times. Other codes mean nothing here.
    """

    LIMIT = 64
    DENIALS = frozenset({"DENY", "RSTR"})
    DENIED_S = 3600.0
    """Invented: RFC 5905 has no end for it, and a charger that all servers have denied would never log in again."""
    PAUSE_GROWTH_MAX = 16
    """Invented: RFC 5905 wants a client to slow down with each ``RATE``, and names no end."""

    def __init__(self, rate_pause_s: float) -> None:
        self._rate_pause_s = rate_pause_s
        self._until: dict[Address, tuple[float, float]] = {}

    def note(self, server: Address, code: str, now: float) -> None:
        """Remember what a server has said."""
        if code in self.DENIALS:
            self._until[server] = now + self.DENIED_S, 0.0
        elif code == "RATE":
            _, pause_s = self._until.get(server, (0.0, 0.0))
            pause_s = min(max(2 * pause_s, self._rate_pause_s), self.PAUSE_GROWTH_MAX * self._rate_pause_s)
            self._until[server] = now + pause_s, pause_s
        if len(self._until) > self.LIMIT:
            del self._until[next(iter(self._until))]

    def forbid(self, server: Address, now: float) -> bool:
        """Whether this server must not be asked now."""
        return server in self._until and now < self._until[server][0]


@dataclass(frozen=True, slots=True)
class _Request:
    server: Address
    sent: datetime


class NtpQuery:
    """One question for the time, a `DatagramMachine`: each server is asked `timing.tries` times, in turn.

    `wall` is the charger's own clock, UTC; it may be decades off. A server whose reply is no good is left at once, one
    that refuses is not asked again, and `refusals` remembers it for later queries. A reply that cannot be told to be
    the server's is remarked on and ignored: only the timestamp that it returns proves that it is no forgery. A reply
    that comes after the wait for it is taken all the same. `until` ends everything, in the time of `now`.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        timing: Ntp,
        wall: Callable[[], datetime],
        refusals: Refusals,
        *,
        until: float = math.inf,
    ) -> None:
        self._servers = tuple(dict.fromkeys(servers))[:SERVERS_MAX]
        self._turns: deque[Address] = deque()
        self._timing = timing
        self._wall = wall
        self._refusals = refusals
        self._until = until
        self._asked: dict[int, _Request] = {}
        self._current = -1
        self._remarks: list[Tried] = []
        self._tried: list[Tried] = []
        self._deadline: float | None = None

    def start(self, now: float) -> list[Effect]:
        """Ask the first server that may be asked."""
        left_alone = [server for server in self._servers if self._refusals.forbid(server, now)]
        self._tried = [Tried(server, LEFT_ALONE) for server in left_alone]
        self._turns.extend([server for server in self._servers if server not in left_alone] * self._timing.tries)
        return self._next(now)

    def receive(self, data: bytes, sender: Address, now: float) -> list[Effect]:
        """Take one datagram."""
        if self._deadline is None:
            return []
        sender = Address(sender.host, sender.port)
        if all(request.server != sender for request in self._asked.values()):
            return self._remark(sender, Complaint.SPOOFED)
        try:
            reply = decode(data)
        except NtpError:
            return self._remark(sender, Complaint.GARBAGE)
        request = self._asked.get(reply.origin)
        if request is None or request.server != sender:
            return self._remark(sender, Complaint.WRONG_ORIGIN)
        return self._judge(reply, request, now)

    def wake(self, now: float) -> list[Effect]:
        """Leave a server that has not answered in time. Does nothing before the deadline."""
        if self._deadline is None or now < self._deadline:
            return []
        server = self._asked[self._current].server
        if all(remark.server != server for remark in self._remarks):
            self._tried.append(Tried(server, SILENT))
        return self._next(now)

    def deadline(self) -> float | None:
        """When to call `wake`; None once there is a result."""
        return self._deadline

    def _next(self, now: float) -> list[Effect]:
        self._remarks = []
        if not self._turns or now >= self._until:
            self._deadline = None
            return [NoTime(reason_of(self._tried), tuple(self._tried))]
        server, sent = self._turns.popleft(), self._wall()
        self._current = timestamp(sent) or 1  # 0 means unset
        while self._current in self._asked:  # asked twice in a microsecond
            self._current += 1
        self._asked[self._current] = _Request(server, sent)
        self._deadline = min(now + self._timing.try_timeout_s, self._until)
        return [Send(encode(NtpPacket(mode=CLIENT, transmitted=self._current)), server)]

    def _remark(self, sender: Address, what: str) -> list[Effect]:
        """Note a reply that the wait goes on after."""
        remark = Tried(sender, what)
        if remark not in self._remarks and len(self._remarks) < REMARKS_MAX:
            self._remarks.append(remark)
            self._tried.append(remark)
        return []

    def _judge(self, reply: NtpPacket, request: _Request, now: float) -> list[Effect]:
        measured = measure(reply, request.sent, self._wall())
        complaint = complaint_about(reply) or complaint_about_trip(measured)
        if complaint is None:
            self._deadline = None
            self._tried.append(Tried(request.server, ANSWERED))
            return [Synced(measured.offset_s, measured.delay_s, request.server, reply.stratum, tuple(self._tried))]
        if reply.stratum == 0 and complaint not in NONSENSE:
            self._refusals.note(request.server, complaint, now)
            self._turns = deque(server for server in self._turns if server != request.server)
        if reply.origin != self._current:
            return self._remark(request.server, complaint)
        self._tried.append(Tried(request.server, complaint))
        return self._next(now)


def reason_of(tried: Iterable[Tried]) -> NtpReason:
    """What it comes to that none of these gave the time."""
    words = {each.what for each in tried} - {SILENT}
    if words - NONSENSE:
        return NtpReason.REFUSED
    return NtpReason.ABSURD if words else NtpReason.SILENT

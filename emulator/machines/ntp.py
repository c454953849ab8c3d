"""The SNTP client: finds out how wrong the charger's clock is (RFC 4330, manual row M9)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from emulator.machines.effects import Effect, Send, Tried
from emulator.profile import Ntp
from emulator.wire.address import Address
from emulator.wire.ntp import CLIENT, SERVER, UNSYNCHRONISED, NtpError, NtpPacket, decode, encode, measure, timestamp


class NtpReason(StrEnum):
    """Why there is no time."""

    SILENT = "silent"
    """No server said anything."""
    REFUSED = "refused"
    """Servers answered, but none gave the time: a kiss of death, an unsynchronised clock, or garbage."""


@dataclass(frozen=True, slots=True)
class Synced:
    """The server's clock is `offset_s` ahead of ours; `delay_s` is the round trip."""

    offset_s: float
    delay_s: float
    server: Address
    stratum: int


@dataclass(frozen=True, slots=True)
class NoTime:
    """No server gave the time."""

    reason: NtpReason
    tried: tuple[Tried, ...]


class NtpQuery:
    """One question for the time, a `DatagramMachine`: `timing.tries` in all, over the servers in turn.

    `wall` is the charger's own clock, UTC; it may be years off. A server that sent a kiss code is not asked again; a
    reply that comes after the wait for it is taken all the same.
    """

    def __init__(self, servers: Sequence[Address], timing: Ntp, wall: Callable[[], datetime]) -> None:
        self._servers = list(servers)
        self._tries_left = timing.tries
        self._timeout_s = timing.try_timeout_s
        self._wall = wall
        self._asked: dict[int, Address] = {}
        self._current = -1
        self._tried: list[Tried] = []
        self._deadline: float | None = None

    def start(self, now: float) -> list[Effect]:
        """Ask the first server."""
        return self._next(now)

    def receive(self, data: bytes, sender: Address, now: float) -> list[Effect]:
        """Take one datagram. What is no reply to a request of ours, from the server that it went to, is ignored."""
        if self._deadline is None:
            return []
        try:
            reply = decode(data)
        except NtpError:
            return self._failed("garbage", now) if _same(sender, self._asked[self._current]) else []
        server = self._asked.get(reply.origin)
        if reply.mode != SERVER or server is None or not _same(sender, server):
            return []
        complaint = _complaint(reply)
        if complaint is None:
            return self._synced(reply, server)
        return self._failed(complaint, now, kissed=reply.stratum == 0) if reply.origin == self._current else []

    def wake(self, now: float) -> list[Effect]:
        """Leave a server that is silent for too long. Does nothing before the deadline."""
        return [] if self._deadline is None or now < self._deadline else self._failed("silent", now)

    def deadline(self) -> float | None:
        """When to call `wake`; None once there is a result."""
        return self._deadline

    def _next(self, now: float) -> list[Effect]:
        if not self._servers or self._tries_left <= 0:
            self._deadline = None
            silent = all(tried.what == "silent" for tried in self._tried)
            return [NoTime(NtpReason.SILENT if silent else NtpReason.REFUSED, tuple(self._tried))]
        self._tries_left -= 1
        self._current = timestamp(self._wall())
        self._asked[self._current] = self._servers[0]
        self._deadline = now + self._timeout_s
        return [Send(encode(NtpPacket(mode=CLIENT, transmitted=self._current)), self._servers[0])]

    def _failed(self, what: str, now: float, *, kissed: bool = False) -> list[Effect]:
        server = self._servers.pop(0)
        if not kissed:
            self._servers.append(server)
        self._tried.append(Tried(server, what))
        return self._next(now)

    def _synced(self, reply: NtpPacket, server: Address) -> list[Effect]:
        self._deadline = None
        measured = measure(reply, timestamp(self._wall()))
        return [Synced(measured.offset_s, measured.delay_s, server, reply.stratum)]


def _same(one: Address, other: Address) -> bool:
    return one.host == other.host and one.port == other.port


def _complaint(reply: NtpPacket) -> str | None:
    """What is wrong with a server's reply (RFC 4330 section 5); None: nothing."""
    if reply.stratum == 0:
        return reply.kiss_code or "kiss"
    if reply.leap == UNSYNCHRONISED or reply.stratum > 15:
        return "unsynchronised"
    return None if reply.transmitted else "no_time"

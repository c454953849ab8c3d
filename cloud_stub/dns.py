"""A recursive name server as the charger sees it: the site's own, Google's or Cloudflare's (manual row M8)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from random import Random
from typing import ClassVar

from cloud_stub.service import DatagramService, Reply, WhoIs
from emulator.clock import Utc
from emulator.errors import UsageError
from emulator.faults import Fault, Injected
from emulator.net.api import Address
from emulator.wire.dns import NOERROR, NXDOMAIN, REFUSED, SERVFAIL, DnsError, decode_query, encode_reply

CACHE_MAX = 1024
QUERY_MAX_BYTES = 512  # RFC 1035 section 4.2.1
_ID_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class DnsFault(Fault):
    """A fault of the name server with this label: ``primary``, ``google``, ``cloudflare``, or ``*`` for all."""

    server: str = "*"


@dataclass(frozen=True, kw_only=True)
class Silence(DnsFault):
    """The server does not answer."""

    kind: ClassVar[str] = "dns.silence"


@dataclass(frozen=True, kw_only=True)
class ServFail(DnsFault):
    """The server cannot find out."""

    kind: ClassVar[str] = "dns.servfail"


@dataclass(frozen=True, kw_only=True)
class Refused(DnsFault):
    """The server does not want to."""

    kind: ClassVar[str] = "dns.refused"


@dataclass(frozen=True, slots=True)
class _Answer:
    """A ready reply without its two id bytes, and the words for the history."""

    tail: bytes
    request: str
    reply: str


class DnsServer(DatagramService):
    """Answers A queries from `zone` (name to IPv4 addresses); other names do not exist, other types are empty.

    `label` tells several servers apart, `who_is` the chargers, for faults of one of them. Ready answers are kept, so
    that a busy fleet costs one look-up each.
    UsageError for a zone with something else than IPv4 addresses.
    """

    name = "dns"
    port = 53
    FAULTS = (Silence, ServFail, Refused)

    def __init__(
        self,
        *,
        label: str,
        zone: Mapping[str, tuple[str, ...]],
        ttl_s: int = 300,
        rng: Random,
        utc: Utc,
        now: Callable[[], float],
        who_is: WhoIs = str,
    ) -> None:
        super().__init__(rng=rng, utc=utc, now=now)
        self.label = label
        self._zone = {name.rstrip(".").lower(): _checked(name, addresses) for name, addresses in zone.items()}
        self._ttl_s = ttl_s
        self._who_is = who_is
        self._ready: dict[tuple[bytes, str], _Answer] = {}

    def inject(self, fault: Fault) -> Injected:
        """As every service's, but a fault of another server is none of ours: nothing happens."""
        if isinstance(fault, DnsFault) and fault.server not in ("*", self.label):
            return self.faults.nothing()
        return super().inject(fault)

    def answer(self, request: bytes, sender: Address) -> list[Reply]:
        if len(request) > QUERY_MAX_BYTES:
            return []
        who = self._who_is(sender.host)
        silent = self.faults.strikes(Silence, who) is not None
        try:
            answer = self._answer(request, "" if silent else self._forced_rcode(who))
        except DnsError:
            return []
        self.record(sender, answer.request, "silence" if silent else answer.reply, server=self.label)
        return [] if silent else [Reply(request[:_ID_BYTES] + answer.tail, sender)]

    def _forced_rcode(self, who: str) -> str:
        """The error that a fault demands, or nothing."""
        if self.faults.strikes(ServFail, who):
            return SERVFAIL
        return REFUSED if self.faults.strikes(Refused, who) else ""

    def _answer(self, request: bytes, forced_rcode: str) -> _Answer:
        key = request[_ID_BYTES:], forced_rcode
        if key not in self._ready:
            if len(self._ready) >= CACHE_MAX:
                self._ready.clear()
            self._ready[key] = self._make(request, forced_rcode)
        return self._ready[key]

    def _make(self, request: bytes, forced_rcode: str) -> _Answer:
        asked = decode_query(request).question
        found = self._zone.get(asked.name)
        rcode = forced_rcode or (NXDOMAIN if found is None else NOERROR)
        addresses = found if found and rcode == NOERROR and asked.type == "A" else ()
        data = encode_reply(request, rcode=rcode, addresses=addresses, ttl_s=self._ttl_s)
        text = " ".join(addresses) or (rcode.upper() if rcode != NOERROR else "empty")
        return _Answer(data[_ID_BYTES:], f"{asked.type} {asked.name}", text)


def _checked(name: str, addresses: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(str(IPv4Address(address)) for address in addresses)
    except AddressValueError as error:
        raise UsageError(f"dns zone: {name}: {error}") from None

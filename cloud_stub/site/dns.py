"""A recursive name server as the charger sees it: the site's, the operator's, Google's or Cloudflare's (row M8)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address
from random import Random
from typing import Any, TypeVar

from cloud_stub.service import DatagramService, Reply, WhoIs
from cloud_stub.site.dns_faults import (
    CONTENT,
    FAULTS,
    NOWHERE,
    DnsFault,
    Garbage,
    Silence,
    Slow,
    Spoofed,
    Transport,
    WrongId,
    WrongQuestion,
)
from cloud_stub.site.dns_tcp import QUERY_MAX_BYTES, DnsListener, TcpEnd
from emulator.clock import Utc
from emulator.errors import NetError, UsageError
from emulator.faults import Fault, FaultSet, Injected
from emulator.net.api import Address, Datagrams, Host
from emulator.wire.dns import (
    NOERROR,
    NXDOMAIN,
    TCP_MAX_BYTES,
    UDP_MAX_BYTES,
    Answer,
    DnsError,
    Query,
    Question,
    decode_query,
    encode_query,
    encode_reply,
)

CACHE_MAX = 1024
MAX_BYTES: Mapping[Transport, int] = {"udp": UDP_MAX_BYTES, "tcp": TCP_MAX_BYTES}
GARBAGE_BYTES = 40
FORGED_TTL_S = 86_400
ANOTHER_NAME = "another-name.example"

F = TypeVar("F", bound=DnsFault)

_ID_BYTES = 2
_TRUNCATED = 0x02  # in the first octet behind the id
_BROKEN_HEADER = bytes.fromhex("8180ffffffff")  # announces more questions and answers than can follow


@dataclass(frozen=True, slots=True)
class _Ready:
    """A reply without its two id bytes, and the words for the history."""

    tail: bytes
    request: str
    reply: str


@dataclass(frozen=True, slots=True)
class _Response:
    """What comes of one query: the reply, if there is one, and what somebody else sends before it."""

    data: bytes | None
    delay_s: float = 0.0
    forged: tuple[bytes, ...] = ()
    forged_elsewhere: tuple[bytes, ...] = ()
    """From another port."""


class DnsServer(DatagramService):
    """Answers A queries from `zone` (name to IPv4 addresses) over UDP and TCP; other names do not exist, other types
    are empty.

    `label` tells several servers apart, `who_is` the chargers, for faults of one of them. Ready answers are kept, so
    that a busy fleet costs one look-up each.
    UsageError for a zone with something else than IPv4 addresses.
    """

    name = "dns"
    port = 53
    FAULTS = FAULTS

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
        self._ready: dict[tuple[bytes, Answer | None, Transport], _Ready] = {}
        self._listener = DnsListener(self._over_tcp, self._ended)
        self._elsewhere: Datagrams | None = None

    async def start(self, host: Host) -> None:
        """UDP and TCP, and the socket of whoever forges answers."""
        await super().start(host)
        try:
            await self._listener.start(host, self.port)
            self._elsewhere = await host.udp()
        except NetError:
            await self.stop()
            raise

    async def stop(self) -> None:
        self._listener.stop()
        if self._elsewhere is not None:
            self._elsewhere.close()
            self._elsewhere = None
        await super().stop()

    def inject(self, fault: Fault) -> Injected:
        """As every service's, but a fault of another server is none of ours: nothing happens."""
        if isinstance(fault, DnsFault) and fault.server not in ("*", self.label):
            return self.faults.nothing()
        return super().inject(fault)

    def answer(self, request: bytes, sender: Address) -> list[Reply]:
        response = self._respond(request, sender, "udp")
        if response is None:
            return []
        if self._elsewhere is not None:
            for forged in response.forged_elsewhere:
                self._elsewhere.send(forged, sender)
        replies = [Reply(forged, sender) for forged in response.forged]
        return replies if response.data is None else [*replies, Reply(response.data, sender, response.delay_s)]

    def _over_tcp(self, request: bytes, sender: Address) -> tuple[bytes, float] | None:
        response = self._respond(request, sender, "tcp")
        return None if response is None or response.data is None else (response.data, response.delay_s)

    def _ended(self, peer: Address, why: TcpEnd) -> None:
        self.record(peer, "TCP", why.value, server=self.label, transport="tcp")

    def _respond(self, request: bytes, sender: Address, transport: Transport) -> _Response | None:
        """None for what is no query."""
        if len(request) > QUERY_MAX_BYTES:
            return None
        who = self._who_is(sender.host)
        try:
            if self.faults.about(who):
                return self._spoiled(request, sender, transport, who)
            ready = self._ready_answer(request, None, transport)
        except DnsError:
            return None
        self._note(sender, ready, ready.reply, transport)
        return _Response(request[:_ID_BYTES] + ready.tail)

    def _spoiled(self, request: bytes, sender: Address, transport: Transport, who: str) -> _Response:
        question = decode_query(request).question
        strikes = _Strikes(self.faults, who, question.name, transport)
        answer = self._true_answer(question)
        if strikes(Silence):
            self._note(sender, self._ready_answer(request, answer, transport), "silence", transport, strikes.kinds)
            return _Response(None)
        slow, spoofed = strikes(Slow), strikes(Spoofed)
        for cls in CONTENT:
            if fault := strikes(cls):
                answer = fault.spoil(answer, question.name)
        if question.type != "A":
            answer = replace(answer, addresses=())
        ready = self._ready_answer(request, answer, transport)
        data, said = self._damaged(request, ready, strikes)
        self._note(sender, ready, said, transport, strikes.kinds)
        response = _Response(data, slow.delay_s if slow else 0.0)
        return self._forestalled(response, request, spoofed) if spoofed else response

    def _damaged(self, request: bytes, ready: _Ready, strikes: "_Strikes") -> tuple[bytes, str]:
        """The reply as it leaves, and the words for the history."""
        if strikes(Garbage):
            return request[:_ID_BYTES] + _BROKEN_HEADER + self.rng.randbytes(GARBAGE_BYTES), "garbage"
        if strikes(WrongQuestion):
            other = encode_query(Query(int.from_bytes(request[:_ID_BYTES], "big"), Question(ANOTHER_NAME)))
            return encode_reply(other, Answer(addresses=(NOWHERE,), ttl_s=self._ttl_s)), f"about {ANOTHER_NAME}"
        if strikes(WrongId):
            return self._another_id(request) + ready.tail, f"{ready.reply} under another id"
        return request[:_ID_BYTES] + ready.tail, ready.reply

    def _forestalled(self, response: _Response, request: bytes, fault: Spoofed) -> _Response:
        forged = self._ready_answer(request, Answer(addresses=(fault.address,), ttl_s=FORGED_TTL_S), "udp").tail
        if fault.by == "port":
            return replace(response, forged_elsewhere=(request[:_ID_BYTES] + forged,) * fault.answers)
        return replace(response, forged=tuple(self._another_id(request) + forged for _ in range(fault.answers)))

    def _another_id(self, request: bytes) -> bytes:
        true_id = int.from_bytes(request[:_ID_BYTES], "big")
        return ((true_id + self.rng.randrange(1, 1 << 16)) % (1 << 16)).to_bytes(_ID_BYTES, "big")

    def _note(
        self, sender: Address, ready: _Ready, said: str, transport: Transport, faults: Sequence[str] = ()
    ) -> None:
        more: dict[str, Any] = {"transport": transport} if transport != "udp" else {}
        if faults:
            more["faults"] = list(faults)
        self.record(sender, ready.request, said, server=self.label, **more)

    def _ready_answer(self, request: bytes, answer: Answer | None, transport: Transport) -> _Ready:
        """The reply that says `answer`, the true one if None."""
        key = request[_ID_BYTES:], answer, transport
        if key not in self._ready:
            if len(self._ready) >= CACHE_MAX:
                self._ready.clear()
            self._ready[key] = self._make(request, answer, transport)
        return self._ready[key]

    def _make(self, request: bytes, answer: Answer | None, transport: Transport) -> _Ready:
        asked = decode_query(request).question
        said = answer or self._true_answer(asked)
        tail = encode_reply(request, said, max_bytes=MAX_BYTES[transport])[_ID_BYTES:]
        return _Ready(tail, f"{asked.type} {asked.name}", _in_words(said, truncated=bool(tail[0] & _TRUNCATED)))

    def _true_answer(self, asked: Question) -> Answer:
        found = self._zone.get(asked.name)
        if found is None:
            return Answer(rcode=NXDOMAIN, ttl_s=self._ttl_s)
        return Answer(addresses=found if asked.type == "A" else (), ttl_s=self._ttl_s)


class _Strikes:
    """The faults that strike one query, one class after the other as they are asked for."""

    def __init__(self, faults: FaultSet, who: str, name: str, transport: Transport) -> None:
        self.kinds: list[str] = []
        self._faults = faults
        self._who = who
        self._concerned = lambda fault: fault.concerns(name, transport)

    def __call__(self, cls: type[F]) -> F | None:
        fault = self._faults.strikes(cls, self._who, self._concerned)
        if fault is not None:
            self.kinds.append(fault.kind)
        return fault


def _in_words(answer: Answer, *, truncated: bool) -> str:
    if truncated:
        return "truncated"
    if answer.rcode != NOERROR:
        return answer.rcode.upper()
    aliases = (f"{len(answer.aliases)} aliases",) if answer.aliases else ()
    return " ".join((*aliases, *answer.addresses)) or "empty"


def _checked(name: str, addresses: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(str(IPv4Address(address)) for address in addresses)
    except AddressValueError as error:
        raise UsageError(f"dns zone: {name}: {error}") from None

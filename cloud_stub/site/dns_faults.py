"""How a name server breaks, and how what stands between it and the charger does.

All faults take `server`, `host` and `transport`. Faults of one answer work together: a long chain of aliases may be
truncated, a hijacked name may have a TTL. `CONTENT` is the order in which they are applied.
"""

from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from emulator.faults import Fault
from emulator.wire.dns import NXDOMAIN, REFUSED, SERVFAIL, Answer

ADDRESSES_MAX = 256
ALIASES_MAX = 32
TTL_MAX_S = 2**31 - 1  # RFC 2181 section 8
DELAY_MAX_S = 60.0
FORGERIES_MAX = 64
NOWHERE = "203.0.113.66"
"""Where forged answers lead unless told: an address for documentation (RFC 5737)."""

Transport = Literal["udp", "tcp"]


def _ipv4(text: str) -> str:
    return str(IPv4Address(text))  # its error is a ValueError, which pydantic words


IPv4 = Annotated[str, AfterValidator(_ipv4)]


@dataclass(frozen=True, kw_only=True)
class DnsFault(Fault):
    """A fault of one name server, or of all."""

    server: Literal["primary", "operator", "google", "cloudflare", "*"] = "*"
    host: str = "*"
    """The name that it is about, ``*`` for all."""
    transport: Literal["udp", "tcp", "*"] = "*"

    def concerns(self, name: str, transport: Transport) -> bool:
        """Whether a question for `name`, in lower case, meets this fault."""
        return self.host.rstrip(".").lower() in ("*", name) and self.transport in ("*", transport)


@dataclass(frozen=True, kw_only=True)
class Silence(DnsFault):
    """The server does not answer."""

    kind: ClassVar[str] = "dns.silence"


@dataclass(frozen=True, kw_only=True)
class Slow(DnsFault):
    """The server answers `delay_s` later."""

    kind: ClassVar[str] = "dns.slow"
    delay_s: Annotated[float, Field(gt=0, le=DELAY_MAX_S)]


@dataclass(frozen=True, kw_only=True)
class Garbage(DnsFault):
    """The server's answers are damaged behind their id."""

    kind: ClassVar[str] = "dns.garbage"


@dataclass(frozen=True, kw_only=True)
class WrongId(DnsFault):
    """The server's answers carry another id than the question."""

    kind: ClassVar[str] = "dns.wrong_id"


@dataclass(frozen=True, kw_only=True)
class WrongQuestion(DnsFault):
    """The server's answers are about another name."""

    kind: ClassVar[str] = "dns.wrong_question"


@dataclass(frozen=True, kw_only=True)
class Spoofed(DnsFault):
    """Somebody who does not see the questions answers before the server does, with `address`.

    He sends `answers` guesses of the id in the server's name, or, `by` port, from a port that is not the server's.
    """

    kind: ClassVar[str] = "dns.spoofed"
    transport: Literal["udp"] = "udp"
    by: Literal["id", "port"] = "id"
    answers: Annotated[int, Field(ge=1, le=FORGERIES_MAX, strict=True)] = 1
    address: IPv4 = NOWHERE


@dataclass(frozen=True, kw_only=True)
class ContentFault(DnsFault):
    """A fault in what the server says."""

    def spoil(self, true: Answer, name: str) -> Answer:
        """What the server says about `name` in place of `true`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ServFail(ContentFault):
    """The server cannot find out."""

    kind: ClassVar[str] = "dns.servfail"

    def spoil(self, true: Answer, name: str) -> Answer:
        return Answer(rcode=SERVFAIL)


@dataclass(frozen=True, kw_only=True)
class Refused(ContentFault):
    """The server does not want to."""

    kind: ClassVar[str] = "dns.refused"

    def spoil(self, true: Answer, name: str) -> Answer:
        return Answer(rcode=REFUSED)


@dataclass(frozen=True, kw_only=True)
class NxDomain(ContentFault):
    """The server says that the name does not exist, as one does that filters names."""

    kind: ClassVar[str] = "dns.nxdomain"

    def spoil(self, true: Answer, name: str) -> Answer:
        return Answer(rcode=NXDOMAIN, ttl_s=true.ttl_s)


@dataclass(frozen=True, kw_only=True)
class Empty(ContentFault):
    """The server knows the name, but no address of it."""

    kind: ClassVar[str] = "dns.empty"

    def spoil(self, true: Answer, name: str) -> Answer:
        return Answer(ttl_s=true.ttl_s)


@dataclass(frozen=True, kw_only=True)
class Addresses(ContentFault):
    """Every name that exists has these addresses: old ones, too many, or a few of which only some answer."""

    kind: ClassVar[str] = "dns.addresses"
    addresses: Annotated[tuple[IPv4, ...], Field(min_length=1, max_length=ADDRESSES_MAX)]

    def spoil(self, true: Answer, name: str) -> Answer:
        return replace(true, addresses=self.addresses) if true.addresses else true


@dataclass(frozen=True, kw_only=True)
class Hijack(ContentFault):
    """Every name, known or not, has this one address, as behind a captive portal.

    The TTL is 0, so that clients ask again once they have paid or agreed.
    """

    kind: ClassVar[str] = "dns.hijack"
    address: IPv4

    def spoil(self, true: Answer, name: str) -> Answer:
        return Answer(addresses=(self.address,))


@dataclass(frozen=True, kw_only=True)
class CnameChain(ContentFault):
    """The name is an alias of an alias, `length` times, before there is an address."""

    kind: ClassVar[str] = "dns.cname_chain"
    length: Annotated[int, Field(ge=1, le=ALIASES_MAX, strict=True)]

    def spoil(self, true: Answer, name: str) -> Answer:
        aliases = tuple(f"alias-{number}.example" for number in range(1, self.length + 1))
        return replace(true, aliases=aliases) if true.addresses else true


@dataclass(frozen=True, kw_only=True)
class CnameLoop(ContentFault):
    """The name is an alias of an alias of itself."""

    kind: ClassVar[str] = "dns.cname_loop"

    def spoil(self, true: Answer, name: str) -> Answer:
        return Answer(aliases=("alias-1.example", name), ttl_s=true.ttl_s)


@dataclass(frozen=True, kw_only=True)
class Ttl(ContentFault):
    """The server's answers may be kept for `ttl_s`."""

    kind: ClassVar[str] = "dns.ttl"
    ttl_s: Annotated[int, Field(ge=0, le=TTL_MAX_S, strict=True)]

    def spoil(self, true: Answer, name: str) -> Answer:
        return replace(true, ttl_s=self.ttl_s)


@dataclass(frozen=True, kw_only=True)
class Truncated(ContentFault):
    """The server says that its answers do not fit, over UDP unless told."""

    kind: ClassVar[str] = "dns.truncated"
    transport: Literal["udp", "tcp", "*"] = "udp"

    def spoil(self, true: Answer, name: str) -> Answer:
        return replace(true, truncated=True)


CONTENT: tuple[type[ContentFault], ...] = (
    Addresses,
    Hijack,
    NxDomain,
    ServFail,
    Refused,
    Empty,
    CnameLoop,
    CnameChain,
    Ttl,
    Truncated,
)

FAULTS: tuple[type[DnsFault], ...] = (Silence, Slow, Garbage, WrongId, WrongQuestion, Spoofed, *CONTENT)

"""What can be wrong with the DHCP service of a site (manual row M7). `who` is the client's host name."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from emulator.faults import Condition, Fault
from emulator.profile import IPv4
from emulator.wire.dhcp import INFINITE_S

OPTION_BYTES_MAX = 1000


def _content(code: int) -> int:
    if code in (52, 53):
        raise ValueError(f"option {code} says what kind of message it is, and is not changed")
    return code


@dataclass(frozen=True, kw_only=True)
class Silence(Fault):
    """The server does not answer: to nothing, or only to DISCOVER or to REQUEST."""

    kind: ClassVar[str] = "dhcp.silence"
    to: Literal["*", "DISCOVER", "REQUEST"] = "*"


@dataclass(frozen=True, kw_only=True)
class NoDns(Fault):
    """An OFFER or ACK names no DNS server (manual row M8)."""

    kind: ClassVar[str] = "dhcp.no_dns"


@dataclass(frozen=True, kw_only=True)
class WrongDns(Fault):
    """An OFFER or ACK names a DNS server where there is none."""

    kind: ClassVar[str] = "dhcp.wrong_dns"
    dns: IPv4 = "192.0.2.53"
    """Of a network for examples (RFC 5737), if not told otherwise: nobody has it."""


@dataclass(frozen=True, kw_only=True)
class Exhausted(Fault):
    """The pool has no address for newcomers: no offer, and a NAK for who asks for an address by itself."""

    kind: ClassVar[str] = "dhcp.exhausted"


@dataclass(frozen=True, kw_only=True)
class Nak(Fault):
    """The server offers, but refuses every request."""

    kind: ClassVar[str] = "dhcp.nak"


@dataclass(frozen=True, kw_only=True)
class Conflict(Fault):
    """A DISCOVER is answered with the address of a machine that is there already, the server's own, which it lends."""

    kind: ClassVar[str] = "dhcp.conflict"


@dataclass(frozen=True, kw_only=True)
class ShortLease(Fault):
    """An OFFER or ACK is for so many seconds only, which may be over before the boot is."""

    kind: ClassVar[str] = "dhcp.short_lease"
    lease_s: Annotated[int, Field(ge=0, le=INFINITE_S, strict=True)] = 10


@dataclass(frozen=True, kw_only=True)
class Slow(Fault):
    """A reply takes its time."""

    kind: ClassVar[str] = "dhcp.slow"
    delay_s: Annotated[float, Field(gt=0, le=600)] = 5.0


@dataclass(frozen=True, kw_only=True)
class ShortOption(Fault):
    """An OFFER or ACK carries an option with its last byte missing: 6 (DNS servers), 51 (lease time) or another."""

    kind: ClassVar[str] = "dhcp.short_option"
    option: Literal[1, 3, 6, 51, 54] = 6


@dataclass(frozen=True, kw_only=True)
class Option(Fault):
    """An OFFER or ACK carries one option with these bytes, given as hexadecimal digits, or without `hex` lacks it."""

    kind: ClassVar[str] = "dhcp.option"
    code: Annotated[int, Field(ge=1, le=254, strict=True), AfterValidator(_content)] = 3
    hex: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})*$", max_length=2 * OPTION_BYTES_MAX)] | None = None


@dataclass(frozen=True, kw_only=True)
class Overload(Fault):
    """An OFFER or ACK has its options in the fields for file and server name: legal (option 52), and seldom seen."""

    kind: ClassVar[str] = "dhcp.overload"


@dataclass(frozen=True, kw_only=True)
class Rogue(Condition):
    """A second server is on the network, with addresses, a gateway and a DNS server of its own that lead nowhere.

    With `first` it answers before the site's server. What it is sent by unicast, it never gets.
    """

    kind: ClassVar[str] = "dhcp.rogue"
    first: bool = True


@dataclass(frozen=True, kw_only=True)
class Renumber(Condition):
    """The site has got new addresses: the old ones are refused, even to be renewed, and others are handed out."""

    kind: ClassVar[str] = "dhcp.renumber"


FAULTS: tuple[type[Fault], ...] = (
    Silence,
    NoDns,
    WrongDns,
    Exhausted,
    Nak,
    Conflict,
    ShortLease,
    Slow,
    ShortOption,
    Option,
    Overload,
    Rogue,
    Renumber,
)

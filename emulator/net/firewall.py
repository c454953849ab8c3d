"""The site's firewall: which outgoing traffic it drops or rejects (manual row M2 lists what it must let through)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from emulator.errors import UsageError
from emulator.faults import Condition, Fault, FaultSet
from emulator.wire.address import BROADCAST, Address

Protocol = Literal["tcp", "udp"]
Port = Annotated[int, Field(ge=1, le=65535)]
Action = Literal["drop", "reject"]

PORT_MAX = 65_535
DHCP_SERVER_PORT = 67
RULES_MAX = 64


class Verdict(StrEnum):
    """What becomes of a packet."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    DROP = "drop"
    REJECT = "reject"
    """A SYN is answered with RST. Other packets are dropped: ICMP errors end no TCP connection (RFC 5927 section 4),
    and Linux tells a UDP socket of them only if it is connected, which ours, that ask several servers, are not."""
    STRAY = "stray"
    """The router knows no such connection and says so: the charger gets a RST, the peer hears nothing."""
    RESET = "reset"
    """Both ends get a RST."""


class Hosts:
    """The hosts that rules may name, by IPv4 address or by one of `names`, which may have several addresses."""

    def __init__(self, names: Mapping[str, tuple[str, ...]]) -> None:
        self._names = dict(names)

    def check(self, *hosts: str | None) -> None:
        """UsageError: one of these is neither an address nor a name that anybody knows."""
        for host in hosts:
            if host is not None and host not in self._names and not _is_address(host):
                raise UsageError(f"host: {host!r} is no host here; there are {', '.join(sorted(self._names))}")

    def means(self, host: str | None, address: str) -> bool:
        """Whether `host`, or None for any, stands for this address."""
        return host is None or address in self._names.get(host, (host,))


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Allowed:
    """What one entry of `AllowOnly` lets through; None means any."""

    protocol: str
    port: int | None
    host: str | None


@lru_cache(maxsize=1024)
def parse_allowed(text: str) -> Allowed:
    """An entry such as ``tcp/443``, ``udp/*`` or ``tcp/443/api.zaptec.com``. ValueError for anything else."""
    protocol, _, rest = text.partition("/")
    port, slash, host = rest.partition("/")
    number = int(port) if port.isascii() and port.isdigit() else 0
    if protocol not in ("tcp", "udp") or (port != "*" and not 1 <= number <= PORT_MAX) or (slash and not host):
        raise ValueError(f"{text!r} is not like tcp/443, udp/* or tcp/443/api.zaptec.com")
    return Allowed(protocol, number or None, host or None)


def _checked(text: str) -> str:
    parse_allowed(text)
    return text


@dataclass(frozen=True, kw_only=True)
class Block(Fault):
    """Outgoing traffic to this protocol, port and host gets nowhere; whatever is left out means any."""

    kind: ClassVar[str] = "site.block"
    protocol: Literal["tcp", "udp", "*"] = "*"
    port: Port | None = None
    host: str | None = None
    """IP address or host name."""
    action: Action = "drop"


@dataclass(frozen=True, kw_only=True)
class AllowOnly(Condition):
    """Nothing gets out but this: a network that is for web pages only, or for name look-ups only.

    DHCP is not affected: it never passes the router. The site's own name server counts as outside.
    """

    kind: ClassVar[str] = "site.allow_only"
    allow: Annotated[tuple[Annotated[str, AfterValidator(_checked)], ...], Field(max_length=RULES_MAX)] = ()
    """``protocol/port``, ``protocol/*`` or ``protocol/port/host``."""
    action: Action = "drop"


FAULTS = (Block, AllowOnly)


class Firewall:
    """Lets everything out but what `Block` and `AllowOnly` faults stop."""

    def __init__(self, faults: FaultSet, hosts: Hosts) -> None:
        self._faults = faults
        self._hosts = hosts

    def check(self, fault: Block | AllowOnly) -> None:
        """UsageError: it names a host that nobody knows."""
        if isinstance(fault, Block):
            self._hosts.check(fault.host)
        else:
            self._hosts.check(*(parse_allowed(entry).host for entry in fault.allow))

    def verdict(self, protocol: Protocol, to: Address, who: str) -> Verdict:
        """What happens to a packet of `who` on its way out. With several rules that match, the first says how."""
        block = self._faults.strikes(Block, who, when=lambda rule: self._matches(rule, protocol, to))
        if block is not None:
            return Verdict(block.action)
        for fault in self._faults.about(who):
            if isinstance(fault, AllowOnly) and not self._allowed(fault, protocol, to):
                return Verdict(fault.action)
        return Verdict.PASS

    def _matches(self, rule: Block, protocol: Protocol, to: Address) -> bool:
        return (
            rule.protocol in ("*", protocol) and rule.port in (None, to.port) and self._hosts.means(rule.host, to.host)
        )

    def _allowed(self, fault: AllowOnly, protocol: Protocol, to: Address) -> bool:
        if protocol == "udp" and (to.port == DHCP_SERVER_PORT or to.host == BROADCAST):
            return True
        entries = map(parse_allowed, fault.allow)
        return any(
            entry.protocol == protocol and entry.port in (None, to.port) and self._hosts.means(entry.host, to.host)
            for entry in entries
        )

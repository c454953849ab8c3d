"""The site's firewall: which outgoing traffic it drops or rejects (manual row M2 lists what it must let through)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address
from random import Random
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from emulator.errors import UsageError
from emulator.faults import Fault, FaultSet, Undo
from emulator.wire.address import Address

Protocol = Literal["tcp", "udp"]


class Verdict(StrEnum):
    """What the firewall does with a packet."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    DROP = "drop"
    REJECT = "reject"


@dataclass(frozen=True, kw_only=True)
class Block(Fault):
    """Outgoing traffic to this protocol, port and host gets nowhere; whatever is left out means any."""

    kind: ClassVar[str] = "site.block"
    protocol: Literal["tcp", "udp", "*"] = "*"
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    host: str | None = None
    """IP address or host name."""
    action: Literal["drop", "reject"] = "drop"


FAULTS = (Block,)


class Firewall:
    """Lets everything out but what `Block` faults name."""

    def __init__(self, rng: Random, now: Callable[[], float], names: Mapping[str, str]) -> None:
        """`names` maps the host names that faults may use to addresses."""
        self._faults = FaultSet(rng, now)
        self._names = dict(names)

    def inject(self, fault: Block) -> Undo:
        """Add a rule. UsageError: its host is a name that nobody knows."""
        if fault.host is not None and fault.host not in self._names and not _is_address(fault.host):
            raise UsageError(f"host: {fault.host!r} is no host here; there are {', '.join(sorted(self._names))}")
        return self._faults.inject(fault)

    def verdict(self, protocol: Protocol, to: Address, who: str = "*") -> Verdict:
        """What happens to a packet of `who` on its way out."""
        fault = self._faults.strikes(Block, who, when=lambda rule: self._matches(rule, protocol, to))
        return Verdict(fault.action) if fault else Verdict.PASS

    def _matches(self, rule: Block, protocol: Protocol, to: Address) -> bool:
        host = self._names.get(rule.host, rule.host) if rule.host else None
        return rule.protocol in ("*", protocol) and rule.port in (None, to.port) and host in (None, to.host)


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True

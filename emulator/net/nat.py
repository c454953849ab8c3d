"""The site's address translation: a connection that says nothing for too long is forgotten, and dies in silence.

A flow carries its own row of the router's table, so there is no table to search or to sweep: a packet costs one
comparison. Mapping and filtering are endpoint-independent, one row per UDP socket (RFC 4787 sections 4.1 and 5).
"""

from dataclasses import dataclass
from math import inf
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from emulator.faults import Condition, Fault, FaultSet
from emulator.net.firewall import Protocol, Verdict
from emulator.net.place import Router

REBOOT_S = 60.0  # invented: what a small router takes to come up again


@dataclass(frozen=True, kw_only=True)
class NatTimeout(Condition):
    """The router forgets connections that were idle for `timeout_s`: from each one's next packet on."""

    kind: ClassVar[str] = "site.nat_timeout"
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    protocol: Literal["tcp", "udp", "*"] = "*"


@dataclass(frozen=True, kw_only=True)
class NatReboot(Condition):
    """The router restarts: nothing passes for `for_s`, DHCP neither, and every connection is forgotten.

    Links stay up; where the router is the access point too, ``wifi.ap_reboot`` goes with it.
    """

    kind: ClassVar[str] = "site.nat_reboot"
    for_s: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] | None = REBOOT_S


@dataclass(frozen=True, kw_only=True)
class NatFull(Fault):
    """The router's table is full: connections that it knows live on, packets of new ones are dropped."""

    kind: ClassVar[str] = "site.nat_full"


FAULTS = (NatTimeout, NatReboot, NatFull)


@dataclass(slots=True)
class Flow:
    """One UDP socket or TCP connection of the charger `who`, with its row of the router's table."""

    protocol: Protocol
    who: str
    opened: int = -1
    """How many faults the site had had before the row was made."""
    until: float = -inf
    """When the row is deleted unless a packet passes before (monotonic seconds)."""
    idle_s: float = 0.0
    """How much longer each packet keeps it there, where nothing is wrong with the router."""


class Nat:
    """The router's view of flows. `now` is monotonic seconds."""

    def __init__(self, router: Router, faults: FaultSet) -> None:
        self._router = router
        self._faults = faults
        self._idle_s = {"tcp": router.tcp_idle_s, "udp": router.udp_idle_s} if router.nat else {"tcp": inf, "udp": inf}
        self._forgotten: dict[str, int] = {}
        self._forgotten_last = -1

    def forget(self, who: str) -> None:
        """Lose every row there is of `who`, ``*`` for all."""
        self._forgotten[who] = self._forgotten_last = self._faults.injected

    def keeps(self, flow: Flow, now: float) -> bool:
        """A packet passes by a row that is there, and nothing is wrong: the short way for nearly every packet."""
        if now < flow.until and flow.opened >= self._forgotten_last:
            flow.until = now + flow.idle_s
            return True
        return False

    def knows(self, flow: Flow, now: float) -> bool:
        """There is a row for the flow; without translation nothing is ever unknown."""
        if not self._router.nat:
            return True
        if now >= flow.until:
            return False
        return flow.opened >= max(self._forgotten.get(key, -1) for key in ("*", flow.who))

    def admit(self, flow: Flow, now: float) -> bool:
        """Make a row for a flow that begins. False: the table is full."""
        if self._router.nat and self._faults.strikes(NatFull, flow.who):
            return False
        flow.opened, flow.idle_s = self._faults.injected, self._idle_s[flow.protocol]
        self.refresh(flow, now)
        return True

    def refresh(self, flow: Flow, now: float) -> None:
        """A packet has passed."""
        idle_s = flow.idle_s
        for fault in self._faults.about(flow.who):
            if isinstance(fault, NatTimeout) and fault.protocol in ("*", flow.protocol):
                idle_s = min(idle_s, fault.timeout_s)
        flow.until = now + idle_s

    def stray(self, flow: Flow, now: float, *, outgoing: bool) -> Verdict:
        """What becomes of a TCP packet that belongs to no row."""
        if not outgoing or self._router.stray == "drop":
            return Verdict.DROP
        if self._router.stray == "reset":
            return Verdict.STRAY
        return Verdict.PASS if self.admit(flow, now) else Verdict.DROP

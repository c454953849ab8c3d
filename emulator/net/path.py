"""What becomes of each packet of one socket or connection on its way through the site. Pure; the shaped hosts obey."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from emulator.faults import Active, Condition, Fault, FaultSet
from emulator.net.detour import CaptivePortal, Detours
from emulator.net.firewall import Firewall, Hosts, Port, Verdict
from emulator.net.link import Way
from emulator.net.link_faults import MTU_MIN_BYTES
from emulator.net.nat import Flow, Nat, NatReboot
from emulator.net.params import MTU_BYTES
from emulator.net.route import Hop, Route
from emulator.wire.address import BROADCAST, Address

DETOURS_MAX = 16
"""Destinations per UDP socket whose detour is remembered; the one that was asked first is forgotten first."""


@dataclass(frozen=True, kw_only=True)
class MtuBlackHole(Condition):
    """TCP segments in packets of more than `mtu_bytes` vanish, and no ICMP says so: small ones pass, big ones never.

    The hosts learn nothing and send the same size again (RFC 2923 section 2.1).
    """

    kind: ClassVar[str] = "site.mtu_black_hole"
    mtu_bytes: Annotated[int, Field(ge=MTU_MIN_BYTES, le=MTU_BYTES)] = 1400
    way: Literal["up", "down", "*"] = "*"
    port: Port | None = None
    host: str | None = None


@dataclass(frozen=True, kw_only=True)
class HalfOpen(Condition):
    """The connections that are there when it begins carry nothing any more, and no end is told. New ones work."""

    kind: ClassVar[str] = "site.half_open"


@dataclass(frozen=True, kw_only=True)
class Reset(Fault):
    """Something on the way forges a RST to both ends, once `after_bytes` of a connection have passed.

    Counted with headers, both ways. At 0 that is the first packet after the TCP handshake.
    """

    kind: ClassVar[str] = "site.reset"
    after_bytes: Annotated[int, Field(ge=0)] = 0
    port: Port | None = None
    host: str | None = None


FAULTS = (MtuBlackHole, HalfOpen, Reset)


@dataclass(slots=True)
class Gear:
    """What stands between the chargers of a site and the internet."""

    faults: FaultSet
    hosts: Hosts
    firewall: Firewall
    nat: Nat
    detours: Detours
    now: Callable[[], float]
    _calm_at: int = -1

    @property
    def calm(self) -> bool:
        """Nothing is wrong with the site: one comparison per packet, until a fault comes."""
        if self._calm_at != self.faults.changes:
            if self.faults.active():
                return False
            self._calm_at = self.faults.changes
        return True

    def router_is_off(self, who: str) -> bool:
        """It restarts."""
        return any(isinstance(fault, NatReboot) for fault in self.faults.about(who))


class StreamPath:
    """The way of one TCP connection from the charger `who` to `to`."""

    __slots__ = ("_bytes", "_flow", "_gear", "_route", "real", "to")

    def __init__(self, gear: Gear, who: str, to: Address, route: Route) -> None:
        self.to = to
        """Whom the charger means."""
        self.real = to
        """Whom it reaches, known once a SYN has passed."""
        self._gear = gear
        self._route = route
        self._flow = Flow("tcp", who)
        self._bytes = 0

    def knock(self) -> Verdict:
        """What becomes of a SYN: PASS, DROP or REJECT."""
        gear, who = self._gear, self._flow.who
        if self._route.hop(self.to.host) is not Hop.TAKEN:
            return Verdict.DROP
        if not gear.calm:
            if gear.router_is_off(who):
                return Verdict.DROP
            verdict = gear.firewall.verdict("tcp", self.to, who)
            if verdict is not Verdict.PASS:
                return verdict
            real = gear.detours.of_stream(self.to, who)
            if real is None:
                return Verdict.DROP
            self.real = real
        return Verdict.PASS if gear.nat.admit(self._flow, gear.now()) else Verdict.DROP

    def carries(self, size_bytes: int, way: Way) -> Verdict:
        """What becomes of a packet of this size, or of packets as large as the link takes: PASS, DROP, STRAY, RESET."""
        gear, flow, now = self._gear, self._flow, self._gear.now()
        calm = gear.calm and self._route.sound
        if calm and gear.nat.keeps(flow, now):
            self._bytes += size_bytes
            return Verdict.PASS
        verdict = Verdict.PASS if calm else self._troubled(size_bytes, way)
        if verdict is Verdict.PASS and not gear.nat.knows(flow, now):
            verdict = gear.nat.stray(flow, now, outgoing=way is Way.UP)
        if verdict is Verdict.PASS:
            gear.nat.refresh(flow, now)
            self._bytes += size_bytes
        return verdict

    def _troubled(self, size_bytes: int, way: Way) -> Verdict:
        gear, flow = self._gear, self._flow
        if way is Way.UP and self._route.hop(self.to.host) is not Hop.TAKEN:
            return Verdict.DROP
        if any(self._stopped_by(active, size_bytes, way) for active in gear.faults.lasting(flow.who)):
            return Verdict.DROP
        if gear.firewall.verdict("tcp", self.to, flow.who) is not Verdict.PASS:
            return Verdict.DROP
        return Verdict.RESET if gear.faults.strikes(Reset, flow.who, when=self._is_cut_by) else Verdict.PASS

    def _stopped_by(self, active: Active, size_bytes: int, way: Way) -> bool:
        gear = self._gear
        match active.fault:
            case NatReboot():
                return True
            case CaptivePortal():
                return not gear.detours.at_portal(self.real)
            case HalfOpen():
                return active.number >= self._flow.opened
            case MtuBlackHole() as hole:
                swallowed = min(size_bytes, MTU_BYTES) > hole.mtu_bytes and hole.way in ("*", way.name.lower())
                return swallowed and self._is_to(hole.host, hole.port)
        return False

    def _is_cut_by(self, fault: Reset) -> bool:
        return self._bytes >= fault.after_bytes and self._is_to(fault.host, fault.port)

    def _is_to(self, host: str | None, port: int | None) -> bool:
        return port in (None, self.to.port) and self._gear.hosts.means(host, self.to.host)


class DatagramPath:
    """The way of the datagrams of one UDP socket of the charger `who`. A `local` one speaks to its own LAN: DHCP."""

    __slots__ = ("_detoured", "_flow", "_gear", "_local", "_route")

    def __init__(self, gear: Gear, who: str, route: Route, *, local: bool) -> None:
        self._gear = gear
        self._route = route
        self._flow = Flow("udp", who)
        self._local = local
        self._detoured: dict[Address, Address] | None = None

    def out(self, to: Address) -> Address | None:
        """Who gets a datagram; None: nobody."""
        gear, who = self._gear, self._flow.who
        calm = gear.calm
        if not calm and (gear.router_is_off(who) or gear.firewall.verdict("udp", to, who) is not Verdict.PASS):
            return None
        if self._local or to.host == BROADCAST:
            return to
        if self._route.hop(to.host) is not Hop.TAKEN:
            return None
        real = to if calm else gear.detours.of_datagram(to, who)
        if real is None or not self._passes_nat():
            return None
        self._remember(real, to)
        return real

    def back(self, sender: Address) -> Address | None:
        """Who a datagram seems to come from; None: it does not get in."""
        gear, flow, now = self._gear, self._flow, self._gear.now()
        if not gear.calm and gear.router_is_off(flow.who):
            return None
        if self._local:
            return sender
        if not gear.nat.knows(flow, now):
            return None
        gear.nat.refresh(flow, now)
        return sender if self._detoured is None else self._detoured.get(sender, sender)

    def _passes_nat(self) -> bool:
        nat, flow, now = self._gear.nat, self._flow, self._gear.now()
        if self._gear.calm and nat.keeps(flow, now):
            return True
        if not nat.knows(flow, now):
            return nat.admit(flow, now)
        nat.refresh(flow, now)
        return True

    def _remember(self, real: Address, to: Address) -> None:
        """Answers of `real` are to look like those of `to` from now on."""
        if real == to and self._detoured is None:
            return
        self._detoured = self._detoured or {}
        self._detoured.pop(real, None)
        self._detoured[real] = to
        if len(self._detoured) > DETOURS_MAX:
            del self._detoured[next(iter(self._detoured))]

"""The site's network as its chargers meet it: firewall, address translation, detours, and what breaks on the way."""

from collections.abc import Callable, Mapping
from random import Random

from emulator.faults import Fault, FaultSet, Undo
from emulator.net import detour, firewall, nat, path
from emulator.net.detour import Appliances, CaptivePortal, Detours, Intercept
from emulator.net.firewall import AllowOnly, Block, Firewall, Hosts
from emulator.net.nat import Nat, NatReboot
from emulator.net.path import DatagramPath, Gear, MtuBlackHole, Reset, StreamPath
from emulator.net.place import Router
from emulator.net.route import Lan, Route
from emulator.wire.address import Address

FAULTS = (*firewall.FAULTS, *nat.FAULTS, *detour.FAULTS, *path.FAULTS)


ROUTER = Router()
"""A router as they usually are."""


class Site:
    """One site's router, shared by its chargers: a pure decision for every packet. `now` is monotonic seconds."""

    def __init__(
        self,
        rng: Random,
        now: Callable[[], float],
        names: Mapping[str, tuple[str, ...]],
        *,
        router: Router = ROUTER,
        appliances: Appliances | None = None,
        lan: Lan | None = None,
    ) -> None:
        """`names` maps the host names that faults may use to their addresses.

        With `lan`, what a host sends out through another gateway than the router there gets nowhere.
        """
        faults, hosts = FaultSet(rng, now), Hosts(names)
        self.firewall = Firewall(faults, hosts)
        self.lan = lan
        self._gear = Gear(faults, hosts, self.firewall, Nat(router, faults), Detours(faults, hosts, appliances), now)

    def inject(self, fault: Fault) -> Undo:
        """Make one of `FAULTS` active. UsageError: it names a host that nobody knows, or nothing here can do it."""
        gear = self._gear
        match fault:
            case Block() | AllowOnly():
                gear.firewall.check(fault)
            case CaptivePortal() | Intercept():
                gear.detours.check(fault)
            case MtuBlackHole() | Reset():
                gear.hosts.check(fault.host)
        undo = gear.faults.inject(fault)
        if isinstance(fault, NatReboot):
            gear.nat.forget(fault.who)
        return undo

    def stream(self, who: str, to: Address, route: Route | None = None) -> StreamPath:
        """The way of a new TCP connection of `who`, whose host has this routing table; None: it is as it should be."""
        return StreamPath(self._gear, who, to, route or Route())

    def datagrams(self, who: str, route: Route | None = None, *, local: bool = False) -> DatagramPath:
        """The way of a new UDP socket of `who`; `local` for one that speaks to its own LAN."""
        return DatagramPath(self._gear, who, route or Route(), local=local)

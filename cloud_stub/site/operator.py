"""The mobile operator, as far as a charger on LTE-M asks it for anything (manual row M10)."""

from collections.abc import Callable
from random import Random
from typing import ClassVar

from cloud_stub.site.dhcp import DhcpServer
from cloud_stub.site.dhcp_pool import Scope
from emulator.clock import Utc
from emulator.faults import Fault


class Operator(DhcpServer):
    """Gives address, gateway and DNS servers of `scope` to chargers on LTE-M: what PPP has in its IPCP (RFC 1877).

    The troubles of a site's DHCP server are not those of an operator; what can be wrong with LTE-M are its own faults.
    """

    name = "operator"
    FAULTS: ClassVar[tuple[type[Fault], ...]] = ()

    def __init__(self, scope: Scope, *, rng: Random, utc: Utc, now: Callable[[], float]) -> None:
        super().__init__(scope, renumbered=scope, rogue=scope, rng=rng, utc=utc, now=now)  # never: it has no faults

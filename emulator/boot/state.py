"""What the boot stages hand on to each other and to the charger."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from emulator.boot.login import Login
from emulator.boot.lookup import Lookup
from emulator.boot.outcome import Why
from emulator.env import Env, Spec
from emulator.machines.backoff import reconnect_delay_s
from emulator.machines.dhcp import DhcpClient
from emulator.net.hub import HubConnection
from emulator.slots import Slots
from emulator.wire.dhcp import Lease

LINK_LOST = frozenset({Why.NO_CARRIER, Why.NO_ADDRESS})


class Boot:
    """The state of one life from power-on: what the stages have won, and what the keepers renew or drop again."""

    def __init__(self, spec: Spec, env: Env, slots: Slots, login: Login) -> None:
        self.spec = spec
        self.env = env
        self.slots = slots
        self.login = login
        self.lookup = Lookup(spec.profile, env)
        self.car_connected: Callable[[], bool] = lambda: False
        self.lease_wanted: Callable[[], Awaitable[None]] = _nobody
        """Awaited before a lease is asked for; after it nobody else uses the DHCP port."""
        self.lease_won: Callable[[], None] = lambda: None
        """Called when a DHCP client of our own has won a lease that must be kept."""
        self.dhcp: DhcpClient | None = None
        self.lease: Lease | None = None
        self.synced_at: datetime | None = None
        """When the clock was last set by NTP, by the clock itself; None: it must be asked again."""
        self.hub: HubConnection | None = None
        self._delays = 0
        self.notes: dict[str, Any] = {}
        """What the stage that runs now wants to see in its trace event."""

    def restart_at(self, stage: str, why: Why) -> str:
        """The stage to go on with after a failure: `stage`, or the link when that or the address is gone."""
        # a link that was lost takes the address with it, and has to be brought up again even if its carrier is back
        return "link" if self.lease is None or why in LINK_LOST else stage

    def delay_s(self, attempt: int) -> float:
        """How long to wait before attempt number `attempt` (zaptec.md section 13)."""
        self._delays += 1
        rng = self.env.rng(f"backoff/{self._delays}")  # made when needed: 2.5 KiB each, times thousands of chargers
        return reconnect_delay_s(attempt, car=self.car_connected(), timing=self.spec.profile.backoff, rng=rng)

    def take_lease(self, lease: Lease) -> None:
        """Use the address and the DNS servers of a lease."""
        self.lease = lease
        self.lookup.use(lease.dns)

    def drop_lease(self) -> None:
        """The lease is over: no address, and so no hub session."""
        self.lease = None
        self.env.host.set_interface(None)
        if self.hub is not None:
            self.hub.abort()


async def _nobody() -> None:
    """Nobody keeps a lease."""

"""What the boot stages hand on to each other and to the charger."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from random import Random
from typing import Any

from emulator.boot.image_updates import ImageUpdates
from emulator.boot.login import Login
from emulator.boot.lookup import Lookup
from emulator.boot.mainboard import Mainboard
from emulator.boot.outcome import Why
from emulator.boot.roots import Trust
from emulator.env import Env, Spec
from emulator.local import Local, Mode
from emulator.machines.dhcp import DhcpClient
from emulator.machines.ntp import Refusals
from emulator.machines.reconnect import Action, Reconnect, Situation, Trouble
from emulator.net.hub import HubConnection
from emulator.slots import Slots
from emulator.wire.dhcp import Lease

LINK_LOST = frozenset({Why.NO_CARRIER, Why.NO_ADDRESS})


class Boot:
    """The state of one life from power-on: what the stages have won, and what the keepers renew or drop again."""

    def __init__(self, spec: Spec, env: Env, slots: Slots, login: Login) -> None:
        self.spec = spec
        self.env = env
        self.local: Local = spec.local
        """What the installer has set, as it is in force."""
        self.linked_by: Mode | None = None
        """The kind of link that came up last."""
        self.slots = slots
        self.mainboard = Mainboard(env.flash, spec.profile.firmware)
        self.image_updates = ImageUpdates(env.flash)
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
        self.synced_s: float | None = None
        """The same in seconds of uptime, by which drift is measured; None: not in this life."""
        self.ntp_refusals = Refusals(spec.profile.ntp.rate_pause_s)
        self.waited_for_time = False
        """The clock gate that goes on has had its wait: it is for the first link only."""
        self.trust = Trust(spec, env.flash)
        self.bundle_wanted: Callable[[float], None] = lambda after_s: None
        """Called to have the trust bundle asked for in the background, in so many seconds."""
        self.hub: HubConnection | None = None
        self.reconnect = Reconnect(spec.profile.backoff)
        self.link_seen = False
        """A link has come up in this life."""
        self.noticed: Callable[[], None] = lambda: None
        """Called when `link_seen` turns true."""
        self.reboot: Callable[[str], object] = lambda reason: None
        """Starts the charger again; the reason is kept for its next life."""
        self._delays = 0
        self.notes: dict[str, Any] = {}
        """What the stage that runs now wants to see in its trace event."""

    def restart_at(self, stage: str, why: Why) -> str:
        """The stage to go on with after a failure: `stage`, or the link when that or the address is gone."""
        # a link that was lost takes the address with it, and has to be brought up again even if its carrier is back
        linked = self.lease is not None and self.env.host.carrier is not None
        return stage if linked and why not in LINK_LOST else "link"

    @property
    def mode(self) -> Mode:
        """The link in use; without one, the one that the installer has set."""
        return self.local.mode if self.linked_by is None or self.env.host.carrier is None else self.linked_by

    @property
    def wifi_lost(self) -> bool:
        """The link that came up last was Wi-Fi, and is gone."""
        return self.linked_by is Mode.WIFI and self.env.host.carrier is None

    def situation(self) -> Situation:
        """How the charger stands now, for who decides about a failure."""
        linked = self.env.host.carrier is not None and self.lease is not None
        return Situation(self.mode, linked, self.car_connected())

    def passed(self, stage: str) -> None:
        """A stage is through."""
        self.reconnect.passed(stage)
        if not self.link_seen:
            self.link_seen = True
            self.noticed()

    def failed(self, stage: str, trouble: Trouble) -> Action:
        """Count a failure; what is to be done about it."""
        return self.reconnect.failed(stage, trouble, self.situation(), self._backoff_rng)

    def restart_link(self, *, power_cycle: bool = False) -> None:
        """Give the address up and take the link down, if need be with the modem's power. The link stage comes next."""
        self.drop_lease()
        self.env.host.link_down(power_cycle=power_cycle)

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

    def _backoff_rng(self) -> Random:
        self._delays += 1
        return self.env.rng(f"backoff/{self._delays}")  # made when needed: 2.5 KiB each, times thousands of chargers


async def _nobody() -> None:
    """Nobody keeps a lease."""

"""One charger's link: the bearer in use, what faults add to it, and when a packet arrives. Pure; `ShapedHost` obeys."""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from math import inf
from random import Random

from emulator.errors import NetReason
from emulator.faults import FaultSet
from emulator.local import Local, Mode
from emulator.net.api import Carrier
from emulator.net.bearer import Attached, Bearer, NotAttached
from emulator.net.bursts import Bursts
from emulator.net.link_faults import LinkFault
from emulator.net.params import DOWN, LAN, LinkParams

BITS_PER_BYTE = 8
HEADER_BYTES = 40  # IPv4 and TCP without options
BACKLOG_S = 5.0
"""What would wait longer than this on a rate-limited link is dropped."""


class Way(Enum):
    """The two directions, seen from the charger."""

    UP = auto()
    DOWN = auto()


class Link:
    """The link of the charger `who`. `faults` are shared by all chargers of a site; `now` is monotonic seconds."""

    def __init__(
        self, who: str, bearers: Mapping[Mode, Bearer], faults: FaultSet, rng: Random, now: Callable[[], float]
    ) -> None:
        self.went_down: Callable[[], None] = lambda: None
        """Called by `check` when the carrier is lost."""
        self.checked: Callable[[], None] = lambda: None
        """Called by `check` at its end: `next_change` may be another time now."""
        self.cause = ""
        """What was really wrong when it did not come up the last time; the charger cannot see it."""
        self.carried_bytes = dict.fromkeys(Mode, 0)
        """Bytes of the packets that were put on each bearer, both ways, lost ones included."""
        self.mode = Mode.ETHERNET
        """Which bearer is in use, or was the last."""
        self._who = who
        self._bearers = bearers
        self._faults = faults
        self._rng = rng
        self._bursts = Bursts(rng)
        self._now = now
        self._bearer: Bearer | None = None
        self._free_at = dict.fromkeys(Way, 0.0)

    @property
    def carrier(self) -> Carrier | None:
        """What it is attached to, as that is now."""
        return None if self._bearer is None else self._bearer.carrier(self._now())

    @property
    def params(self) -> LinkParams:
        """The numbers as they are now, faults included."""
        if self._bearer is None:
            return DOWN
        now = self._now()
        return self._spoilt(self._bearer.params(now), now)

    @property
    def up(self) -> bool:
        """There is carrier."""
        return self.params.up

    def attach(self, mode: Mode, local: Local) -> Attached | NotAttached:
        """Try to bring up the bearer of this kind. The link is up at once; the caller lets `after_s` pass."""
        self.detach()
        result = self._attach(mode, local, self._now())
        self.cause = result.cause if isinstance(result, NotAttached) else ""
        return result

    def detach(self, *, power_cycle: bool = False) -> None:
        """Let go of the bearer in use; with `power_cycle` of all of them, whose modems start anew."""
        bearers = self._bearers.values() if power_cycle else [self._bearer] if self._bearer is not None else []
        for bearer in bearers:
            bearer.detach(self._now(), power_cycle=power_cycle)
        self._bearer = None

    def next_change(self) -> float | None:
        """When to `check`, at the latest, always after now; None: no need as things are."""
        if self._bearer is None:
            return None
        now, lasting = self._now(), self._faults.lasting(self._who)
        changes = [each.fault.next_loss(each.since, now) for each in lasting if isinstance(each.fault, LinkFault)]
        own = self._bearer.next_change(now)
        when = min(changes, default=inf) if own is None else min((own, *changes))
        return None if when == inf else when

    def check(self) -> None:
        """Something may have changed: see whether the carrier is lost."""
        if self._bearer is not None and not self.params.up:
            self.detach()
            self.went_down()
        self.checked()

    def plan(self, size_bytes: int, way: Way) -> float | None:
        """When a packet that is sent now arrives (monotonic seconds); None: it is lost."""
        params, now = self.params, self._now()
        if not params.up:
            return None
        self.carried_bytes[self.mode] += size_bytes
        if params.loss and self._lost(params, size_bytes, now):
            return None
        sent = now
        if params.rate_bps:
            sent = max(now, self._free_at[way]) + size_bytes * BITS_PER_BYTE / params.rate_bps
            if sent > now + BACKLOG_S:
                return None
            self._free_at[way] = sent
        return sent + params.delay_s + (self._rng.uniform(0, params.jitter_s) if params.jitter_s else 0.0)

    def _attach(self, mode: Mode, local: Local, now: float) -> Attached | NotAttached:
        if not self._spoilt(LAN, now).up:
            return NotAttached(0.0, NetReason.NO_CARRIER, mode.value, cause="a fault keeps the link down")
        bearer = self._bearers.get(mode)
        if bearer is None:
            nothing = f"there is no {mode.value} here"
            return NotAttached(0.0, NetReason.NO_CARRIER, nothing, cause=nothing)
        result = bearer.attach(local, now)
        if isinstance(result, Attached):
            self._bearer, self.mode = bearer, mode
            self._free_at = dict.fromkeys(Way, 0.0)
        return result

    def _spoilt(self, params: LinkParams, now: float) -> LinkParams:
        """These numbers as the active faults have them."""
        for each in self._faults.lasting(self._who):
            if isinstance(each.fault, LinkFault):
                params = each.fault.spoil(params, each.since, now)
        return params

    def _lost(self, params: LinkParams, size_bytes: int, now: float) -> bool:
        if params.loss >= 1.0:
            return True
        if params.burst_s:
            return self._bursts.lost(params.loss, params.burst_s, now)
        packets = max(1, -(-size_bytes // params.mtu_bytes))
        return self._rng.random() >= (1 - params.loss) ** packets

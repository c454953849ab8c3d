"""One charger's link: the bearer in use, what faults add to it, and when a packet arrives. Pure; `ShapedHost` obeys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from random import Random
from typing import Annotated, Any, ClassVar

from pydantic import Field

from emulator.errors import NetReason
from emulator.faults import Condition, FaultSet
from emulator.local import Local, Mode
from emulator.net.api import Carrier
from emulator.net.bearer import Attached, Bearer, NotAttached
from emulator.net.params import LinkParams

BITS_PER_BYTE = 8
HEADER_BYTES = 40  # IPv4 and TCP without options
BACKLOG_S = 5.0
"""What would wait longer than this on a rate-limited link is dropped."""

DOWN = LinkParams(up=False)


@dataclass(frozen=True, kw_only=True)
class LinkFault(Condition):
    """Other numbers for as long as it is active, whatever the bearer."""

    def overrides(self) -> dict[str, Any]:
        """The fields of `LinkParams` that it changes."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Down(LinkFault):
    """No carrier: every connection is reset, the address is gone."""

    kind: ClassVar[str] = "link.down"

    def overrides(self) -> dict[str, Any]:
        return {"up": False}


@dataclass(frozen=True, kw_only=True)
class Slow(LinkFault):
    """Everything takes longer, and some of it gets lost."""

    kind: ClassVar[str] = "link.slow"
    delay_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def overrides(self) -> dict[str, Any]:
        return {"delay_s": self.delay_s, "loss": self.loss}


FAULTS = (Down, Slow)


class Way(Enum):
    """The two directions, seen from the charger."""

    UP = auto()
    DOWN = auto()


class Link:
    """The link of the charger `who`. `faults` are shared by all chargers of a site; `now` is monotonic seconds."""

    def __init__(
        self, who: str, bearers: Mapping[Mode, Bearer], faults: FaultSet, rng: Random, now: Callable[[], float]
    ) -> None:
        self.carrier: Carrier | None = None
        """What was attached to last; `up` tells whether it still holds."""
        self.went_down: Callable[[], None] = lambda: None
        """Called by `check` when the carrier is lost."""
        self._who = who
        self._bearers = bearers
        self._faults = faults
        self._rng = rng
        self._now = now
        self._bearer: Bearer | None = None
        self._free_at = dict.fromkeys(Way, 0.0)

    @property
    def params(self) -> LinkParams:
        """The numbers as they are now, faults included."""
        params = DOWN if self._bearer is None else self._bearer.params(self._now())
        for fault in self._faults.about(self._who):
            if isinstance(fault, LinkFault):
                params = replace(params, **{**fault.overrides(), **({} if params.up else {"up": False})})
        return params

    @property
    def up(self) -> bool:
        """There is carrier."""
        return self.params.up

    def attach(self, mode: Mode, local: Local) -> Attached | NotAttached:
        """Try to bring up the bearer of this kind. The link is up at once; the caller lets `after_s` pass."""
        self.detach()
        if any(isinstance(fault, Down) for fault in self._faults.about(self._who)):
            return NotAttached(0.0, NetReason.NO_CARRIER, mode.value)
        bearer = self._bearers.get(mode)
        if bearer is None:
            return NotAttached(0.0, NetReason.NO_CARRIER, f"there is no {mode.value} here")
        result = bearer.attach(local, self._now())
        if isinstance(result, Attached):
            self._bearer, self.carrier = bearer, result.carrier
        return result

    def detach(self, *, power_cycle: bool = False) -> None:
        """Let go of the bearer in use; with `power_cycle` of all of them, whose modems start anew."""
        bearers = self._bearers.values() if power_cycle else [self._bearer] if self._bearer is not None else []
        for bearer in bearers:
            bearer.detach(self._now(), power_cycle=power_cycle)
        self._bearer = self.carrier = None

    def next_change(self) -> float | None:
        """When to `check`, at the latest; None: no need as things are."""
        return None if self._bearer is None else self._bearer.next_change(self._now())

    def check(self) -> None:
        """Something may have changed: see whether the carrier is lost."""
        if self._bearer is not None and not self.params.up:
            self.detach()
            self.went_down()

    def plan(self, size_bytes: int, way: Way) -> float | None:
        """When a packet that is sent now arrives (monotonic seconds); None: it is lost."""
        params, now = self.params, self._now()
        if not params.up:
            return None
        if params.loss:
            packets = max(1, -(-size_bytes // params.mtu_bytes))
            if self._rng.random() >= (1 - params.loss) ** packets:
                return None
        sent = now
        if params.rate_bps:
            sent = max(now, self._free_at[way]) + size_bytes * BITS_PER_BYTE / params.rate_bps
            if sent > now + BACKLOG_S:
                return None
            self._free_at[way] = sent
        return sent + params.delay_s + (self._rng.uniform(0, params.jitter_s) if params.jitter_s else 0.0)

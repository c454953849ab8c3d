"""A link as numbers: delay, jitter, loss, rate. Pure: it says when something arrives, `ShapedHost` makes it so."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from random import Random
from typing import Annotated, Any, ClassVar

from pydantic import Field

from emulator.faults import Condition, FaultSet, Undo

BITS_PER_BYTE = 8
HEADER_BYTES = 40  # IPv4 and TCP without options
BACKLOG_S = 5.0
"""What would wait longer than this on a rate-limited link is dropped."""


@dataclass(frozen=True, slots=True)
class LinkParams:
    """What a link does to a packet, the same both ways."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    """Probability that a packet is lost."""
    rate_bps: float | None = None
    mtu_bytes: int = 1500
    """What is larger travels as several packets, and one lost packet loses all."""
    up: bool = True


LAN = LinkParams()


@dataclass(frozen=True, kw_only=True)
class LinkFault(Condition):
    """Other numbers for as long as it is active."""

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
    """One charger's link. `now` is monotonic seconds."""

    def __init__(self, params: LinkParams, rng: Random, now: Callable[[], float]) -> None:
        self._base = params
        self._rng = rng
        self._now = now
        self._faults = FaultSet(rng, now)
        self._free_at = dict.fromkeys(Way, 0.0)
        self.went_down: Callable[[], None] = lambda: None
        """Called when a fault takes the carrier away."""

    @property
    def params(self) -> LinkParams:
        """The numbers as they are now, faults included."""
        params = self._base
        for fault in self._faults.active():
            if isinstance(fault, LinkFault):
                params = replace(params, **fault.overrides())
        return params

    def inject(self, fault: LinkFault) -> Undo:
        """Make a fault active."""
        undo = self._faults.inject(fault)
        if not self.params.up:
            self.went_down()
        return undo

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

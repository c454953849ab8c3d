"""What breaks on a link of any kind. Pure; `Link` applies it."""

from dataclasses import dataclass, replace
from math import inf
from typing import Annotated, ClassVar

from pydantic import Field

from emulator.faults import Condition
from emulator.net.params import LinkParams
from emulator.net.rounds import Rounds

MTU_MIN_BYTES = 68  # RFC 791 section 3.2: what every link must carry
RATE_MIN_BPS = 2400.0  # below it a packet of 1500 bytes waits longer than `link.BACKLOG_S` for itself

PhaseSeconds = Annotated[float, Field(ge=0.1, le=1e6, strict=True, allow_inf_nan=False)]
"""Long enough for a round never to be lost in the last bits of a clock that has run for years."""


@dataclass(frozen=True, kw_only=True)
class LinkFault(Condition):
    """A worse link for as long as it is active, whatever the bearer. No fault makes a number better."""

    def spoil(self, params: LinkParams, since: float, now: float) -> LinkParams:
        """The link as it is with this fault, which is active since `since`; monotonic seconds."""
        raise NotImplementedError

    def next_loss(self, since: float, now: float) -> float:
        """When it takes the carrier away next by itself, always after `now`; infinite: never."""
        return inf


@dataclass(frozen=True, kw_only=True)
class Down(LinkFault):
    """No carrier: every connection is reset, the address is gone."""

    kind: ClassVar[str] = "link.down"

    def spoil(self, params: LinkParams, since: float, now: float) -> LinkParams:
        return replace(params, up=False)


@dataclass(frozen=True, kw_only=True)
class Flapping(LinkFault):
    """The link goes and comes, first down, then up. Without `carrier` that stays, and packets vanish unnoticed."""

    kind: ClassVar[str] = "link.flapping"
    up_s: PhaseSeconds = 60.0
    down_s: PhaseSeconds = 5.0
    carrier: bool = True

    def spoil(self, params: LinkParams, since: float, now: float) -> LinkParams:
        rounds = self._rounds(since)
        if now >= rounds.begin(rounds.number(now)) + self.down_s:
            return params
        return replace(params, up=False) if self.carrier else replace(params, loss=1.0)

    def next_loss(self, since: float, now: float) -> float:
        return self._rounds(since).next_begin(now) if self.carrier else inf

    def _rounds(self, since: float) -> Rounds:
        return Rounds(since, self.down_s + self.up_s)


@dataclass(frozen=True, kw_only=True)
class Slow(LinkFault):
    """Everything takes longer, and some of it gets lost."""

    kind: ClassVar[str] = "link.slow"
    delay_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def spoil(self, params: LinkParams, since: float, now: float) -> LinkParams:
        return replace(params, delay_s=max(params.delay_s, self.delay_s), loss=max(params.loss, self.loss))


@dataclass(frozen=True, kw_only=True)
class Lossy(LinkFault):
    """Packets get lost: each on its own, or in bursts of `burst_s` on average. With `loss` 1 nothing passes at all."""

    kind: ClassVar[str] = "link.lossy"
    loss: Annotated[float, Field(ge=0, le=1)] = 0.1
    burst_s: Annotated[float, Field(ge=0, le=3600)] = 0.0

    def spoil(self, params: LinkParams, since: float, now: float) -> LinkParams:
        return replace(params, loss=max(params.loss, self.loss), burst_s=max(params.burst_s, self.burst_s))


@dataclass(frozen=True, kw_only=True)
class Rate(LinkFault):
    """No more than this many bits per second each way. What would wait too long is dropped."""

    kind: ClassVar[str] = "link.rate"
    rate_bps: Annotated[float, Field(ge=RATE_MIN_BPS, le=1e12)] = 64_000.0

    def spoil(self, params: LinkParams, since: float, now: float) -> LinkParams:
        return replace(params, rate_bps=min(params.rate_bps or inf, self.rate_bps))


@dataclass(frozen=True, kw_only=True)
class Mtu(LinkFault):
    """Larger packets travel in pieces, and one lost piece loses all."""

    kind: ClassVar[str] = "link.mtu"
    mtu_bytes: Annotated[int, Field(ge=MTU_MIN_BYTES, le=65_535)] = 576

    def spoil(self, params: LinkParams, since: float, now: float) -> LinkParams:
        return replace(params, mtu_bytes=min(params.mtu_bytes, self.mtu_bytes))


FAULTS = (Down, Flapping, Slow, Lossy, Rate, Mtu)

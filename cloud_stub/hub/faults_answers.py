"""How the hub's answers to what a device sends are lost, late, wrong or the last ones."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from emulator.faults import Fault

DELAY_S_MAX = 3_600.0
REPLY_BYTES_MAX = 16 << 20

Delay = Annotated[float, Field(gt=0, le=DELAY_S_MAX, allow_inf_nan=False)]
Request = Literal["get", "patch", "*"]
"""Which twin requests a fault is about."""


@dataclass(frozen=True, kw_only=True)
class DropPuback(Fault):
    """A message is accepted but its PUBACK is lost."""

    kind: ClassVar[str] = "hub.drop_puback"


@dataclass(frozen=True, kw_only=True)
class DelayPuback(Fault):
    """A message is accepted but its PUBACK is late, and so are those behind it."""

    kind: ClassVar[str] = "hub.delay_puback"
    delay_s: Delay


@dataclass(frozen=True, kw_only=True)
class CloseAfter(Fault):
    """The connection is closed with its n-th message, which is accepted and not acknowledged."""

    kind: ClassVar[str] = "hub.close_after"
    publishes: Annotated[int, Field(ge=1, le=1_000_000)] = 1


@dataclass(frozen=True, kw_only=True)
class QuotaUsed(Fault):
    """The hub's daily quota is used up: a message is not accepted and the connection is closed."""

    kind: ClassVar[str] = "hub.quota"


@dataclass(frozen=True, kw_only=True)
class TwinStatus(Fault):
    """A twin request is not served but answered with this status: 429 throttled, 5xx an error of the hub."""

    kind: ClassVar[str] = "hub.twin_status"
    status: Annotated[int, Field(ge=400, le=599)]
    request: Request = "*"


@dataclass(frozen=True, kw_only=True)
class TwinSilent(Fault):
    """A twin request is served but never answered."""

    kind: ClassVar[str] = "hub.twin_silent"
    request: Request = "*"


@dataclass(frozen=True, kw_only=True)
class OversizeReply(Fault):
    """The reply to a twin GET is blown up to so many bytes with white space, which JSON allows at its end."""

    kind: ClassVar[str] = "hub.oversize_reply"
    size_bytes: Annotated[int, Field(ge=1, le=REPLY_BYTES_MAX)]


@dataclass(frozen=True, kw_only=True)
class LatePingresp(Fault):
    """PINGREQ is answered late."""

    kind: ClassVar[str] = "hub.late_pingresp"
    delay_s: Delay


ANSWER_FAULTS = (DropPuback, DelayPuback, CloseAfter, QuotaUsed, TwinStatus, TwinSilent, OversizeReply, LatePingresp)

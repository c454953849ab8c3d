"""What ends connections that stand: faults of identity, and cuts some time after the login."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from emulator.faults import Condition, Fault

AFTER_S_MAX = 366 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class DeviceDisabled(Condition):
    """The device is disabled in the registry: it is cut off and refused."""

    kind: ClassVar[str] = "hub.device_disabled"


@dataclass(frozen=True, kw_only=True)
class DeviceDeleted(Condition):
    """The device is not in the registry: it is cut off and refused. Its twin and its queue are there again later."""

    kind: ClassVar[str] = "hub.device_deleted"


@dataclass(frozen=True, kw_only=True)
class _Cut(Fault):
    """Strikes each connection once: `after_s` after its login, or from now if it stands already.

    A connection that was struck is cut even if the fault is over by then.
    """

    after_s: Annotated[float, Field(ge=0, le=AFTER_S_MAX, allow_inf_nan=False)] = 0.0


@dataclass(frozen=True, kw_only=True)
class TokenCut(_Cut):
    """The connection is closed as if its token had run out."""

    kind: ClassVar[str] = "hub.token_cut"


@dataclass(frozen=True, kw_only=True)
class Takeover(_Cut):
    """Another client logs in as this device, again and again, and the connection is closed each time."""

    kind: ClassVar[str] = "hub.takeover"


@dataclass(frozen=True, kw_only=True)
class HalfOpen(_Cut):
    """The hub forgets the connection and does not say so: no FIN, no RST, no answer to anything."""

    kind: ClassVar[str] = "hub.half_open"


CUTS = (TokenCut, Takeover, HalfOpen)
CONNECTION_FAULTS = (DeviceDisabled, DeviceDeleted, *CUTS)

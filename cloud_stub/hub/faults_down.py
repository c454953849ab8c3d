"""How what the cloud sends down to devices is lost, doubled or out of order."""

from dataclasses import dataclass
from typing import ClassVar

from emulator.faults import Fault


@dataclass(frozen=True, kw_only=True)
class DesiredLost(Fault):
    """A change of desired properties is made but not pushed."""

    kind: ClassVar[str] = "hub.desired_lost"


@dataclass(frozen=True, kw_only=True)
class DesiredTwice(Fault):
    """A change of desired properties is pushed twice."""

    kind: ClassVar[str] = "hub.desired_twice"


@dataclass(frozen=True, kw_only=True)
class DesiredOutOfOrder(Fault):
    """A change of desired properties is pushed right behind the next one, so that an older version comes last."""

    kind: ClassVar[str] = "hub.desired_out_of_order"


@dataclass(frozen=True, kw_only=True)
class MethodTwice(Fault):
    """A direct method is sent twice, with the same request id."""

    kind: ClassVar[str] = "hub.method_twice"


@dataclass(frozen=True, kw_only=True)
class C2dAgain(Fault):
    """A C2D message is sent once more at once, with DUP if it is of QoS 1, as after a lost PUBACK."""

    kind: ClassVar[str] = "hub.c2d_again"


DOWN_FAULTS = (DesiredLost, DesiredTwice, DesiredOutOfOrder, MethodTwice, C2dAgain)

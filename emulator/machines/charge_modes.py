"""The states of a charge and how they are reported: operation mode, charge mode, phase ids (zaptec.md section 9)."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class State(StrEnum):
    """Where the charge stands."""

    DISCONNECTED = "disconnected"
    """No car."""
    REQUESTING = "requesting"
    """A car waits for the cloud's permission."""
    READY = "ready"
    """Current is offered on the pilot; the car does not draw it yet."""
    CHARGING = "charging"
    """The car draws, the contactor is closed."""
    PAUSED = "paused"
    """Stopped for a while by the cloud, or for want of current."""
    STOPPED = "stopped"
    """Stopped until command 507 or the car leaves (FinalStopActive)."""
    FINISHED = "finished"
    """The car has had enough; the offer stands."""


class OperationMode(IntEnum):
    """Observation 710."""

    UNKNOWN = 0
    DISCONNECTED = 1
    REQUESTING = 2
    CHARGING = 3
    FINISHED = 5


class ChargeMode(IntEnum):
    """Observation 702: the pilot state A, B, C or F."""

    DISCONNECTED = 12
    CONNECTED = 9
    CHARGING = 6
    FAULT = -12


OPERATION_MODES: Mapping[State, OperationMode] = {
    State.DISCONNECTED: OperationMode.DISCONNECTED,
    State.REQUESTING: OperationMode.REQUESTING,
    State.READY: OperationMode.REQUESTING,
    State.CHARGING: OperationMode.CHARGING,
    State.PAUSED: OperationMode.FINISHED,
    State.STOPPED: OperationMode.FINISHED,
    State.FINISHED: OperationMode.FINISHED,
}

CHARGE_MODES: Mapping[State, ChargeMode] = {
    State.DISCONNECTED: ChargeMode.DISCONNECTED,
    State.REQUESTING: ChargeMode.CONNECTED,
    State.READY: ChargeMode.CONNECTED,
    State.CHARGING: ChargeMode.CHARGING,
    State.PAUSED: ChargeMode.CONNECTED,
    State.STOPPED: ChargeMode.CONNECTED,
    State.FINISHED: ChargeMode.CONNECTED,
}

PHASES: Mapping[int, tuple[int, ...]] = {
    1: (1,),
    2: (2,),
    3: (3,),
    4: (1, 2, 3),
    5: (3,),
    6: (2,),
    8: (1,),
    9: (1, 2, 3),
}
"""Phase id of 519 and 501 -> lines that carry current: 1-4 on TN grids, 5-9 on IT grids (zaptec.md section 17.4)."""

"""What an observer may see of a charger: values, never live objects."""

from dataclasses import dataclass
from datetime import datetime

from emulator.net.meter import Usage


@dataclass(frozen=True, slots=True)
class PowerOn:
    """Why the charger started, and the firmware before and after."""

    reason: str
    firmware_before: str
    firmware: str
    slot: str
    rolled_back: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The charger at one moment."""

    serial: str
    powered: bool
    online: bool
    address: str | None
    state: str
    """Of the charging machine."""
    operation_mode: int
    charge_mode: int
    car_connected: bool
    session_id: str | None
    granted_a: float
    phases: int
    power_w: float
    session_kwh: float
    firmware: str
    updating: bool
    light: str
    """Colour, and how it is shown; "off" without power."""
    power_ons: int
    messages_up: int
    messages_down: int
    data: Usage
    """Bytes over the link."""
    outbox: int
    """Messages that wait in flash."""
    outbox_dropped: int
    sessions_waiting: int
    sessions_lost: int
    """Finished sessions that found the store full."""
    clock: datetime
    clock_trusted: bool

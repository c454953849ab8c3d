"""The electric car on the cable: how much it wants, how fast, and how soon it begins."""

from dataclasses import dataclass, field

from emulator.errors import UsageError

FULL_KWH = 1e-6
"""What is missing less than this counts as full: times are floats, the last microwatt-hour never comes exactly."""

PILOT_MIN_A = 6.0  # IEC 61851-1: no car may draw below it


@dataclass(slots=True)
class Car:
    """A car. It keeps what it received when the charger loses its power. UsageError: a value that no car has."""

    energy_wanted_kwh: float = 30.0
    max_current_a: float = 32.0
    phases: int = 3
    """How many lines its own charger uses: 1, 2 or 3."""
    start_delay_s: float = 2.0
    """From the offer on the pilot to the first current."""
    cable_a: float = 32.0
    """Rating of the cable; observation 714."""
    received_kwh: float = field(default=0.0)

    def __post_init__(self) -> None:
        if self.phases not in (1, 2, 3):
            raise UsageError(f"car: phases: {self.phases} is not 1, 2 or 3")
        for name in ("energy_wanted_kwh", "max_current_a", "start_delay_s", "cable_a", "received_kwh"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"car: {name}: {getattr(self, name)} is not a number from 0 on")

    @property
    def missing_kwh(self) -> float:
        """What it still wants; 0 when it is full."""
        missing = self.energy_wanted_kwh - self.received_kwh
        return missing if missing > FULL_KWH else 0.0

    def draws_a(self, offered_a: float) -> float:
        """Amperes per line at an offer on the pilot."""
        if offered_a < PILOT_MIN_A or self.missing_kwh == 0:
            return 0.0
        return min(offered_a, self.max_current_a)

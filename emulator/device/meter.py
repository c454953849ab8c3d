"""The energy meter: voltages, currents and power of the lines, and a register that only grows."""

from dataclasses import dataclass

Lines = tuple[float, float, float]

IDLE: Lines = (0.0, 0.0, 0.0)
SECONDS_PER_HOUR = 3600.0
WATTS_PER_KILOWATT = 1000.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What the meter shows at one moment, lines L1 to L3."""

    voltages_v: Lines
    currents_a: Lines
    power_w: float
    energy_kwh: float
    """The register, since production."""


class Meter:
    """Integrates the load over time. It stands apart from the computer: a reboot does not touch the register.

    Power is the sum of voltage times current over the lines, which is right for TN grids (power factor 1, invented).
    """

    __slots__ = ("_currents_a", "_energy_kwh", "_since", "voltage_v")

    def __init__(self, voltage_v: float, now: float = 0.0) -> None:
        self.voltage_v = voltage_v
        self._currents_a = IDLE
        self._energy_kwh = 0.0
        self._since = now

    @property
    def power_w(self) -> float:
        """The load that is set."""
        return self.voltage_v * sum(self._currents_a)

    def set_load(self, currents_a: Lines, now: float) -> None:
        """From `now` (monotonic seconds) on, these currents flow."""
        self._energy_kwh = self.energy_kwh(now)
        self._since, self._currents_a = now, currents_a

    def energy_kwh(self, now: float) -> float:
        """The register at `now`."""
        return self._energy_kwh + self.power_w / WATTS_PER_KILOWATT * (now - self._since) / SECONDS_PER_HOUR

    def reaches(self, energy_kwh: float, now: float) -> float | None:
        """When the register will show `energy_kwh` at the load that is set; `now` if it does, None if it never will."""
        missing = energy_kwh - self.energy_kwh(now)
        if missing <= 0:
            return now
        if self.power_w == 0:
            return None
        return now + missing * WATTS_PER_KILOWATT / self.power_w * SECONDS_PER_HOUR

    def read(self, now: float) -> Reading:
        """Everything at once."""
        voltages = (self.voltage_v, self.voltage_v, self.voltage_v)
        return Reading(voltages, self._currents_a, self.power_w, self.energy_kwh(now))

"""What the bench refuses for other reasons than bad input."""

from emulator.errors import EmulatorError


class Conflict(EmulatorError):
    """The charger is not in the state for it."""


class Missing(EmulatorError):
    """There is no such thing."""


class Busy(EmulatorError):
    """Too many readers at once."""

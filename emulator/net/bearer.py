"""What a charger's modem finds at its place: whether a link comes up, how good it is, and when it is lost again."""

from dataclasses import dataclass
from typing import Protocol

from emulator.errors import NetReason
from emulator.local import Local
from emulator.net.api import WIRED, Carrier
from emulator.net.params import LAN, LinkParams


@dataclass(frozen=True, slots=True)
class Attached:
    """The link comes up `after_s` seconds from now."""

    after_s: float
    carrier: Carrier


@dataclass(frozen=True, slots=True)
class NotAttached:
    """The modem gives up `after_s` seconds from now."""

    after_s: float
    reason: NetReason
    detail: str = ""
    """What the modem can know, for people and without secrets."""
    cause: str = ""
    """What is really wrong here, which the charger cannot see: for who looks at the site, without secrets."""


class Bearer(Protocol):
    """One way from one charger to the site's router or the operator: pure, one per charger and `Mode`.

    `now` is monotonic seconds. What several chargers share (an access point, a cell, a PLC network) lives behind it.
    """

    def attach(self, local: Local, now: float) -> Attached | NotAttached:
        """Try to bring the link up with the installer's settings. An earlier attachment ends."""

    def detach(self, now: float, *, power_cycle: bool = False) -> None:
        """Let go of the link; does nothing without one."""

    def carrier(self, now: float) -> Carrier | None:
        """What it is attached to, as that is now; None without an attachment, and once it is lost."""

    def params(self, now: float) -> LinkParams:
        """What the link does to packets now. `up` is False without an attachment, and once it is lost."""

    def next_change(self, now: float) -> float | None:
        """When `params` may turn to `up` False by itself, always after `now`; None: not as things are."""


class Cable:
    """A bearer that always works: Ethernet."""

    def __init__(self, params: LinkParams = LAN) -> None:
        self._params = params

    def attach(self, local: Local, now: float) -> Attached | NotAttached:
        return Attached(0.0, WIRED)

    def detach(self, now: float, *, power_cycle: bool = False) -> None:
        pass

    def carrier(self, now: float) -> Carrier | None:
        return WIRED

    def params(self, now: float) -> LinkParams:
        return self._params

    def next_change(self, now: float) -> float | None:
        return None

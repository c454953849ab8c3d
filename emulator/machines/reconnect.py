"""What a charger does about a connection that fails: how long it waits, and when it restarts what may hang.

One machine counts for the boot and for every reconnect alike (zaptec.md section 13).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from emulator.local import Mode
from emulator.profile import Backoff


def reconnect_delay_s(attempt: int, *, car: bool, timing: Backoff, rng: Random) -> float:
    """Seconds to wait before reconnecting (zaptec.md section 13).

    Attempt 0, the first after a loss, waits exactly `first_s`. Attempt n waits first + min(n**2, cap) and a random
    part of up to a third of that, or up to a half (with a lower cap) while a `car` is plugged in.
    """
    if attempt == 0:
        return timing.first_s
    cap_s, spread = (timing.cap_with_car_s, 2) if car else (timing.cap_without_car_s, 3)
    wait_s = timing.first_s + min(attempt * attempt, cap_s)
    return wait_s + rng.random() * wait_s / spread


class Trouble(StrEnum):
    """What a failure says about the way to the hub."""

    MODEM_SILENT = "modem_silent"
    """The modem answers no AT command."""
    TRANSPORT = "transport"
    """Nobody answered through the link, or no TLS connection came about."""
    WIFI_LOST = "wifi_lost"
    """A Wi-Fi link was up and is gone."""
    OTHER = "other"
    """There is no link, or the hub answered and said no."""


@dataclass(frozen=True, slots=True)
class Situation:
    """How the charger stands when something fails."""

    mode: Mode
    """The link in use, or the one that was tried."""
    linked: bool
    """There is carrier and an address."""
    car: bool


@dataclass(frozen=True, slots=True)
class Retry:
    """Wait, then try again."""

    after_s: float


@dataclass(frozen=True, slots=True)
class ReconnectNow:
    """Try again without a wait: the forced client reconnect."""


@dataclass(frozen=True, slots=True)
class RestartLink:
    """Take the link down and bring it up again, now: Wi-Fi, or PPP on LTE."""


@dataclass(frozen=True, slots=True)
class PowerCycleModem:
    """Take the power from the modem for a moment, and bring the link up again, now."""


@dataclass(frozen=True, slots=True)
class Reboot:
    """Start the charger again."""

    reason: str


Action = Retry | ReconnectNow | RestartLink | PowerCycleModem | Reboot


class Reconnect:
    """Counts what failed since the hub last had us, in one life of the charger. Every failure gives one action.

    - The wait grows with the failures of one stage in a row; what failed before it does not count.
    - A Wi-Fi link that was up is tried again after `wifi_lost_s`, each time that it is lost.
    - The errors in all that reach one of `forced_at` force a reconnect at once; on Wi-Fi without a connection, a
      restart of the Wi-Fi.
    - On LTE-M, `ppp_failures` transport failures restart PPP; then the count begins anew, with a limit that is
      `ppp_failures_step` higher until it has reached `ppp_failures_max`: 2, 7, 12 and so on.
    - `modem_timeouts` attempts in a row that the modem left unanswered cost it its power for a moment, as often as
      they come; after `modem_timeouts_max` the charger starts again.
    """

    __slots__ = ("_in_a_row", "_timing", "_transport", "errors", "modem_timeouts", "ppp_limit")

    def __init__(self, timing: Backoff) -> None:
        self._timing = timing
        self._in_a_row: dict[str, int] = {}
        self._transport = 0
        self.errors = 0
        """Failures of any kind since the hub last had us."""
        self.modem_timeouts = 0
        """Attempts in a row that the modem did not answer."""
        self.ppp_limit = timing.ppp_failures
        """Transport failures that the next restart of PPP takes."""

    def passed(self, stage: str) -> None:
        """A stage is through. The first is the link: whatever passes, the modem has answered."""
        self._in_a_row.pop(stage, None)
        self.modem_timeouts = 0

    def online(self) -> None:
        """The hub has us: everything counts from nothing again."""
        self._in_a_row.clear()
        self._transport = self.errors = self.modem_timeouts = 0
        self.ppp_limit = self._timing.ppp_failures

    def failed(self, stage: str, trouble: Trouble, at: Situation, rng: Callable[[], Random]) -> Action:
        """What to do about a stage that failed; `rng` is called when a wait has to be drawn."""
        self._in_a_row[stage] = attempt = self._in_a_row.get(stage, 0) + 1
        self.errors += 1
        self._transport += trouble is Trouble.TRANSPORT and at.mode is Mode.LTE
        self.modem_timeouts = self.modem_timeouts + 1 if trouble is Trouble.MODEM_SILENT else 0
        action = self._of_modem() or self._of_ppp(at) or self._of_errors(at)
        if action is not None:
            return action
        if trouble is Trouble.WIFI_LOST:
            return Retry(self._timing.wifi_lost_s)
        return Retry(reconnect_delay_s(attempt, car=at.car, timing=self._timing, rng=rng()))

    def lost(self, trouble: Trouble) -> Action:
        """What to do about a session that the hub had accepted and that has ended."""
        self.errors += 1
        timing = self._timing
        return Retry(timing.wifi_lost_s if trouble is Trouble.WIFI_LOST else timing.first_s)

    def _of_modem(self) -> Action | None:
        timing, timeouts = self._timing, self.modem_timeouts
        if timeouts >= timing.modem_timeouts_max:
            return Reboot(f"modem silent {timeouts} times")
        return PowerCycleModem() if timeouts and timeouts % timing.modem_timeouts == 0 else None

    def _of_ppp(self, at: Situation) -> Action | None:
        if at.mode is not Mode.LTE or self._transport < self.ppp_limit:
            return None
        self._transport = 0
        if self.ppp_limit < self._timing.ppp_failures_max:
            self.ppp_limit += self._timing.ppp_failures_step
        return RestartLink()

    def _of_errors(self, at: Situation) -> Action | None:
        if self.errors not in self._timing.forced_at:
            return None
        if at.linked:
            return ReconnectNow()
        return RestartLink() if at.mode is Mode.WIFI else None

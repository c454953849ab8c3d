"""When a charger restarts because its hub stays away (zaptec.md section 13)."""

from dataclasses import dataclass

from emulator.profile import Watchdog as Timing


@dataclass(frozen=True, slots=True)
class Bark:
    """It is time to start again. The seconds are how long each has lasted; None where it does not hold."""

    offline_s: float
    link_seen: bool
    no_car_s: float | None
    idle_s: float | None
    """Since a car last charged."""


class Watchdog:
    """One life's watch, from power-on at `now` (monotonic seconds).

    It barks when the hub has been away for `link_seen_s`, or for `link_never_s` if no link has come up in this life,
    and besides no car has been here for `no_car_s` or none has charged for `not_charging_s`. So a charge is never
    broken off, and a link that comes up late makes a hub that has long been away due at once, as in the source. It
    barks once.
    """

    __slots__ = ("_barked", "_idle_since", "_link_seen", "_no_car_since", "_offline_since", "_timing")

    def __init__(self, timing: Timing, now: float) -> None:
        self._timing = timing
        self._barked = False
        self._link_seen = False
        self._offline_since: float | None = now
        self._no_car_since: float | None = now
        self._idle_since: float | None = now

    def see(self, now: float, *, online: bool, link_seen: bool, car: bool, charging: bool) -> Bark | None:
        """Take in how things are now. `now` never goes back."""
        self._link_seen = link_seen
        self._offline_since = _since(self._offline_since, now, holds=not online)
        self._no_car_since = _since(self._no_car_since, now, holds=not car)
        self._idle_since = _since(self._idle_since, now, holds=not charging)
        due = self.deadline()
        if due is None or now < due or self._offline_since is None:
            return None
        self._barked = True
        return Bark(now - self._offline_since, link_seen, _age(self._no_car_since, now), _age(self._idle_since, now))

    def deadline(self) -> float | None:
        """When it barks if nothing changes; None: not as things are."""
        timing = self._timing
        parked = [
            since + wait_s
            for since, wait_s in ((self._no_car_since, timing.no_car_s), (self._idle_since, timing.not_charging_s))
            if since is not None
        ]
        if self._barked or self._offline_since is None or not parked:
            return None
        limit_s = timing.link_seen_s if self._link_seen else timing.link_never_s
        return max(self._offline_since + limit_s, min(parked))


def _since(since: float | None, now: float, *, holds: bool) -> float | None:
    if not holds:
        return None
    return now if since is None else since


def _age(since: float | None, now: float) -> float | None:
    return None if since is None else now - since

"""The access points of a site at work: what breaks on them, and what each is at a moment. Pure."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Annotated, Any, ClassVar

from pydantic import Field

from emulator.faults import Condition, FaultSet
from emulator.local import Ssid
from emulator.net.rounds import Rounds
from emulator.net.table import Share
from emulator.net.wifi_site import CHANNELS_2GHZ, AccessPoint, Channel, Db, Dbm, Name, WifiSite


@dataclass(frozen=True, slots=True)
class ApState:
    """An access point as one charger meets it, and until when that is sure to hold."""

    up: bool
    ssid: str
    channel: int
    password: str | None = field(repr=False)
    """None: one that nobody here knows."""
    full: bool = False
    signal_dbm: float | None = None
    """None: as its place has it."""
    noise_db: float = 0.0
    rate_share: float = 1.0
    """What strangers leave of the rate."""
    other_clients: int = 0
    throttled: bool = False
    until: float = inf

    def opens_to(self, password: str) -> bool:
        """Whether this is its password."""
        return self.password is not None and hmac.compare_digest(password.encode(), self.password.encode())


@dataclass(frozen=True, kw_only=True)
class WifiFault(Condition):
    """Something wrong with one access point, or with all of them."""

    access_point: Name = "*"

    def changes(self, ap: AccessPoint, since: float, now: float) -> dict[str, Any]:
        """The fields of `ApState` that it sets; `until` is when they are others, always after `now`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Reboot(WifiFault):
    """The access point restarts once, or again and again: every client loses its link until it is back."""

    kind: ClassVar[str] = "wifi.ap_reboot"
    every_s: Annotated[float, Field(ge=1, le=1e9)] | None = None

    def changes(self, ap: AccessPoint, since: float, now: float) -> dict[str, Any]:
        rounds = None if self.every_s is None else Rounds(since, self.every_s)
        began = since if rounds is None else rounds.begin(rounds.number(now))
        again = inf if rounds is None else rounds.next_begin(now)
        down = now < began + ap.reboot_s
        return {"up": False, "until": min(began + ap.reboot_s, again)} if down else {"until": again}


@dataclass(frozen=True, kw_only=True)
class Hop(WifiFault):
    """The access point works on another channel. On 12, 13 and in the 5 GHz band no charger sees it (M11)."""

    kind: ClassVar[str] = "wifi.channel"
    channel: Channel = 13

    def changes(self, ap: AccessPoint, since: float, now: float) -> dict[str, Any]:
        return {"channel": self.channel}


@dataclass(frozen=True, kw_only=True)
class Signal(WifiFault):
    """The charger hears the access point with this strength."""

    kind: ClassVar[str] = "wifi.signal"
    dbm: Dbm = -78.0

    def changes(self, ap: AccessPoint, since: float, now: float) -> dict[str, Any]:
        return {"signal_dbm": self.dbm}


@dataclass(frozen=True, kw_only=True)
class Noise(WifiFault):
    """Something disturbs the band: all that counts is how far the signal is above the noise."""

    kind: ClassVar[str] = "wifi.noise"
    db: Db = 20.0

    def changes(self, ap: AccessPoint, since: float, now: float) -> dict[str, Any]:
        return {"noise_db": self.db}


@dataclass(frozen=True, kw_only=True)
class PasswordChanged(WifiFault):
    """Somebody has given the access point another password."""

    kind: ClassVar[str] = "wifi.password_changed"

    def changes(self, ap: AccessPoint, since: float, now: float) -> dict[str, Any]:
        return {"password": None}


@dataclass(frozen=True, kw_only=True)
class SsidChanged(WifiFault):
    """Somebody has given the network another name."""

    kind: ClassVar[str] = "wifi.ssid_changed"
    ssid: Ssid = "renamed"

    def changes(self, ap: AccessPoint, since: float, now: float) -> dict[str, Any]:
        return {"ssid": self.ssid}


@dataclass(frozen=True, kw_only=True)
class Full(WifiFault):
    """The access point takes no more clients; those that it has stay."""

    kind: ClassVar[str] = "wifi.full"

    def changes(self, ap: AccessPoint, since: float, now: float) -> dict[str, Any]:
        return {"full": True}


@dataclass(frozen=True, kw_only=True)
class Strangers(WifiFault):
    """People who know the password use the network: they eat rate, places and the data that somebody pays for (M13)."""

    kind: ClassVar[str] = "wifi.strangers"
    clients: Annotated[int, Field(ge=1, le=1000)] = 5
    rate_share: Share = 0.8
    mb_per_h: Annotated[float, Field(ge=0, le=1e6)] = 1000.0

    def changes(self, ap: AccessPoint, since: float, now: float) -> dict[str, Any]:
        spent_at = self.spent_at(ap, since)
        return {
            "rate_share": 1.0 - self.rate_share,
            "other_clients": self.clients,
            "throttled": now >= spent_at,
            "until": spent_at if now < spent_at else inf,
        }

    def spent_at(self, ap: AccessPoint, since: float) -> float:
        """When they have used up the access point's data budget, which is whole again when they leave."""
        if ap.data_budget_mb is None or not self.mb_per_h:
            return inf
        return since + 3600 * ap.data_budget_mb / self.mb_per_h


FAULTS = (Reboot, Hop, Signal, Noise, PasswordChanged, SsidChanged, Full, Strangers)


class Air:
    """The access points at work. `faults` are those of the site, `rng` gives a random source for a purpose."""

    def __init__(self, site: WifiSite, faults: FaultSet, rng: Callable[[str], Random], now: float) -> None:
        self.access_points = site.access_points
        self.faults = faults
        self._rng = rng
        self._start = now
        self._clients: dict[str, set[str]] = {each.name: set() for each in site.access_points}

    def state(self, ap: AccessPoint, who: str, now: float) -> ApState:
        """What an access point is for `who` now."""
        fields = self._by_itself(ap, now)
        for each in self.faults.lasting(who):
            if isinstance(each.fault, WifiFault) and each.fault.access_point in ("*", ap.name):
                changes = {"until": inf, **each.fault.changes(ap, each.since, now)}
                until = min(fields["until"], each.until, changes["until"])
                fields = {**fields, **changes, "until": until}
        return ApState(**fields)

    def room(self, ap: AccessPoint, state: ApState) -> bool:
        """It takes one more client."""
        return not state.full and (ap.clients_max is None or self.clients(ap, state) < ap.clients_max)

    def clients(self, ap: AccessPoint, state: ApState) -> int:
        """How many it has."""
        return len(self._clients[ap.name]) + state.other_clients

    def join(self, ap: AccessPoint, who: str) -> None:
        """`who` is a client of it from now on."""
        self._clients[ap.name].add(who)

    def leave(self, ap: AccessPoint, who: str) -> None:
        """`who` is no client of it any more."""
        self._clients[ap.name].discard(who)

    def strangers_mb(self, now: float) -> float:
        """What strangers have used of the site's data so far, those that have left not counted."""
        return sum(
            (now - each.since) / 3600 * each.fault.mb_per_h
            for each in self.faults.lasting("*")
            if isinstance(each.fault, Strangers)
        )

    def _by_itself(self, ap: AccessPoint, now: float) -> dict[str, Any]:
        """The fields of an access point without faults."""
        up, channel, until = True, ap.channel, inf
        if ap.choose_channel_s is not None:
            rounds = Rounds(self._start, ap.choose_channel_s)
            number, until = rounds.number(now), rounds.next_begin(now)
            if number > 0:
                channel = self._rng(f"wifi/{ap.name}/channel/{number}").choice(CHANNELS_2GHZ)
        if ap.reboot_every_s is not None:
            rounds = Rounds(self._start, ap.reboot_every_s)
            began, again = rounds.begin(rounds.number(now)), rounds.next_begin(now)
            up = rounds.number(now) == 0 or now >= began + ap.reboot_s
            until = min(until, again if up else began + ap.reboot_s)
        return {"up": up, "ssid": ap.ssid, "channel": channel, "password": ap.password, "until": until}

"""Wi-Fi: one charger's radio among the access points of its site (manual row M11). Pure.

Known are the channels it can see, the scale from -40 to -80 dBm and that -75 dBm is the least it should have. The curve
between signal and quality, and every time, is invented.
"""

from dataclasses import dataclass, replace
from math import inf

from emulator.errors import NetReason
from emulator.local import Local, Mode
from emulator.net.api import Carrier
from emulator.net.bearer import Attached, NotAttached
from emulator.net.curve import Quality, quality_at
from emulator.net.link_faults import RATE_MIN_BPS
from emulator.net.params import DOWN, LinkParams
from emulator.net.wifi_air import Air, ApState
from emulator.net.wifi_site import CHANNELS_2GHZ, CHANNELS_OF_CHARGER, AccessPoint, WifiPlace

SCAN_S = 0.7  # invented: eleven channels, some 60 ms each
SCANS = 3  # invented: so often it looks for its network before it gives up
ASSOCIATE_S = 0.3  # invented: authentication, association and the four messages of the key handshake
REFUSED_S = 0.1  # invented: an access point without room says so at once
HANDSHAKE_TIMEOUT_S = 4.0  # invented: four tries of the first message, one second each
REASSOCIATE_S = 1.5  # invented: it follows its access point to another channel and keeps address and connections

HEARD_DBM = -95.0  # invented: what is weaker is not found at all
WEAKEST_DBM = -80.0  # the end of the manual's scale (M11); that the link ends there is invented
KNEE_DBM = -75.0  # M11: the least signal that a charger should have

QUALITY = (
    Quality(WEAKEST_DBM, 0.01, 0.40, 0.150, 0.300),
    Quality(KNEE_DBM, 0.25, 0.02, 0.012, 0.020),
    Quality(-65.0, 0.70, 0.001, 0.004, 0.004),
    Quality(-60.0, 0.85, 0.0, 0.003, 0.002),
    Quality(-40.0, 1.00, 0.0, 0.002, 0.001),
)
"""Invented, but for where the knee is."""
FADE_S = 0.2  # invented: losses come in fades of this mean length

PHY_BPS = {"b": 11e6, "g": 54e6, "n": 72.2e6}  # IEEE 802.11 clauses 16, 18 and 19: one stream, 20 MHz
GOODPUT = 0.5  # invented: what is left of it for IP packets
STRANGERS_JITTER_S = 0.050  # invented: where strangers take all of the air
STRANGERS_LOSS = 0.02  # invented: likewise

STATUS_FULL = 17  # IEEE 802.11 table 9-80: no room for another station


@dataclass(slots=True)
class _Association:
    """What the charger is a client of."""

    ap: AccessPoint
    local: Local
    channel: int
    deaf_until: float
    """Until then it is on its way to the access point's new channel."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """One access point as this charger meets it now."""

    ap: AccessPoint
    state: ApState
    signal_dbm: float
    noise_db: float

    @property
    def strong(self) -> bool:
        return self.signal_dbm - self.noise_db >= WEAKEST_DBM

    def hidden(self, ssid: str) -> str:
        """Why it is not among the networks that a scan for this one finds; empty if it is."""
        state, name = self.state, f"access point {self.ap.name}"
        if not state.up:
            return f"{name} is restarting"
        if state.ssid != ssid:
            return f"{name} is called {state.ssid!r}"
        if state.channel not in CHANNELS_2GHZ:
            return f"{name} is on channel {state.channel}, in the 5 GHz band"
        if state.channel not in CHANNELS_OF_CHARGER:
            return f"{name} is on channel {state.channel}"
        if self.signal_dbm < HEARD_DBM:
            return f"{name} arrives with {self.signal_dbm:g} dBm"
        return ""


class Wifi:
    """The radio of the charger `who`, a `Bearer`."""

    __slots__ = ("_air", "_changes", "_heard", "_on", "_params", "_place", "_until", "_who")

    def __init__(self, who: str, place: WifiPlace, air: Air) -> None:
        self._who = who
        self._place = place
        self._air = air
        self._on: _Association | None = None
        self._heard: _Heard | None = None
        self._params = DOWN
        self._until = inf
        self._changes = -1

    def attach(self, local: Local, now: float) -> Attached | NotAttached:
        """Scan, choose the strongest access point of the network that has room, and associate."""
        self.detach(now)
        heard = [self._listen(ap, now) for ap in self._air.access_points]
        visible = [each for each in heard if not each.hidden(local.ssid)]
        chosen = self._choose(visible, heard, local)
        if isinstance(chosen, NotAttached):
            return chosen
        self._air.join(chosen.ap, self._who)
        self._on = _Association(chosen.ap, local, chosen.state.channel, now)
        self._changes = -1
        carrier = self.carrier(now)
        assert carrier is not None  # noqa: S101 - just associated
        return Attached(SCAN_S + ASSOCIATE_S, carrier)

    def detach(self, now: float, *, power_cycle: bool = False) -> None:
        """Say goodbye to the access point."""
        if self._on is not None:
            self._air.leave(self._on.ap, self._who)
        self._on, self._heard, self._params = None, None, DOWN

    def carrier(self, now: float) -> Carrier | None:
        """Signal, access point and channel."""
        self._refresh(now)
        if self._on is None or self._heard is None:
            return None
        detail = f"{self._on.local.ssid}, access point {self._on.ap.name}, channel {self._on.channel}"
        return Carrier(Mode.WIFI, self._heard.signal_dbm, detail)

    def params(self, now: float) -> LinkParams:
        """By signal, noise and who else is on the air."""
        self._refresh(now)
        return self._params

    def next_change(self, now: float) -> float | None:
        """When the access point may be another than now."""
        self._refresh(now)
        return None if self._on is None or self._until == inf else self._until

    def _choose(self, visible: list[_Heard], heard: list[_Heard], local: Local) -> _Heard | NotAttached:
        if not visible:
            detail = f"no network {local.ssid!r} on channels {CHANNELS_OF_CHARGER[0]} to {CHANNELS_OF_CHARGER[-1]}"
            cause = "; ".join(each.hidden(local.ssid) for each in heard) or "the site has no access point"
            return NotAttached(SCANS * SCAN_S, NetReason.SSID_NOT_FOUND, detail, cause)
        visible.sort(key=lambda each: -each.signal_dbm)
        strong = [each for each in visible if each.strong]
        if not strong:
            best = visible[0]
            detail = f"{local.ssid!r} arrives with {best.signal_dbm:g} dBm, {WEAKEST_DBM:g} are needed"
            cause = (
                f"access point {best.ap.name} arrives with {best.signal_dbm:g} dBm over {best.noise_db:g} dB of noise"
            )
            return NotAttached(SCANS * SCAN_S, NetReason.WIFI_WEAK, detail, cause)
        roomy = [each for each in strong if self._air.room(each.ap, each.state)]
        if not roomy:
            detail = f"{local.ssid!r} refuses the association, status {STATUS_FULL}"
            counts = [f"access point {each.ap.name} has {self._air.clients(each.ap, each.state)}" for each in strong]
            cause = f"no room: {'; '.join(counts)}"
            return NotAttached(SCAN_S + REFUSED_S, NetReason.WIFI_FULL, detail, cause)
        if not roomy[0].state.opens_to(local.password):
            detail = f"{local.ssid!r} ends the key handshake"
            cause = f"access point {roomy[0].ap.name} has another password"
            return NotAttached(SCAN_S + HANDSHAKE_TIMEOUT_S, NetReason.WIFI_PASSWORD, detail, cause)
        return roomy[0]

    def _listen(self, ap: AccessPoint, now: float) -> _Heard:
        state = self._air.state(ap, self._who, now)
        by_place = self._place.levels_dbm.get(ap.name, self._place.signal_dbm)
        signal_dbm = by_place if state.signal_dbm is None else state.signal_dbm
        return _Heard(ap, state, signal_dbm, self._place.noise_db + state.noise_db)

    def _refresh(self, now: float) -> None:
        """Look at the access point again, if something may have changed since."""
        on = self._on
        if on is None or (now < self._until and self._changes == self._air.faults.changes):
            return
        heard = self._listen(on.ap, now)
        if heard.hidden(on.local.ssid) or not heard.strong or not heard.state.opens_to(on.local.password):
            self.detach(now)
            return
        if heard.state.channel != on.channel:
            on.channel, on.deaf_until = heard.state.channel, now + REASSOCIATE_S
        deaf = now < on.deaf_until
        params = wifi_params(heard.signal_dbm - heard.noise_db, heard.ap, heard.state, self._place.neighbours)
        self._heard = heard
        self._params = replace(params, loss=1.0) if deaf else params
        self._until = min(heard.state.until, on.deaf_until if deaf else inf)
        self._changes = self._air.faults.changes


def wifi_params(signal_dbm: float, ap: AccessPoint, state: ApState, neighbours: int) -> LinkParams:
    """What the air between an access point and a charger does to packets."""
    quality = quality_at(QUALITY, signal_dbm)
    taken = 1.0 - state.rate_share
    rate_bps = PHY_BPS[ap.standard] * GOODPUT * quality.rate_share * state.rate_share / (1 + neighbours)
    loss = max(quality.loss, STRANGERS_LOSS * taken)
    return LinkParams(
        delay_s=quality.delay_s,
        jitter_s=quality.jitter_s + STRANGERS_JITTER_S * taken,
        loss=loss,
        rate_bps=max(RATE_MIN_BPS, min(rate_bps, ap.throttled_bps) if state.throttled else rate_bps),
        burst_s=FADE_S if loss else 0.0,
    )

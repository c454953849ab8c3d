"""LTE-M: one charger's modem and the cell it hears (manual row M10; zaptec.md section 13). Pure.

Known are the rate of LTE-M, that the SIM has to be active, that coverage and garage doors matter, that PPP is restarted
and that a modem which answers no AT command gets a power cycle. Signal curve, thresholds and times are invented. What
is simplified: the operator gives address and DNS servers when PPP starts, and the modem passes them on by DHCP; here
the operator's own DHCP server does, so these messages take the way through the air.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf

from emulator.errors import NetReason
from emulator.faults import FaultSet
from emulator.local import Local, Mode
from emulator.net.api import Carrier
from emulator.net.bearer import Attached, NotAttached
from emulator.net.curve import Quality, quality_at
from emulator.net.lte_cell import LteFault, LtePlace, LteSite, LteState, Marks, Sim
from emulator.net.params import DOWN, LinkParams
from emulator.net.rounds import Rounds

RATE_BPS = 375e3  # LTE Cat M1, half duplex, as the data sheet of the Pro's modem (Quectel BG96) has it
WEAKEST_DBM = -120.0  # invented: below it the modem finds no cell

QUALITY = (
    Quality(WEAKEST_DBM, 0.05, 0.10, 0.800, 0.600),
    Quality(-115.0, 0.30, 0.02, 0.250, 0.150),
    Quality(-105.0, 0.80, 0.005, 0.090, 0.050),
    Quality(-95.0, 1.00, 0.002, 0.060, 0.030),
    Quality(-44.0, 1.00, 0.002, 0.060, 0.030),
)
"""By reference signal power. Invented."""
FADE_S = 0.5  # invented: losses come in fades of this mean length

START_S = 5.0  # invented: the modem after power-on or a power cycle
AT_TIMEOUT_S = 5.0  # invented: an AT command that nobody answers
SIM_READ_S = 0.5  # invented: the modem tells at once that there is no SIM
SEARCH_S = 30.0  # invented: all bands, nothing found
PERIOD_S = 30 * 86_400.0
"""The SIM's data budget is whole again so often. Invented."""


class Lte:
    """The modem of the charger `who`, a `Bearer`. `used_bytes` is what it has carried so far, both ways."""

    __slots__ = (
        "_base_bytes",
        "_changes",
        "_cold",
        "_faults",
        "_local",
        "_marks",
        "_params",
        "_period",
        "_place",
        "_site",
        "_state",
        "_until",
        "_used_bytes",
        "_who",
    )

    def __init__(
        self, who: str, place: LtePlace, site: LteSite, faults: FaultSet, used_bytes: Callable[[], int], now: float
    ) -> None:
        self._who = who
        self._place = place
        self._site = site
        self._faults = faults
        self._used_bytes = used_bytes
        self._period = Rounds(now, PERIOD_S)
        self._base_bytes = (0, 0)
        self._marks = Marks()
        self._cold = True
        self._local: Local | None = None
        self._state: LteState | None = None
        self._params = DOWN
        self._until = inf
        self._changes = -1

    def attach(self, local: Local, now: float) -> Attached | NotAttached:
        """Start the modem, register with the network, start PPP."""
        self.detach(now)
        start_s, self._cold = START_S if self._cold else 0.0, False
        state = self._look(now)
        refusal = self._refusal(state, local)
        if refusal is not None:
            return replace(refusal, after_s=start_s + refusal.after_s)
        self._local = local
        self._marks = replace(self._marks, attached=self._faults.injected, attached_at=now)
        self._changes = -1
        carrier = self.carrier(now)
        assert carrier is not None  # noqa: S101 - just attached
        return Attached(start_s + self._site.attach_s, carrier)

    def detach(self, now: float, *, power_cycle: bool = False) -> None:
        """End PPP, or with `power_cycle` restart the modem."""
        began = self._faults.injected
        if self._local is not None:
            self._marks = replace(self._marks, dialled=began)
        if power_cycle:
            self._marks, self._cold = Marks(powered=began, dialled=began), True
        self._local, self._state, self._params = None, None, DOWN

    def carrier(self, now: float) -> Carrier | None:
        """Signal and operator."""
        self._refresh(now)
        state = self._state
        if self._local is None or state is None:
            return None
        roaming = ", roaming" if state.roaming else ""
        return Carrier(Mode.LTE, state.signal_dbm, f"LTE-M, {state.operator}{roaming}")

    def params(self, now: float) -> LinkParams:
        """By signal; nothing passes while PPP is stuck or the modem hangs."""
        self._refresh(now)
        if self._params.up and self._place.data_budget_mb is not None and self._spent(now):
            rate_bps = min(self._params.rate_bps or inf, self._place.throttled_bps)
            return replace(self._params, rate_bps=rate_bps)
        return self._params

    def next_change(self, now: float) -> float | None:
        """When SIM, cell or modem may be others than now."""
        self._refresh(now)
        return None if self._local is None or self._until == inf else self._until

    def _look(self, now: float) -> LteState:
        place, site = self._place, self._site
        state = LteState(place.sim, site.operator, site.roaming, place.coverage_dbm, place.garage_door_db)
        for each in self._faults.lasting(self._who):
            if isinstance(each.fault, LteFault):
                changes = {"until": inf, **each.fault.changes(state, each, now, self._marks)}
                state = replace(state, **{**changes, "until": min(state.until, each.until, changes["until"])})
        return state

    def _refusal(self, state: LteState, local: Local) -> NotAttached | None:
        """Why the modem does not get to the network; None: it does."""
        attach_s, operator = self._site.attach_s, state.operator
        if state.hung:
            return NotAttached(AT_TIMEOUT_S, NetReason.MODEM_SILENT, "no answer to AT", "the modem hangs")
        if state.sim is Sim.ABSENT:
            return NotAttached(SIM_READ_S, NetReason.SIM_ABSENT, "SIM not inserted", "there is no SIM")
        if state.signal_dbm < WEAKEST_DBM:
            walls = f"{operator} has {state.coverage_dbm:g} dBm in the open, walls and door take {state.walls_db:g} dB"
            return NotAttached(SEARCH_S, NetReason.NO_COVERAGE, "no cell found", walls)
        if state.sim is Sim.INACTIVE:
            return NotAttached(attach_s, NetReason.SIM_INACTIVE, "registration denied", "the SIM is not active")
        if state.roaming and not local.roaming:
            detail = f"only {operator}, which would be roaming"
            return NotAttached(attach_s, NetReason.ROAMING_DENIED, detail, "the installer has not allowed roaming")
        return None

    def _refresh(self, now: float) -> None:
        """Look at SIM, cell and modem again, if something may have changed since."""
        if self._local is None or (now < self._until and self._changes == self._faults.changes):
            return
        state = self._look(now)
        if state.dropped or (not state.hung and self._refusal(state, self._local) is not None):
            self.detach(now)
            return
        params = lte_params(state.signal_dbm)
        self._state = state
        self._params = replace(params, loss=1.0) if state.hung or state.stuck else params
        self._until, self._changes = state.until, self._faults.changes

    def _spent(self, now: float) -> bool:
        """The data budget of this period is used up."""
        number, used = self._period.number(now), self._used_bytes()
        if number != self._base_bytes[0]:
            self._base_bytes = (number, used)
        return used - self._base_bytes[1] > (self._place.data_budget_mb or inf) * 1e6


def lte_params(signal_dbm: float) -> LinkParams:
    """What the air between a cell and a charger does to packets."""
    quality = quality_at(QUALITY, signal_dbm)
    return LinkParams(
        delay_s=quality.delay_s,
        jitter_s=quality.jitter_s,
        loss=quality.loss,
        rate_bps=RATE_BPS * quality.rate_share,
        burst_s=FADE_S,
    )

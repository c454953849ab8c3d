"""What a power line does to HomePlug signals: conductors, attenuation and noise, as numbers. The curves are invented.

Known are the wiring, the 90 m of cable and the 10 Mbit/s that all nodes of a gateway share (manual row M14; zaptec.md
section 3).
"""

from dataclasses import replace
from enum import StrEnum

from emulator.net.params import LinkParams

RATE_BPS = 10e6  # HomePlug Green PHY (zaptec.md section 3)
CABLE_MAX_M = 90.0  # zaptec.md section 3

MARGIN_DB = 30.0  # invented: signal over the noise of a quiet line, next to the gateway
CABLE_DB_PER_M = MARGIN_DB / 2 / CABLE_MAX_M  # invented: the longest cable allowed costs half of it
TOO_LONG_DB_PER_M = 1.0  # invented: each metre more costs this
NEEDED_DB = 5.0  # invented: below it there is no link
FULL_RATE_DB = 15.0  # invented: with so much margin the line runs at its full rate

DELAY_S = 0.004  # invented: beacon period and bridging
JITTER_S = 0.006  # invented
LEAST_RATE = 0.1  # invented: share of the full rate at NEEDED_DB
LEAST_LOSS = 0.0005  # invented
MOST_LOSS = 0.25  # invented: at NEEDED_DB
BURST_S = 0.02  # invented: a half wave of the mains, as dimmers and switched supplies disturb


class Grid(StrEnum):
    """How the site is fed."""

    TN = "tn"
    IT = "it"


class Pair(StrEnum):
    """The two conductors that a PLC module couples to."""

    L1_N = "L1+N"
    L2_N = "L2+N"
    L3_N = "L3+N"
    L1_L3 = "L1+L3"
    L1_L2 = "L1+L2"
    L2_L3 = "L2+L3"


PAIR_OF_GRID = {Grid.TN: Pair.L1_N, Grid.IT: Pair.L1_L3}
"""M14: L1 and N, or on an IT grid the two phases that feed those terminals."""


def margin_db(cable_m: float, noise_db: float) -> float:
    """Signal over noise at the end of `cable_m` metres, where it is `noise_db` noisier than on a quiet line."""
    allowed_m = min(cable_m, CABLE_MAX_M)
    return MARGIN_DB - allowed_m * CABLE_DB_PER_M - (cable_m - allowed_m) * TOO_LONG_DB_PER_M - noise_db


def line_params(margin: float) -> LinkParams:
    """The line at this margin, all of it; down below `NEEDED_DB`."""
    if margin < NEEDED_DB:
        return LinkParams(up=False)
    quality = min(1.0, (margin - NEEDED_DB) / (FULL_RATE_DB - NEEDED_DB))
    return LinkParams(
        delay_s=DELAY_S,
        jitter_s=JITTER_S,
        loss=MOST_LOSS * (LEAST_LOSS / MOST_LOSS) ** quality,
        rate_bps=RATE_BPS * max(quality, LEAST_RATE),
        burst_s=BURST_S,
    )


def in_series(near: LinkParams, far: LinkParams) -> LinkParams:
    """What two links do to a packet that takes both."""
    rates = [rate for rate in (near.rate_bps, far.rate_bps) if rate is not None]
    return replace(
        near,
        delay_s=near.delay_s + far.delay_s,
        jitter_s=near.jitter_s + far.jitter_s,
        loss=1 - (1 - near.loss) * (1 - far.loss),
        rate_bps=min(rates, default=None),
        mtu_bytes=min(near.mtu_bytes, far.mtu_bytes),
        burst_s=max(near.burst_s, far.burst_s),
        up=near.up and far.up,
    )

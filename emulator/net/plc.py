"""PLC: the chargers of a site that reach a gateway over the mains (manual rows M12-M14). Pure.

Known are who can join (conductors, key, noise, number of nodes), the shared rate, and that several gateways make
chargers swap between their networks. How often they swap, and how long joining takes, is invented.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from random import Random
from typing import NamedTuple

from emulator.errors import NetReason
from emulator.faults import Fault, FaultSet
from emulator.local import Local, Mode
from emulator.net.api import Carrier
from emulator.net.bearer import Attached, NotAttached
from emulator.net.link_faults import RATE_MIN_BPS
from emulator.net.params import DOWN, LinkParams
from emulator.net.plc_gateway import NODES_MAX, Gateway, Uplink
from emulator.net.plc_line import NEEDED_DB, PAIR_OF_GRID, Pair, in_series, line_params, margin_db
from emulator.net.plc_site import (
    SECOND,
    Full,
    GatewayDown,
    KeyChanged,
    Noise,
    Phases,
    PlcGateway,
    PlcPlace,
    PlcSite,
    SecondGateway,
)

JOIN_S = 3.0  # invented: discovery and key exchange
SEARCH_S = 10.0  # invented: how long a modem looks for a network before it gives up
SWAP_MEAN_S = 300.0  # invented: mean time with one gateway while there are several (M12)
SWAP_LEAST_S = 60.0  # invented


class Hurdle(NamedTuple):
    """What keeps a node off a gateway: the reason, what its modem can tell, and what is really wrong."""

    reason: NetReason
    detail: str
    cause: str


HURDLES = (
    NetReason.PLC_NO_GATEWAY,
    NetReason.PLC_WIRING,
    NetReason.PLC_NOISE,
    NetReason.PLC_KEY,
    NetReason.PLC_FULL,
)
"""In the order in which a node meets them on its way into a network."""


class PowerLines:
    """The lines of one site. `uplink_of` gives a gateway its way to the router, `faults` are those of the site."""

    def __init__(self, site: PlcSite, faults: FaultSet, uplink_of: Callable[[PlcGateway], Uplink]) -> None:
        self._site = site
        self._faults = faults
        self._uplink_of = uplink_of
        self._gateways = tuple(self._gateway(spec) for spec in site.gateways)
        self._second: Gateway | None = None

    def staff(self, serial: str, uplink: Uplink) -> bool:
        """The charger `serial` runs in this world: if it is a gateway, this is its uplink. False: it is none."""
        found = [gateway for gateway in self._gateways if gateway.name == serial]
        for gateway in found:
            gateway.uplink = uplink
        return bool(found)

    def gateways(self, serial: str) -> tuple[Gateway, ...]:
        """All gateways that there are for this charger now, at work or not."""
        if not self._gateways or not _is_doubled(self._faults.about(serial)):
            return self._gateways
        if self._second is None:
            self._second = self._gateway(self._site.gateways[0].model_copy(update={"name": SECOND, "other_nodes": 0}))
        return (*self._gateways, self._second)

    def next_change(self, serial: str) -> float | None:
        """When a gateway may vanish by itself; None: not as things are."""
        ends = [each.until for each in self._faults.lasting(serial) if isinstance(each.fault, SecondGateway)]
        return min(ends, default=None)

    def margin_db(self, serial: str, place: PlcPlace) -> float:
        """Signal over noise at a charger."""
        noise = sum(fault.db for fault in self._faults.about(serial) if isinstance(fault, Noise))
        return margin_db(place.cable_m, place.noise_db + noise)

    def hurdle(self, gateway: Gateway, serial: str, place: PlcPlace, key: str, now: float) -> Hurdle | None:
        """The first thing that keeps this charger off this gateway now; None: it can be its node."""
        faults = self._faults.about(serial)
        if gateway is self._second and not _is_doubled(faults):
            return Hurdle(NetReason.PLC_NO_GATEWAY, "no gateway is heard", f"{gateway.name} is no gateway any more")
        if self._unpowered(gateway, faults):
            return Hurdle(NetReason.PLC_NO_GATEWAY, "no gateway is heard", f"{gateway.name} has no power")
        if not gateway.uplink.params(now).up:
            why = f"{gateway.name} {gateway.uplink.why_down()}"
            return Hurdle(NetReason.PLC_NO_GATEWAY, "no gateway is heard", why)
        pair = next((fault.phases for fault in faults if isinstance(fault, Phases)), place.phases or self._pair())
        if pair is not gateway.pair:
            wired = f"the charger is on {pair}, {gateway.name} on {gateway.pair}"
            return Hurdle(NetReason.PLC_WIRING, "no gateway is heard on these conductors", wired)
        margin = self.margin_db(serial, place)
        if margin < NEEDED_DB:
            weak = f"{margin:.0f} dB over the noise on {place.cable_m:g} m of cable, {NEEDED_DB:g} dB are needed"
            return Hurdle(NetReason.PLC_NOISE, "too much noise, or too long a cable", weak)
        changed = gateway.encrypted and any(isinstance(fault, KeyChanged) for fault in faults)
        if changed or not gateway.knows(key):
            detail = f"{gateway.name} does not take the network key"
            return Hurdle(NetReason.PLC_KEY, detail, f"charger and {gateway.name} hold different keys")
        closed = any(isinstance(fault, Full) for fault in faults) and not gateway.has(serial)
        if closed or not gateway.takes(serial):
            return Hurdle(NetReason.PLC_FULL, f"{gateway.name} takes no more nodes", f"{NODES_MAX} are its limit")
        return None

    def _unpowered(self, gateway: Gateway, faults: list[Fault]) -> bool:
        return any(isinstance(fault, GatewayDown) and fault.gateway in ("*", gateway.name) for fault in faults)

    def _pair(self) -> Pair:
        return PAIR_OF_GRID[self._site.grid]

    def _gateway(self, spec: PlcGateway) -> Gateway:
        return Gateway(spec, spec.phases or self._pair(), self._uplink_of(spec))


def _is_doubled(faults: list[Fault]) -> bool:
    return any(isinstance(fault, SecondGateway) for fault in faults)


class PlcModem:
    """The PLC module of one charger, a `Bearer`.

    `rng` gives a random source for a purpose: which of several gateways it takes, and for how long.
    """

    __slots__ = ("_draws", "_gateway", "_key", "_left", "_lines", "_place", "_rng", "_serial", "_swap_at")

    def __init__(self, serial: str, place: PlcPlace, lines: PowerLines, rng: Callable[[str], Random]) -> None:
        self._serial = serial
        self._place = place
        self._lines = lines
        self._rng = rng
        self._draws = 0
        self._key = ""
        self._gateway: Gateway | None = None
        self._left: Gateway | None = None
        """The gateway that it swapped away from."""
        self._swap_at: float | None = None

    def attach(self, local: Local, now: float) -> Attached | NotAttached:
        self.detach(now)
        self._key = local.plc_key
        open_ = self._open(now)
        if not open_:
            hurdle = self._hurdle(now)
            return NotAttached(SEARCH_S, hurdle.reason, hurdle.detail, hurdle.cause)
        others = [gateway for gateway in open_ if gateway is not self._left] or open_
        self._gateway = others[0] if len(others) == 1 else self._draw().choice(others)
        self._gateway.add(self._serial)
        self._swap_at = self._next_swap(now + JOIN_S) if len(open_) > 1 else None
        carrier = self.carrier(now)
        assert carrier is not None  # noqa: S101 - just joined
        return Attached(JOIN_S, carrier)

    def detach(self, now: float, *, power_cycle: bool = False) -> None:
        if self._gateway is not None:
            self._gateway.remove(self._serial)
            self._left, self._gateway = self._gateway, None
        if power_cycle:
            self._left = None

    def carrier(self, now: float) -> Carrier | None:
        gateway = self._gateway
        if gateway is None or not self.params(now).up:
            return None
        margin = self._lines.margin_db(self._serial, self._place)
        shared = f"{gateway.node_count} node{'s' if gateway.node_count > 1 else ''}"
        return Carrier(Mode.PLC, None, f"{gateway.name}, {margin:.0f} dB over the noise, {shared}")

    def params(self, now: float) -> LinkParams:
        gateway = self._gateway
        if gateway is None or self._hurdle_of(gateway, now) is not None or self._swaps(now):
            return DOWN
        line = line_params(self._lines.margin_db(self._serial, self._place))
        way = in_series(line, gateway.uplink.params(now))
        share_bps = None if way.rate_bps is None else max(RATE_MIN_BPS, way.rate_bps / gateway.node_count)
        return replace(way, rate_bps=share_bps)

    def next_change(self, now: float) -> float | None:
        if self._gateway is None:
            return None
        if len(self._open(now)) < 2:
            self._swap_at = None
        elif self._swap_at is None:
            self._swap_at = self._next_swap(now)
        times = (self._swap_at, self._lines.next_change(self._serial), self._gateway.uplink.next_change(now))
        return min((time for time in times if time is not None and now < time < inf), default=None)

    def _swaps(self, now: float) -> bool:
        """It is time to go to another gateway, and there is one."""
        if self._swap_at is None or now < self._swap_at:
            return False
        return len(self._open(now)) > 1

    def _next_swap(self, now: float) -> float:
        return now + SWAP_LEAST_S + self._draw().expovariate(1 / (SWAP_MEAN_S - SWAP_LEAST_S))

    def _draw(self) -> Random:
        self._draws += 1
        return self._rng(f"{self._serial}/plc/{self._draws}")  # made when needed: 2.5 KiB each, and few need it

    def _open(self, now: float) -> list[Gateway]:
        """The gateways that it could be a node of now."""
        gateways = self._lines.gateways(self._serial)
        return [gateway for gateway in gateways if self._hurdle_of(gateway, now) is None]

    def _hurdle(self, now: float) -> Hurdle:
        """What keeps it off the gateway that it comes closest to."""
        hurdles = [self._hurdle_of(gateway, now) for gateway in self._lines.gateways(self._serial)]
        met = [hurdle for hurdle in hurdles if hurdle is not None]
        none = Hurdle(NetReason.PLC_NO_GATEWAY, "no gateway is heard", "the site has no gateway")
        return max(met, key=lambda hurdle: HURDLES.index(hurdle.reason), default=none)

    def _hurdle_of(self, gateway: Gateway, now: float) -> Hurdle | None:
        return self._lines.hurdle(gateway, self._serial, self._place, self._key, now)

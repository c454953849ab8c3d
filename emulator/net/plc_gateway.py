"""PLC gateways: chargers that bridge a PLC network to their own Wi-Fi (manual row M12), and what stands behind them."""

from collections.abc import Callable
from hmac import compare_digest
from typing import Protocol

from emulator.local import Local, Mode
from emulator.net.api import Carrier
from emulator.net.bearer import Attached, Bearer, NotAttached
from emulator.net.params import DOWN, LinkParams
from emulator.net.plc_line import Pair
from emulator.net.plc_site import PlcGateway

NODES_MAX = 30  # "about 30 chargers per PLC gateway module" (zaptec.md section 3)

UNSHARED = {
    Mode.LTE: "is on LTE-M, which a charger cannot share",  # M10
    Mode.PLC: "is a node of another gateway itself",
}
"""Links that no gateway can serve from, and why."""


class Uplink(Protocol):
    """The way from a gateway to the site's router."""

    def params(self, now: float) -> LinkParams:
        """What it does to packets now."""

    def next_change(self, now: float) -> float | None:
        """When it may be lost by itself; None: not as things are."""

    def why_down(self) -> str:
        """Why it does not serve, for people."""


class StandingUplink:
    """The uplink of a gateway that is not part of this world: always on, back as soon as its link can be.

    `bearer` is its own way out, used with `local`.
    """

    def __init__(self, bearer: Bearer, mode: Mode, local: Local) -> None:
        self._bearer = bearer
        self._mode = mode
        self._local = local
        self._failed = "is off"

    def params(self, now: float) -> LinkParams:
        if self._mode in UNSHARED:
            return DOWN
        params = self._bearer.params(now)
        if params.up:
            return params
        result = self._bearer.attach(self._local, now)
        if isinstance(result, NotAttached):
            self._failed = f"has no {self._mode.value} itself: {result.reason.value}"
            return DOWN
        return self._bearer.params(now)

    def next_change(self, now: float) -> float | None:
        return None if self._mode in UNSHARED else self._bearer.next_change(now)

    def why_down(self) -> str:
        return UNSHARED.get(self._mode, self._failed)


class ChargerUplink:
    """The uplink of a gateway that is a charger of this world: the link that this charger has up, while it has one."""

    def __init__(self) -> None:
        self._bearer: Bearer | None = None
        self._mode = Mode.WIFI

    def params(self, now: float) -> LinkParams:
        return DOWN if self._bearer is None or self._mode in UNSHARED else self._bearer.params(now)

    def next_change(self, now: float) -> float | None:
        return None if self._bearer is None else self._bearer.next_change(now)

    def why_down(self) -> str:
        return "is off, or has no link" if self._bearer is None else UNSHARED.get(self._mode, "has lost its link")

    def lends(self, bearer: Bearer) -> bool:
        """This is the link that it uses."""
        return self._bearer is bearer

    def lend(self, bearer: Bearer | None, mode: Mode) -> None:
        """The charger uses this link from now on; None: no link."""
        self._bearer, self._mode = bearer, mode


class LentBearer:
    """A bearer of the charger that is the gateway: lends its link to `uplink` while it is attached.

    `lost` is called when that is over: the nodes must look at their links.
    """

    def __init__(self, bearer: Bearer, mode: Mode, uplink: ChargerUplink, lost: Callable[[], None]) -> None:
        self._bearer = bearer
        self._mode = mode
        self._uplink = uplink
        self._lost = lost

    def attach(self, local: Local, now: float) -> Attached | NotAttached:
        result = self._bearer.attach(local, now)
        if isinstance(result, Attached):
            self._uplink.lend(self._bearer, self._mode)
        return result

    def detach(self, now: float, *, power_cycle: bool = False) -> None:
        self._bearer.detach(now, power_cycle=power_cycle)
        if self._uplink.lends(self._bearer):
            self._uplink.lend(None, self._mode)
            self._lost()

    def carrier(self, now: float) -> Carrier | None:
        return self._bearer.carrier(now)

    def params(self, now: float) -> LinkParams:
        return self._bearer.params(now)

    def next_change(self, now: float) -> float | None:
        return self._bearer.next_change(now)


class Gateway:
    """One gateway at work: its nodes and its uplink. `pair` are the conductors that it is on."""

    def __init__(self, spec: PlcGateway, pair: Pair, uplink: Uplink) -> None:
        self.name = spec.name
        self.pair = pair
        self.uplink = uplink
        self._spec = spec
        self._nodes: dict[str, None] = {}

    @property
    def node_count(self) -> int:
        """Nodes that share its line."""
        return len(self._nodes) + self._spec.other_nodes

    @property
    def encrypted(self) -> bool:
        """Nodes need its key."""
        return self._spec.encrypted

    def knows(self, key: str) -> bool:
        """This key opens its network."""
        return not self.encrypted or compare_digest(key.encode(), self._spec.key.encode())

    def has(self, node: str) -> bool:
        """This node has joined."""
        return node in self._nodes

    def takes(self, node: str) -> bool:
        """There is a place for this node."""
        return self.has(node) or self.node_count < NODES_MAX

    def add(self, node: str) -> None:
        """A node has joined."""
        self._nodes[node] = None

    def remove(self, node: str) -> None:
        """A node has left."""
        self._nodes.pop(node, None)

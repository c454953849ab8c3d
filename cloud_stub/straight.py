"""Services on a real network: every address stands for itself, on its true port."""

from collections.abc import Mapping
from typing import Any

from emulator.local import Mode
from emulator.net.api import Address
from emulator.net.plan import LoopbackPlan, Real
from emulator.wire.address import BROADCAST


class StraightPlan(LoopbackPlan):
    """The plan that changes nothing. Whoever uses it binds to addresses that its machine has."""

    def __init__(self) -> None:
        super().__init__(0)

    def exists(self, host: str) -> bool:
        """The network will tell."""
        return True

    def real(self, to: Address, mode: Mode = Mode.ETHERNET) -> Real | None:
        """The same; broadcasts go nowhere."""
        return None if to.host == BROADCAST else (to.host, to.port)

    def binding(self, local: Address) -> Real:
        """The same."""
        return local.host, local.port

    def logical(self, host: str, port: int) -> Address:
        """The same."""
        return Address(host, port)

    def to_json(self) -> dict[str, Any]:
        """As another process may have it."""
        return {"straight": True}


def plan_from_json(data: Mapping[str, Any]) -> LoopbackPlan:
    """The inverse of `to_json` of either plan. UsageError for anything else."""
    return StraightPlan() if data.get("straight") is True else LoopbackPlan.from_json(data)

"""What tests about trust bundles do to a charger, and what they look at afterwards."""

from collections.abc import Callable
from typing import Any

from cloud_stub.worlds import SimWorld
from emulator.world import World
from tests.life import SERIAL, Life

HOUR_S = 3600.0


async def online(life: Life) -> None:
    await life.until("device.online")


def lost(life: Life) -> None:
    """Take the bundle out of flash; at the start of a story the power is still off."""
    life.charger.inject({"kind": "device.bundle_lost"})


def breaking(**fault: Any) -> Callable[[World], None]:
    def strike(world: World) -> None:
        world.inject(fault, where="test")

    return strike


def asked(life: Life) -> list[dict[str, Any]]:
    """What chargers said of themselves at the bundle server."""
    return [seen["data"] for seen in life.world.history("bundle") if seen["request"] == "POST /bundle"]


def told_version(life: Life) -> str:
    """The last 823 that the cloud heard."""
    assert isinstance(life.world, SimWorld)
    return life.world.cloud.store.device(SERIAL).observations[823].value


async def lose_the_session(life: Life) -> None:
    """The link is away for a moment; the next login comes after the first wait."""
    await life.inject(kind="link.down", for_s=1.0)
    await life.until("device.offline")

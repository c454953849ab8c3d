"""``python -m emulator run``: one charger on loopback until Ctrl-C, with every event on the terminal."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from emulator.cloud_process import cloud_at
from emulator.device.car import Car
from emulator.device.charger import Charger
from emulator.flash import FileFlash
from emulator.profile import load_profile
from emulator.remote import loopback_env
from emulator.trace import TraceEvent

SERIAL_PREFIX = "ZPR"
SHUT_DOWN_S = 5.0  # invented; it takes about two when everything answers


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What ``python -m emulator run`` was asked for."""

    control: str | None = None
    """Control URL of a running cloud; None: one is started beside us."""
    bus: str | None = None
    """The bus of a cloud that is started; None: its default."""
    serial: str | None = None
    """None: any."""
    profile: str = "pro"
    flash: Path | None = None
    """Where the charger's flash is kept; None: it forgets everything when it ends."""
    plug_in: bool = False
    seed: int = 1


async def run_charger(options: RunOptions, see: Callable[[TraceEvent], None]) -> None:
    """Produce the charger, power it on and let it live. Ends by cancellation, and then in order: its last event is
    ``device.shut_down`` with what went over its link. UsageError: no cloud, bad profile."""
    profile = load_profile(options.profile)
    flash = FileFlash(options.flash) if options.flash is not None else None
    async with cloud_at(options.control, bus=options.bus) as cloud:
        number = Random().randrange(10**6)  # noqa: S311 - a serial number is no secret
        made = await cloud.produce_one(options.serial or f"{SERIAL_PREFIX}{number:06d}")
        now = asyncio.get_running_loop().time
        spec = cloud.spec(made, profile)
        charger = Charger(
            spec, loopback_env(cloud.plan, spec, (see,), now, seed=str(options.seed), flash=cloud.flash(flash))
        )
        if options.plug_in:
            charger.plug_in(Car())
        await _live(charger)


async def _live(charger: Charger) -> None:
    """Run the charger; a cancellation shuts it down in order, which takes `SHUT_DOWN_S` at most."""
    life = asyncio.create_task(charger.run())
    try:
        await asyncio.shield(life)
    except asyncio.CancelledError:
        with suppress(TimeoutError):
            async with asyncio.timeout(SHUT_DOWN_S):
                await charger.shut_down()
        raise
    finally:
        life.cancel()
        await asyncio.wait([life])

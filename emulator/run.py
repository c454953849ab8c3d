"""``python -m emulator run``: one charger on loopback or a network interface until Ctrl-C, with every event shown."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from emulator.bench.address import BenchAt
from emulator.bench.serve import BenchServer
from emulator.clock import system_utc
from emulator.cloud_process import cloud_at
from emulator.device.car import Car
from emulator.device.charger import Charger
from emulator.env import Spec
from emulator.errors import UsageError
from emulator.flash.api import Flash
from emulator.flash.store import Layout, MemoryFlash, file_flash
from emulator.hub_account import HubAccount
from emulator.net.api import Host
from emulator.net.capture import NO_FILES, Capture, CaptureFiles, capturing
from emulator.net.loopback import LoopbackHost
from emulator.on_interface import InterfaceAt, cabled, charger_host
from emulator.profile import Profile, load_profile
from emulator.remote import charger_env, mac_of
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
    bench: BenchAt | None = None
    """Where the charger can be handled over HTTP; None: nowhere."""
    interface: InterfaceAt | None = None
    """The network interface that the charger hangs on; None: loopback."""
    account: HubAccount | None = None
    """Its account at a hub that is none of ours; None: it is made for the cloud."""
    files: CaptureFiles = NO_FILES
    """Where its traffic is recorded."""


async def run_charger(
    options: RunOptions, see: Callable[[TraceEvent], None], say: Callable[[dict[str, Any]], None]
) -> None:
    """Produce the charger, power it on and let it live. Ends by cancellation, and then in order: its last event is
    ``device.shut_down`` with what went over its link. `say` gets a line once its bench can be used, if it has one.
    UsageError: no cloud, bad profile, no such interface or not the rights to use it."""
    async with AsyncExitStack() as stack:
        capture = stack.enter_context(capturing(options.files))
        bench = None
        if options.bench is not None:
            bench = stack.enter_context(closing(BenchServer(options.bench, system_utc, str(options.seed))))
        spec, flash, host = await _connected(options, load_profile(options.profile), stack, capture)
        env = charger_env(
            host,
            spec,
            (see, *([] if bench is None else [bench.see]), *([] if capture is None else [capture])),
            asyncio.get_running_loop().time,
            seed=str(options.seed),
            flash=flash,
            around=lambda host: _before(host, bench, capture if options.interface is None else None),
            keylog=None if capture is None else capture.keylog,
        )
        charger = Charger(spec, env)
        if options.plug_in:
            charger.plug_in(Car())
        if bench is not None:
            await stack.enter_async_context(bench.serving(charger))
            say({"ready": True, "serial": spec.serial, "bench": bench.url})
        await _live(charger)


def _before(host: Host, bench: BenchServer | None, capture: Capture | None) -> Host:
    """The host with what stands before it: the link that a bench can break, and whoever draws what passes."""
    shaped = host if bench is None else bench.around(host)
    return shaped if capture is None else capture.around(shaped, system_utc)


async def _connected(
    options: RunOptions, profile: Profile, stack: AsyncExitStack, capture: Capture | None
) -> tuple[Spec, Flash, Host]:
    """The charger as it is made for its cloud, its flash, and its place on the network, which ends with the stack."""
    layout = Layout(slot_bytes=profile.firmware.slot_bytes)
    flash: Flash = MemoryFlash(layout)
    if options.flash is not None:
        flash = stack.enter_context(file_flash(options.flash, layout))
    account, interface = options.account, options.interface
    if account is not None:
        spec = account.spec(account.profile(profile))
        others = {"--control": options.control, "--bus": options.bus, "--serial": options.serial}
        for name in (name for name, value in others.items() if value is not None):
            raise UsageError(f"{name}: is of no use with --hub")
        if interface is None:
            raise UsageError("--hub: needs --interface; a hub that is none of ours is not on loopback")
        return cabled(spec), flash, stack.enter_context(charger_host(interface, spec.serial, capture))
    if interface is not None and options.control is None:
        raise UsageError(f"--interface {interface.name}: needs a cloud on that network, --control URL or --hub HOST")
    cloud = await stack.enter_async_context(cloud_at(options.control, bus=options.bus))
    number = Random().randrange(10**6)  # noqa: S311 - a serial number is no secret
    spec = cloud.spec(await cloud.produce_one(options.serial or f"{SERIAL_PREFIX}{number:06d}"), profile)
    if interface is None:
        return spec, cloud.flash(flash), LoopbackHost(cloud.loopback, spec.serial, mac_of(spec.serial))
    if cloud.plan is not None:
        raise UsageError(f"--interface {interface.name}: the cloud at {options.control} is on loopback")
    return cabled(spec), cloud.flash(flash), stack.enter_context(charger_host(interface, spec.serial, capture))


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

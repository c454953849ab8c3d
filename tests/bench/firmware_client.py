"""One firmware update of a charger whose flash is a file: how long it takes, and how much memory beyond what it had."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from emulator.device.update import Installed, update_firmware
from emulator.flash.store import FlashStore, Layout, file_flash
from emulator.net.http import https_client
from emulator.net.loopback import LoopbackHost
from emulator.net.tls import client_context
from emulator.remote import charger_env
from emulator.slots import Slots
from emulator.wire.firmware_keys import FirmwareKeys
from emulator.wire.manifest import BLOCK_BYTES
from tests.bench.firmware_job import UpdateJob
from tests.bench.login_job import Stopwatch, done

HOST = ".200.1"  # the site's DHCP server lends it to nobody: there are no other chargers
FORGET_PEAK = "5"  # proc(5), /proc/[pid]/clear_refs


async def _run(job: UpdateJob) -> None:
    spec, plan = job.cloud.spec(job.made, job.profile), job.cloud.loopback
    firmware = job.profile.firmware
    with file_flash(job.directory, Layout(slot_bytes=firmware.slot_bytes)) as flash:
        host = LoopbackHost(plan, spec.serial, address=plan.prefix + HOST)
        env = charger_env(host, spec, (), asyncio.get_running_loop().time, seed="1", flash=flash)
        env.rtc.set(datetime.now(UTC), source="ntp")
        slots = Slots(flash, firmware)
        slots.boot()
        _leave_an_old_image(flash, slots.blob(slots.inactive), firmware.slot_bytes)

        async def resolve(name: str) -> str:
            return job.addresses[name]

        async with https_client(
            env.host,
            resolve=resolve,
            context=client_context(job.roots_pem),
            rtc=env.rtc,
            timeout_s=firmware.http_timeout_s,
        ) as http:
            before_kib = _forget_peak()
            watch = Stopwatch()
            result = await update_firmware(spec, env, http, slots, FirmwareKeys((spec.firmware_key_pem,)))
            took = watch.read()
        if not isinstance(result, Installed):
            raise SystemExit(f"{spec.serial}: {result.reason.value}: {result.detail}")
        done({**took, "peak_growth_kib": _peak_kib() - before_kib})


def _leave_an_old_image(flash: FlashStore, name: str, size_bytes: int) -> None:
    """Have the slot hold what an update before has left there, as it always is but for the first: it must be erased."""
    for offset in range(0, size_bytes, BLOCK_BYTES):
        flash.blob_write(name, offset, bytes(BLOCK_BYTES))
    flash.blob_erase(name)


def _forget_peak() -> float:
    """Let the peak of memory begin anew; what is resident now."""
    Path("/proc/self/clear_refs").write_text(FORGET_PEAK, encoding="ascii")
    return _peak_kib()


def _peak_kib() -> float:
    """The most memory that was resident at once since the peak was forgotten."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(UpdateJob.read()))

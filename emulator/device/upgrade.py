"""A firmware update as the charger lives through it: log, install, reboot (M6, zaptec.md section 14)."""

from collections.abc import Awaitable, Callable

import httpx

from emulator.boot.state import Boot
from emulator.device.update import Installed, Rejected
from emulator.device.uplink import Uplink
from emulator.env import Env, Spec
from emulator.net.http import https_client
from emulator.net.tls import client_context
from emulator.slots import Slots
from emulator.wire.messages import EventType, Observation, event, observation

UpdateFirmware = Callable[[Spec, Env, httpx.AsyncClient, Slots], Awaitable[Installed | Rejected]]
"""`device.update.update_firmware`."""

SECURITY_LOG = 830


async def upgrade(boot: Boot, uplink: Uplink, update_firmware: UpdateFirmware) -> bool:
    """Run an update and tell the cloud how it ended. True: installed, a reboot starts it; False: all stays as it is."""
    spec, env = boot.spec, boot.env
    async with https_client(
        env.host,
        resolve=boot.lookup.address_of,
        context=client_context(spec.roots_pem),
        rtc=env.rtc,
        timeout_s=spec.profile.firmware.http_timeout_s,
    ) as http:
        result = await update_firmware(spec, env, http, boot.slots)
    match result:
        case Installed(version):
            await _log(env, uplink, "Accepted", EventType.INFORMATION, f"installed {version}")
            return True
        case Rejected(reason, detail):
            await _log(env, uplink, "Rejected", EventType.WARNING, f"{reason.value}: {detail}")
            return False


async def _log(env: Env, uplink: Uplink, word: str, kind: EventType, text: str) -> None:
    """Observation 830, in a form that is invented, and a line of the log."""
    now = env.rtc.now()
    value = f'{{"Name":"OTA","Description":"{word}"}}'
    await uplink.send_or_keep(observation(Observation(SECURITY_LOG, value, now)))
    await uplink.send(event(kind, f"[ota_metrics] @{now:%Y-%m-%dT%H:%M:%SZ} {text}"))

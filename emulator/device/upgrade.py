"""A firmware update as the charger lives through it: log, install, reboot (M6, zaptec.md section 14)."""

from collections.abc import Awaitable, Callable

import httpx

from emulator.boot.outcome import WHY_OF_NET
from emulator.boot.state import Boot
from emulator.boot.trust import doubt_roots
from emulator.device.update import Installed, Rejected
from emulator.device.uplink import Uplink
from emulator.env import Env, Spec
from emulator.errors import NetError, NetReason
from emulator.net.http import https_client
from emulator.net.meter import Purpose
from emulator.net.metered import host_for
from emulator.net.tls import client_context
from emulator.slots import Slots
from emulator.wire.messages import EventType, Observation, event, observation

UpdateFirmware = Callable[[Spec, Env, httpx.AsyncClient, Slots], Awaitable[Installed | Rejected]]
"""`device.update.update_firmware`."""

SECURITY_LOG = 830

UNVERIFIED = frozenset(
    {NetReason.TLS_UNKNOWN_CA, NetReason.TLS_WRONG_HOST, NetReason.TLS_EXPIRED, NetReason.TLS_NOT_YET_VALID}
)
"""What the Go sees as TLS error 0x2700 (zaptec.md section 5)."""


async def upgrade(boot: Boot, uplink: Uplink, update_firmware: UpdateFirmware) -> bool:
    """Run an update and tell the cloud how it ended. True: installed, a reboot starts it; False: all stays as it is."""
    spec, env = boot.spec, boot.env
    async with https_client(
        host_for(env.host, Purpose.FIRMWARE),
        resolve=boot.lookup.address_of,
        context=lambda: client_context(boot.trust.roots_pem + spec.vendor_root_pem, env.keylog),
        rtc=env.rtc,
        timeout_s=spec.profile.firmware.http_timeout_s,
        tls_failed=_Doubt(boot),
    ) as http:
        result = await update_firmware(spec, env, http, boot.slots)
    match result:
        case Installed(version):
            await _log(env, uplink, "Accepted", EventType.INFORMATION, f"installed {version}")
            return True
        case Rejected(reason, detail):
            await _log(env, uplink, "Rejected", EventType.WARNING, f"{reason.value}: {detail}")
            return False


class _Doubt:
    """Asks for a trust bundle at the first certificate of an update that does not verify: the next try may do."""

    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        self._asked = False

    def __call__(self, error: NetError) -> None:
        """Hear of a TLS handshake that failed."""
        if error.reason in UNVERIFIED and not self._asked:
            self._asked = True
            doubt_roots(self._boot, WHY_OF_NET[error.reason])


async def _log(env: Env, uplink: Uplink, word: str, kind: EventType, text: str) -> None:
    """Observation 830, in a form that is invented, and a line of the log."""
    now = env.rtc.now()
    value = f'{{"Name":"OTA","Description":"{word}"}}'
    await uplink.send_or_keep(observation(Observation(SECURITY_LOG, value, now)))
    await uplink.send(event(kind, f"[ota_metrics] @{now:%Y-%m-%dT%H:%M:%SZ} {text}"))

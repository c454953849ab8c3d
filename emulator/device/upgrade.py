"""A firmware update as the charger lives through it: run it, tell the cloud of it (M6, zaptec.md section 14).

Whatever was refused is told: as security log, observation 830, and as a line of the log with its reason. What is said
there beyond "OTA" and the two words "Accepted" and "Rejected" is invented.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Protocol

import httpx

from emulator.boot.outcome import WHY_OF_NET
from emulator.boot.state import Boot
from emulator.boot.trust import doubt_roots
from emulator.device.outbox import Outbox
from emulator.device.update import Installed, Rejected
from emulator.device.update_requests import UNVERIFIED
from emulator.device.uplink import Uplink
from emulator.env import Env, Spec
from emulator.errors import NetError
from emulator.net.http import https_client
from emulator.net.meter import Purpose
from emulator.net.metered import host_for
from emulator.net.tls import client_context
from emulator.slots import DamagedError, GivenUp, Slots
from emulator.wire.firmware_keys import FirmwareKeys
from emulator.wire.messages import EventType, Observation, event, observation
from emulator.wire.update_reason import UpdateReason

SECURITY_LOG = 830

Result = Installed | Rejected


class UpdateFirmware(Protocol):
    """`device.update.update_firmware`."""

    def __call__(
        self,
        spec: Spec,
        env: Env,
        http: httpx.AsyncClient,
        slots: Slots,
        keys: FirmwareKeys,
        charging: Callable[[], bool],
        /,
    ) -> Awaitable[Result]: ...


async def upgrade(
    boot: Boot,
    uplink: Uplink,
    update_firmware: UpdateFirmware,
    *,
    charging: Callable[[], bool],
    ended: Callable[[Result], None],
) -> Result:
    """Run an update and tell the cloud how it ended. If it is `Installed`, a reboot starts it.

    `ended` is called in the moment in which the update is over, before anybody is told.
    """
    spec, env = boot.spec, boot.env
    async with https_client(
        host_for(env.host, Purpose.FIRMWARE),
        resolve=boot.lookup.address_of,
        context=lambda: client_context(boot.trust.roots_pem + spec.vendor_root_pem, env.keylog),
        rtc=env.rtc,
        timeout_s=spec.profile.firmware.http_timeout_s,
        tls_failed=_Doubt(boot),
    ) as http:
        result = await update_firmware(spec, env, http, boot.slots, boot.trust.firmware_keys, charging)
        ended(result)
    for payload in _told(env, result):
        await uplink.send_or_keep(payload)
    return result


def tell_rolled_back(outbox: Outbox, env: Env, running: str, given_up: GivenUp) -> None:
    """Tell the cloud, as soon as it can be reached, that `running` runs, for another image was given up."""
    outbox.put(_security(env, "RolledBack", given_up.reason))
    why = f"{given_up.version} {given_up.reason.value}"
    outbox.put(_line(env, EventType.WARNING, f"rolled back to {running}: {why}"))


def tell_not_back(outbox: Outbox, env: Env, error: DamagedError) -> None:
    """Tell it that there is no way back to an image, for that is damaged."""
    outbox.put(_security(env, "Rejected", UpdateReason.DAMAGED))
    outbox.put(_line(env, EventType.WARNING, f"{UpdateReason.DAMAGED.value}: {error}"))


def _told(env: Env, result: Result) -> list[bytes]:
    """The messages about an update: all that was refused on the way, and how it ended."""
    end = (result.reason, result.detail) if isinstance(result, Rejected) else None
    messages = []
    for passed in result.passed_over:
        if (passed.reason, passed.detail) != end:
            messages.append(_security(env, "PassedOver", passed.reason))
            text = f"passed over ({passed.reason.value}): {passed.detail}"
            messages.append(_line(env, EventType.WARNING, text))
    match result:
        case Installed(version):
            messages.append(_security(env, "Accepted"))
            messages.append(_line(env, EventType.INFORMATION, f"installed {version}"))
        case Rejected(reason, detail):
            messages.append(_security(env, "Rejected", reason))
            messages.append(_line(env, EventType.WARNING, f"{reason.value}: {detail}"))
    return messages


def _security(env: Env, word: str, reason: UpdateReason | None = None) -> bytes:
    fields = {"Name": "OTA", "Description": word} | ({} if reason is None else {"Reason": reason.value})
    value = json.dumps(fields, separators=(",", ":"))
    return observation(Observation(SECURITY_LOG, value, env.rtc.now()))


def _line(env: Env, kind: EventType, text: str) -> bytes:
    return event(kind, f"[ota_metrics] @{env.rtc.now():%Y-%m-%dT%H:%M:%SZ} {text}")


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

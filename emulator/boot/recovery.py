"""Obeys `machines.reconnect`: the one place where failures of boot and hub session are counted and acted on."""

import asyncio
from collections.abc import Mapping

from emulator.boot.outcome import Why
from emulator.boot.state import Boot
from emulator.machines.reconnect import (
    Action,
    PowerCycleModem,
    Reboot,
    ReconnectNow,
    RestartLink,
    Retry,
    Trouble,
)

FIRST = "link"
"""The stage that a restarted link begins with."""

GREETING = "greeting"
"""What failures to greet the hub are counted as, beside the stages. The connection was there: none is of transport."""

TROUBLES: Mapping[Why, Trouble] = {
    Why.MODEM_SILENT: Trouble.MODEM_SILENT,
    **dict.fromkeys(
        (
            Why.NO_OFFER,
            Why.NO_ACK,
            Why.DNS_SILENT,
            Why.DNS_FAILED,
            Why.DNS_NOT_FOUND,
            Why.NTP_SILENT,
            Why.UNREACHABLE,
            Why.REFUSED,
            Why.TIMED_OUT,
            Why.RESET,
            Why.CLOSED,
            Why.TLS_UNKNOWN_CA,
            Why.TLS_WRONG_HOST,
            Why.TLS_EXPIRED,
            Why.TLS_NOT_YET_VALID,
            Why.TLS_VERSION,
            Why.TLS_ALERT,
            Why.TLS_BROKEN,
        ),
        Trouble.TRANSPORT,
    ),
}
"""What counts as transport failure. The source counts what its MQTT client's connect counts: the name, TCP and TLS
(zaptec.md section 13); here a silent DHCP or time server on the way there is one too. The rest is `OTHER`."""


async def recover(boot: Boot, stage: str, why: Why, *, back_to: str) -> str:
    """Do what the machine says about a stage that failed; returns the stage to go on with.

    That is `back_to`, or the link where that is gone or was restarted. Does not return when the charger starts again.
    """
    if stage != FIRST and boot.wifi_lost:
        trouble = Trouble.WIFI_LOST
    else:
        trouble = Trouble.OTHER if stage == GREETING else TROUBLES.get(why, Trouble.OTHER)
    return await _obey(boot, boot.failed(stage, trouble), why, back_to)


async def recover_loss(boot: Boot, why: Why, *, back_to: str) -> str:
    """As `recover`, for a session that the hub had accepted."""
    trouble = Trouble.WIFI_LOST if boot.wifi_lost else Trouble.OTHER
    return await _obey(boot, boot.reconnect.lost(trouble), why, back_to)


async def _obey(boot: Boot, action: Action, why: Why, back_to: str) -> str:
    emit, counts = boot.env.trace.emit, {"why": why.value, "errors": boot.reconnect.errors}
    mode = boot.situation().mode.value
    match action:
        case Retry(after_s):
            emit("reconnect.wait", after_s=round(after_s, 3), **counts)
            await asyncio.sleep(after_s)
        case ReconnectNow():
            emit("reconnect.forced", **counts)
        case RestartLink():
            emit("link.restart", mode=mode, **counts)
            boot.restart_link()
            return FIRST
        case PowerCycleModem():
            emit("modem.power_cycle", timeouts=boot.reconnect.modem_timeouts, **counts)
            boot.restart_link(power_cycle=True)
            return FIRST
        case Reboot(reason):
            boot.reboot(reason)
            await asyncio.get_running_loop().create_future()  # this life is over
    return boot.restart_at(back_to, why)

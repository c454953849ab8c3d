"""The fourth stage: the clock gate (M9), and the keeper that sets the clock again every day."""

import asyncio
from datetime import timedelta

from emulator.boot.outcome import Degraded, Failed, Outcome, Passed, Why
from emulator.boot.state import Boot
from emulator.errors import NetError, NetReason
from emulator.machines.ntp import NoTime, NtpQuery, NtpReason, Synced
from emulator.machines.resolver import Unresolved
from emulator.net.api import Address
from emulator.net.drive import drive


async def time(boot: Boot) -> Outcome:
    """The clock gate: no authentication without a right clock (M9)."""
    rtc, profile = boot.env.rtc, boot.spec.profile
    before = rtc.now()
    boot.notes = {"before": before.isoformat(), "gate": profile.ntp.gate, "source": rtc.source}
    if boot.synced_at is not None and before - boot.synced_at < timedelta(seconds=profile.ntp.resync_s):
        return Passed(f"set at {boot.synced_at:%Y-%m-%dT%H:%M:%SZ}")
    result = await ask_ntp(boot)
    if isinstance(result, Synced):
        set_clock(boot, result)
        boot.notes |= {"after": rtc.now().isoformat(), "offset_s": result.offset_s, "server": str(result.server)}
        return Passed(f"moved by {result.offset_s:+.3f} s")
    silent = result.reason is NtpReason.SILENT
    why = Why.NTP_SILENT if silent else Why.NTP_REFUSED
    if rtc.trusted:
        return Degraded(why, "goes on with the clock as it was kept")
    if profile.ntp.gate == "strict":
        return Failed(why, "the clock is not set: no authentication")
    return Degraded(Why.CLOCK_UNSET, f"goes on at {before:%Y-%m-%d} although NTP is {result.reason.value}")


async def ask_ntp(boot: Boot) -> Synced | NoTime:
    """One SNTP exchange with the addresses of the pool name."""
    network = boot.spec.profile.network
    (answer,) = await boot.lookup.find(network.ntp_host)
    if isinstance(answer, Unresolved):
        raise NetError(NetReason.UNREACHABLE, f"{answer.name}: DNS {answer.reason.value}")
    servers = [Address(ip, network.ntp_port) for ip in answer.addresses]
    socket = await boot.env.host.udp()
    try:
        result = await drive(NtpQuery(servers, boot.spec.profile.ntp, boot.env.rtc.now), socket)
    finally:
        socket.close()
    assert isinstance(result, Synced | NoTime)  # noqa: S101 - all results an NtpQuery has
    return result


def set_clock(boot: Boot, result: Synced) -> None:
    """Step the clock by what NTP said."""
    rtc = boot.env.rtc
    rtc.set(rtc.now() + timedelta(seconds=result.offset_s), source="ntp")
    boot.synced_at = rtc.now()


async def keep_time(boot: Boot) -> None:
    """Ask NTP again every `ntp.resync_s`; a failed try is traced and the clock runs on."""
    while True:
        await asyncio.sleep(boot.spec.profile.ntp.resync_s)
        try:
            result = await ask_ntp(boot)
        except NetError as error:
            boot.env.trace.emit("clock.resync_failed", why=error.reason.value)
            continue
        if isinstance(result, Synced):
            set_clock(boot, result)
            boot.env.trace.emit("clock.resynced", offset_s=result.offset_s)
        else:
            boot.env.trace.emit("clock.resync_failed", why=result.reason.value)

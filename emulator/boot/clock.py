"""The stage that sets the clock: SNTP and the clock gate (M9), and the keeper that sets the clock again every day."""

import asyncio
import math
from collections.abc import Iterable
from datetime import timedelta

from emulator.boot.outcome import Degraded, Failed, Outcome, Passed, Why
from emulator.boot.state import Boot
from emulator.errors import NetError
from emulator.machines.effects import Tried
from emulator.machines.ntp import NoTime, NtpQuery, NtpReason, Synced, reason_of
from emulator.net.api import Address
from emulator.net.drive import drive

WHY_OF_NTP = {
    NtpReason.SILENT: Why.NTP_SILENT,
    NtpReason.REFUSED: Why.NTP_REFUSED,
    NtpReason.ABSURD: Why.NTP_ABSURD,
}
SOON_S = 1.0
"""What is due in less than this is due now: timers may come a little early."""


async def time(boot: Boot) -> Outcome:
    """The clock gate: no authentication without a right clock (M9).

    A clock that was lost or never set is wrong, and what happens then is the profile's `ntp.gate`. ``strict`` fails
    until a server gives the time, as the manual has it. ``wait-then-go-on`` asks for `ntp.wait_s` seconds on the first
    link and then goes on with whatever the clock shows (zaptec.md section 4).

    A clock that NTP has set before and that has run on since, on its battery if need be, is good enough under both: at
    20 ppm it is wrong by a minute after a month, which neither a certificate nor a SAS token notices. Were it refused,
    each outage of the time servers would take every charger that restarts in it off the net, and the manual asks for a
    right clock, not for a fresh one. If it was moved meanwhile, the hub stage finds out and NTP is asked again.
    """
    rtc, timing = boot.env.rtc, boot.spec.profile.ntp
    before = rtc.now()
    boot.notes = {"before": before.isoformat(), "gate": timing.gate, "source": rtc.source}
    if boot.synced_at is not None and before - boot.synced_at < timedelta(seconds=timing.resync_s):
        return Passed(f"set at {boot.synced_at:%Y-%m-%dT%H:%M:%SZ}")
    result = await (ask_ntp(boot) if timing.gate == "strict" or boot.waited_for_time else _ask_patiently(boot))
    boot.notes["tried"] = in_words(result.tried)
    if isinstance(result, Synced):
        set_clock(boot, result)
        boot.notes |= {"after": rtc.now().isoformat(), "offset_s": result.offset_s, "delay_s": result.delay_s}
        boot.notes |= {"server": str(result.server), "stratum": result.stratum}
        return Passed(f"moved by {result.offset_s:+.3f} s")
    why = WHY_OF_NTP[result.reason]
    if rtc.trusted:
        return Degraded(why, "goes on with the clock as it was kept")
    if timing.gate == "strict":
        return Failed(why, "the clock is not set: no authentication")
    return Degraded(Why.CLOCK_UNSET, f"goes on at {rtc.now():%Y-%m-%d} although NTP is {result.reason.value}")


async def ask_ntp(boot: Boot, *, until: float = math.inf) -> Synced | NoTime:
    """One SNTP exchange with the addresses of the pool name, ended at `until` of the loop's clock.

    NetError: the name has no address, for one of the reasons of DNS.
    """
    network = boot.spec.profile.network
    servers = [Address(ip, network.ntp_port) for ip in await boot.lookup.addresses_of(network.ntp_host)]
    query = NtpQuery(servers, boot.spec.profile.ntp, boot.env.rtc.now, boot.ntp_refusals, until=until)
    socket = await boot.env.host.udp()
    try:
        result = await drive(query, socket)
    finally:
        socket.close()
    assert isinstance(result, Synced | NoTime)  # noqa: S101 - all results an NtpQuery has
    return result


def set_clock(boot: Boot, result: Synced) -> None:
    """Step the clock by what NTP said."""
    rtc = boot.env.rtc
    rtc.set(rtc.now() + timedelta(seconds=result.offset_s), source="ntp")
    boot.synced_at, boot.synced_s = rtc.now(), asyncio.get_running_loop().time()


def in_words(tried: Iterable[Tried]) -> list[str]:
    """What each server did, for the trace."""
    return [f"{each.server} {each.what}" for each in tried]


async def keep_time(boot: Boot) -> None:
    """Ask NTP again every `ntp.resync_s`, every `ntp.retry_s` while the clock is not right; the clock runs on anyway.

    Traces ``clock.resynced`` with the offset and the drift that explains it, or ``clock.resync_failed``.
    """
    timing = boot.spec.profile.ntp
    wait_s = _until_resync_s(boot)
    while True:
        await asyncio.sleep(wait_s)
        wait_s = _until_resync_s(boot)
        if boot.synced_at is None or wait_s < SOON_S:
            wait_s = timing.resync_s if await _resync(boot) else timing.retry_s


def drift_ppm(boot: Boot, result: Synced) -> float | None:
    """How fast the clock has run ahead since NTP set it, if nobody has moved it; None: not set in this life."""
    elapsed_s = 0.0 if boot.synced_s is None else asyncio.get_running_loop().time() - boot.synced_s
    return -result.offset_s / elapsed_s * 1e6 if elapsed_s > 0 else None


async def _ask_patiently(boot: Boot) -> Synced | NoTime:
    """Ask again and again for `ntp.wait_s` seconds, once in a life."""
    loop, timing = asyncio.get_running_loop(), boot.spec.profile.ntp
    end = loop.time() + timing.wait_s
    tried: dict[Tried, None] = {}
    while True:
        result = await ask_ntp(boot, until=end)
        tried |= dict.fromkeys(result.tried)
        if isinstance(result, Synced):
            break
        if loop.time() >= end:
            result = NoTime(reason_of(tried), tuple(tried))
            break
        await asyncio.sleep(min(timing.try_timeout_s, end - loop.time()))
    boot.waited_for_time = True
    return result


def _until_resync_s(boot: Boot) -> float:
    """Until the clock is to be set again; a boot stage may have done so since the keeper began to wait."""
    timing = boot.spec.profile.ntp
    if boot.synced_at is None or boot.synced_s is None:
        return timing.retry_s
    return max(0.0, boot.synced_s + timing.resync_s - asyncio.get_running_loop().time())


async def _resync(boot: Boot) -> bool:
    """Ask once and set the clock. False: there is no time."""
    emit = boot.env.trace.emit
    try:
        result = await ask_ntp(boot)
    except NetError as error:
        emit("clock.resync_failed", why=error.reason.value, tried=[])
        return False
    tried = in_words(result.tried)
    if isinstance(result, NoTime):
        emit("clock.resync_failed", why=WHY_OF_NTP[result.reason].value, tried=tried)
        return False
    ppm = drift_ppm(boot, result)
    set_clock(boot, result)
    emit("clock.resynced", offset_s=result.offset_s, drift_ppm=ppm, server=str(result.server), tried=tried)
    return True

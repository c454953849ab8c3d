"""What the boot has won must be kept: the lease is renewed, the clock is set again every day."""

import asyncio

from emulator.boot.stages import DHCP_CLIENT_PORT, ask_ntp, set_clock, take_lease
from emulator.boot.state import Boot
from emulator.errors import NetError
from emulator.machines.dhcp import Bound
from emulator.machines.ntp import Synced
from emulator.net.drive import drive

RETRY_S = 60.0  # RFC 2131 section 4.4.5: the shortest time between two tries of a renewal


async def keep_lease(boot: Boot) -> None:
    """Renew and rebind (RFC 2131 section 4.4.5) until the lease is lost; then the address is gone and this returns."""
    while boot.dhcp is not None:
        client = boot.dhcp
        await _until(client.deadline())
        try:
            socket = await boot.env.host.udp(DHCP_CLIENT_PORT, broadcast=True)
        except NetError as error:
            boot.env.trace.emit("lease.upkeep_failed", why=error.reason.value)
            await asyncio.sleep(RETRY_S)
            continue
        try:
            loop = asyncio.get_running_loop()
            result = await drive(client, socket, client.wake(loop.time()))
        finally:
            socket.close()
        if not isinstance(result, Bound):
            boot.env.trace.emit("lease.lost", why=type(result).__name__.lower())
            boot.drop_lease()
            return
        boot.env.trace.emit("lease.renewed", address=result.lease.address)
        take_lease(boot, client, result.lease)


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


async def _until(deadline: float | None) -> None:
    if deadline is None:
        await asyncio.get_running_loop().create_future()  # an endless lease
    else:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, deadline - loop.time()))

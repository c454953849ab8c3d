"""The second stage: an address by DHCP (M7), and the keeper that renews its lease."""

import asyncio

from emulator.boot.outcome import Failed, Outcome, Passed, Why
from emulator.boot.state import Boot
from emulator.errors import NetError
from emulator.machines.dhcp import Bound, DhcpClient, Nak
from emulator.net.api import Interface
from emulator.net.drive import drive
from emulator.wire.dhcp import Lease

DHCP_CLIENT_PORT = 68
RETRY_S = 60.0  # RFC 2131 section 4.4.5: the shortest time between two tries of a renewal


async def address(boot: Boot) -> Outcome:
    """A lease by DHCP (M7)."""
    host, profile = boot.env.host, boot.spec.profile
    await boot.lease_wanted()
    client = DhcpClient(mac=host.link_address, hostname=boot.spec.serial, timing=profile.dhcp, rng=boot.env.rng("dhcp"))
    socket = await host.udp(DHCP_CLIENT_PORT, broadcast=True)
    try:
        async with asyncio.timeout(profile.dhcp.budget_s):
            result = await drive(client, socket)
    except TimeoutError:
        return Failed(Why.NO_ACK if client.state == "REQUESTING" else Why.NO_OFFER, f"in state {client.state}")
    finally:
        socket.close()
    if isinstance(result, Nak):
        return Failed(Why.DHCP_NAK)
    assert isinstance(result, Bound)  # noqa: S101 - the only other result before the first lease
    take_lease(boot, client, result.lease)
    boot.lease_won()
    boot.notes = {"address": result.lease.address, "dns": list(result.lease.dns), "lease_s": result.lease.lease_s}
    return Passed(result.lease.address)


def take_lease(boot: Boot, client: DhcpClient, lease: Lease) -> None:
    """Set the interface and the DNS servers by a lease, new or renewed."""
    boot.dhcp = client
    boot.env.host.set_interface(Interface(lease.address, lease.prefix_length, lease.router))
    boot.take_lease(lease)


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


async def _until(deadline: float | None) -> None:
    if deadline is None:
        await asyncio.get_running_loop().create_future()  # an endless lease
    else:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, deadline - loop.time()))

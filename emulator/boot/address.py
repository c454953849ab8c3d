"""The second stage: an address by DHCP (M7), the keeper that renews its lease, and how it is given back."""

import asyncio
import math
from typing import Any

from emulator.boot.outcome import Degraded, Failed, Outcome, Passed, Why
from emulator.boot.remembered import forget_address, remember_address, remembered_address
from emulator.boot.state import Boot
from emulator.errors import NetError
from emulator.machines.dhcp import Bound, DhcpClient, Expired, Nak, State
from emulator.net.api import Datagrams, Interface
from emulator.net.drive import drive
from emulator.wire.dhcp import CLIENT_PORT, Lease

RETRY_S = 60.0  # RFC 2131 section 4.4.5: the shortest time between two tries of a renewal
LINGER_S = 1.0  # invented: a RELEASE is not answered, and has to be off the link before its address goes


async def address(boot: Boot) -> Outcome:
    """A lease by DHCP (M7): the one of before the reboot, or a new one."""
    await boot.lease_wanted()
    client = _client(boot)
    socket = await boot.env.host.udp(CLIENT_PORT, broadcast=True)
    declined: list[str] = []
    try:
        async with asyncio.timeout(boot.spec.profile.dhcp.budget_s) as limit:
            result = await _obtain(boot, client, socket)
            while isinstance(result, Bound) and await _is_taken(boot, result.lease.address, limit):
                declined.append(result.lease.address)
                result = await _decline(boot, client, socket, result.lease)
    except TimeoutError:
        if declined:
            return Failed(Why.ADDRESS_CONFLICT, f"{_in_use(declined)}; no other in state {client.state}")
        return Failed(Why.NO_ACK if client.state is State.REQUESTING else Why.NO_OFFER, _in_words(client))
    finally:
        socket.close()
    if isinstance(result, Nak):
        return Failed(Why.DHCP_NAK, f"{result.server}: {result.message or 'no reason given'}")
    take_lease(boot, client, result.lease)
    boot.lease_won()
    how = "remembered" if result.asked_in is State.REBOOTING else "discovered"
    boot.notes = {**_facts(result.lease), "how": how, "offered_by": list(client.offered_by)}
    if declined:
        return Degraded(Why.ADDRESS_CONFLICT, f"{_in_use(declined)}; got {result.lease.address}")
    return Passed(result.lease.address)


def take_lease(boot: Boot, client: DhcpClient, lease: Lease) -> None:
    """Set the interface and the DNS servers by a lease, new or renewed, and remember it."""
    boot.dhcp = client
    boot.env.host.set_interface(Interface(lease.address, lease.prefix_length, lease.router))
    boot.take_lease(lease)
    if boot.spec.profile.dhcp.remember:
        remember_address(boot.env.flash, lease.address)


async def keep_lease(boot: Boot) -> None:
    """Renew and rebind (RFC 2131 section 4.4.5) until the lease is lost; then the address is gone and this returns."""
    loop = asyncio.get_running_loop()
    while boot.dhcp is not None:
        client = boot.dhcp
        await _until(client.deadline())
        try:
            socket = await boot.env.host.udp(CLIENT_PORT, broadcast=True)
        except NetError as error:
            boot.env.trace.emit("lease.upkeep_failed", why=error.reason.value)
            await asyncio.sleep(RETRY_S)
            continue
        try:
            result = await drive(client, socket, client.wake(loop.time()))
        finally:
            socket.close()
        if not isinstance(result, Bound):
            assert isinstance(result, Nak | Expired)  # noqa: S101 - all other results a DhcpClient has
            _lose(boot, result)
            return
        boot.env.trace.emit("lease.renewed", **_facts(result.lease), by=result.asked_in.lower())
        try:
            take_lease(boot, client, result.lease)
        except NetError as error:
            boot.env.trace.emit("lease.upkeep_failed", why=error.reason.value)
            boot.drop_lease()
            return


async def release_lease(boot: Boot) -> None:
    """Give the address back, as an orderly shutdown does (RFC 2131 section 4.4.6), and forget it. Never fails."""
    await boot.lease_wanted()
    client, lease, boot.dhcp = boot.dhcp, boot.lease, None
    forget_address(boot.env.flash)
    if client is None or lease is None:
        return
    try:
        socket = await boot.env.host.udp(CLIENT_PORT, broadcast=True)
    except NetError as error:
        boot.env.trace.emit("lease.release_failed", address=lease.address, why=error.reason.value)
    else:
        try:
            for send in client.release(asyncio.get_running_loop().time()):
                socket.send(send.data, send.to)
            await asyncio.sleep(LINGER_S)
        finally:
            socket.close()
        boot.env.trace.emit("lease.released", address=lease.address, server=lease.server)
    boot.drop_lease()


async def _obtain(boot: Boot, client: DhcpClient, socket: Datagrams) -> Bound | Nak:
    """The first lease. A remembered address that is refused is no failure: the client goes on to discover."""
    result = await drive(client, socket)
    if isinstance(result, Nak) and result.asked_in is State.REBOOTING:
        forget_address(boot.env.flash)
        boot.env.trace.emit("lease.forgotten", server=result.server, message=result.message)
        result = await drive(client, socket, [])
    assert isinstance(result, Bound | Nak)  # noqa: S101 - nothing can expire before the first lease
    return result


async def _is_taken(boot: Boot, address: str, limit: asyncio.Timeout) -> bool:
    """Ask the network before the address is used (RFC 2131 section 4.4.1). The limit is not for the time this takes."""
    loop, until = asyncio.get_running_loop(), limit.when()
    began = loop.time()
    limit.reschedule(None)
    taken = await boot.env.host.address_in_use(address)
    limit.reschedule(None if until is None else until + loop.time() - began)
    return taken


async def _decline(boot: Boot, client: DhcpClient, socket: Datagrams, lease: Lease) -> Bound | Nak:
    """Refuse a lease on an address that somebody uses, and get another after the pause of RFC 2131 section 3.1."""
    forget_address(boot.env.flash)
    boot.env.trace.emit("lease.declined", address=lease.address, server=lease.server)
    result = await drive(client, socket, client.decline(asyncio.get_running_loop().time()))
    assert isinstance(result, Bound | Nak)  # noqa: S101 - nothing can expire before there is a lease
    return result


async def _until(deadline: float | None) -> None:
    if deadline is None:
        await asyncio.get_running_loop().create_future()  # an endless lease
    else:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, deadline - loop.time()))


def _client(boot: Boot) -> DhcpClient:
    timing, now = boot.spec.profile.dhcp, asyncio.get_running_loop().time()
    return DhcpClient(
        mac=boot.env.host.link_address,
        hostname=boot.spec.serial,
        timing=timing,
        rng=boot.env.rng(f"dhcp/{now}"),  # other ids at every try: a late reply must not fit
        remembered=remembered_address(boot.env.flash) if timing.remember else None,
    )


def _lose(boot: Boot, result: Nak | Expired) -> None:
    words: dict[str, Any] = {"why": "expired"}
    if isinstance(result, Nak):
        words = {"why": "nak", "server": result.server, "message": result.message}
    boot.env.trace.emit("lease.lost", **words)
    forget_address(boot.env.flash)
    boot.drop_lease()


def _facts(lease: Lease) -> dict[str, Any]:
    lease_s = None if math.isinf(lease.lease_s) else lease.lease_s  # JSON has no infinity
    return {
        "address": lease.address,
        "server": lease.server,
        "router": lease.router,
        "dns": list(lease.dns),
        "lease_s": lease_s,
    }


def _in_use(addresses: list[str]) -> str:
    """The addresses that were declined; a server may lend the same again."""
    return f"{', '.join(dict.fromkeys(addresses))} in use by another machine"


def _in_words(client: DhcpClient) -> str:
    """What a client has come to that has no lease."""
    words = f"in state {client.state}"
    return words if client.no_use is None else f"{words}, no use: {client.no_use}"

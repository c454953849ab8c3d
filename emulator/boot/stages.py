"""The stages from power-on to a confirmed firmware, one short function each (manual rows M2, M4-M9)."""

import asyncio
from datetime import timedelta

from emulator.boot.outcome import Degraded, Failed, Outcome, Passed, Why
from emulator.boot.sequence import BootSequence, Stage
from emulator.boot.state import Boot
from emulator.errors import NetError, NetReason
from emulator.machines.dhcp import Bound, DhcpClient, Nak
from emulator.machines.ntp import NoTime, NtpQuery, NtpReason, Synced
from emulator.machines.resolver import DnsReason, Resolved, Unresolved
from emulator.net.api import Address, Interface
from emulator.net.drive import drive
from emulator.net.hub import HubConnection
from emulator.net.tls import client_context
from emulator.wire.dhcp import Lease

DHCP_CLIENT_PORT = 68

CLOCK_SUSPECTS = frozenset({NetReason.TLS_EXPIRED, NetReason.TLS_NOT_YET_VALID, NetReason.MQTT_REFUSED})
"""Refusals that a wrong clock explains: NTP is asked again before the next login."""


async def link(boot: Boot) -> Outcome:
    """Carrier, association or attach."""
    await boot.env.host.link_up()
    return Passed()


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


async def names(boot: Boot) -> Outcome:
    """The addresses of the time server and the hub, by DHCP's DNS server or a fallback (M8)."""
    network = boot.spec.profile.network
    answers = await boot.lookup.find(network.ntp_host, network.hub_host)
    for answer in answers:
        boot.notes["tried"] = [f"{tried.server} {tried.what}" for tried in answer.tried]
        if isinstance(answer, Unresolved):
            why = Why.DNS_SILENT if answer.reason is DnsReason.SILENT else Why.DNS_FAILED
            return Failed(why, f"{answer.name}: {answer.reason.value}")
    servers = {str(answer.server): answer.server for answer in answers if isinstance(answer, Resolved)}
    boot.notes["server"] = ", ".join(servers)
    boot.notes["addresses"] = {a.name: list(a.addresses) for a in answers if isinstance(a, Resolved)}
    if all(server.host in boot.lookup.from_dhcp for server in servers.values()):
        return Passed(f"answered by {boot.notes['server']}")
    return Degraded(Why.FALLBACK_DNS, f"answered by {boot.notes['server']}")


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


async def hub(boot: Boot) -> Outcome:
    """TCP, TLS 1.2 and the SAS login (M3-M5)."""
    network, env = boot.spec.profile.network, boot.env
    ip = await boot.lookup.address_of(network.hub_host)
    to = Address(ip, network.hub_port)
    env.trace.emit("boot.hub.connecting", to=str(to))
    try:
        boot.hub = await HubConnection.open(
            env.host,
            to,
            server_name=network.hub_host,
            context=client_context(boot.spec.roots_pem),
            rtc=env.rtc,
            connect=boot.login.connect_packet(env.rtc.now()),
            profile=boot.spec.profile,
        )
    except NetError as error:
        if error.reason in CLOCK_SUSPECTS:
            boot.synced_at = None
        raise
    boot.notes = {"tls": boot.hub.info.version, "cipher": boot.hub.info.cipher, "to": str(to)}
    return Passed(f"{boot.hub.info.version} {boot.hub.info.cipher}")


async def firmware(boot: Boot) -> Outcome:
    """An image that has reached the hub is good: confirm it. After a rollback, say so (M6)."""
    running = boot.slots.running
    boot.notes = {"version": running.version, "slot": running.slot}
    if boot.slots.pending:
        boot.slots.confirm()
        boot.notes["confirmed"] = True
    if running.rolled_back:
        return Degraded(Why.FIRMWARE_ROLLED_BACK, running.version)
    return Passed(running.version)


STAGES = (
    Stage("link", "Carrier, association or attach", link, back_to="link"),
    Stage("address", "Lease by DHCP", address, back_to="link"),
    Stage("names", "DNS with fallbacks", names, back_to="names"),
    Stage("time", "NTP and the clock gate", time, back_to="names"),
    Stage("hub", "TLS and SAS login at the hub", hub, back_to="names"),
    Stage("firmware", "Confirm the running image", firmware, back_to="names"),
)

BOOT = BootSequence(STAGES)

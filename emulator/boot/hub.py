"""The stage that logs in: TCP, TLS 1.2 and the SAS token (M3-M5)."""

from emulator.boot.outcome import Outcome, Passed
from emulator.boot.state import Boot
from emulator.errors import NetError, NetReason
from emulator.net.api import Address
from emulator.net.hub import HubConnection
from emulator.net.tls import client_context

CLOCK_SUSPECTS = frozenset({NetReason.TLS_EXPIRED, NetReason.TLS_NOT_YET_VALID, NetReason.MQTT_REFUSED})
"""Refusals that a wrong clock explains: NTP is asked again before the next login."""


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

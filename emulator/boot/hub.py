"""The stage that logs in: TCP, TLS 1.2 and the SAS token (M3-M5)."""

from emulator.boot.outcome import WHY_OF_NET, Outcome, Passed
from emulator.boot.state import Boot
from emulator.errors import NetError, NetReason
from emulator.net.api import Address
from emulator.net.hub import HubConnection
from emulator.net.tls import client_context

CLOCK_SUSPECTS = frozenset({NetReason.TLS_EXPIRED, NetReason.TLS_NOT_YET_VALID, NetReason.MQTT_REFUSED})
"""Refusals that a wrong clock explains: NTP is asked again before the next login."""

NO_ANSWER = frozenset({NetReason.TIMED_OUT, NetReason.REFUSED, NetReason.RESET, NetReason.UNREACHABLE})
"""Nobody is at this address of the hub: the next one may be better. Any other refusal is the hub's own."""

ADDRESSES_MAX = 8
"""Of the addresses of the hub no more are tried in one go; each may take the timeouts of TCP and TLS."""


async def hub(boot: Boot) -> Outcome:
    """TCP, TLS 1.2 and the SAS login (M3-M5), at the first of the hub's addresses where somebody answers."""
    network = boot.spec.profile.network
    addresses = await boot.lookup.addresses_of(network.hub_host)
    address, boot.hub = await _first_that_answers(boot, addresses[:ADDRESSES_MAX])
    if address != addresses[0]:
        boot.lookup.remember(network.hub_host, address)
    info = boot.hub.info
    boot.notes |= {"tls": info.version, "cipher": info.cipher, "to": str(Address(address, network.hub_port))}
    return Passed(f"{info.version} {info.cipher}")


async def _first_that_answers(boot: Boot, addresses: list[str]) -> tuple[str, HubConnection]:
    *others, last = addresses
    for address in others:
        try:
            return address, await _login(boot, address)
        except NetError as error:
            if error.reason not in NO_ANSWER:
                raise
    return last, await _login(boot, last)


async def _login(boot: Boot, address: str) -> HubConnection:
    network, env = boot.spec.profile.network, boot.env
    to = Address(address, network.hub_port)
    env.trace.emit("boot.hub.connecting", to=str(to))
    try:
        return await HubConnection.open(
            env.host,
            to,
            server_name=network.hub_host,
            context=client_context(boot.trust.roots_pem, env.keylog),
            rtc=env.rtc,
            connect=boot.login.connect_packet(env.rtc.now()),
            profile=boot.spec.profile,
        )
    except NetError as error:
        boot.notes.setdefault("tried", []).append(f"{to} {error.reason.value}")
        boot.trust.suspect(WHY_OF_NET[error.reason])
        if error.reason in CLOCK_SUSPECTS:
            boot.synced_at = None
        raise

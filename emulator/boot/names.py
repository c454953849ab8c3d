"""The third stage: the addresses of time server and hub, with the fallbacks of manual row M8."""

from emulator.boot.outcome import Degraded, Failed, Outcome, Passed, Why
from emulator.boot.state import Boot
from emulator.machines.resolver import DnsReason, Resolved, Unresolved


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

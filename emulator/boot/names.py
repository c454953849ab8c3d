"""The third stage: the addresses of time server and hub, with the fallbacks of manual row M8."""

from emulator.boot.lookup import REASON_OF_DNS, ignored_in_words, tried_in_words
from emulator.boot.outcome import WHY_OF_NET, Degraded, Failed, Outcome, Passed, Why
from emulator.boot.state import Boot
from emulator.machines.resolver import Resolved, Unresolved


async def names(boot: Boot) -> Outcome:
    """The addresses of the time server and the hub, by DHCP's DNS server or a fallback (M8)."""
    network = boot.spec.profile.network
    answers = await boot.lookup.find(network.ntp_host, network.hub_host)
    found = [answer for answer in answers if isinstance(answer, Resolved)]
    servers = {str(answer.server): answer.server for answer in found}
    boot.notes = {
        "server": ", ".join(servers),
        "addresses": {answer.name: list(answer.addresses) for answer in found},
        "tried": {answer.name: tried_in_words(answer) for answer in answers},
        "ignored": {answer.name: ignored_in_words(answer) for answer in answers if answer.ignored},
    }
    for answer in answers:
        if isinstance(answer, Unresolved):
            return Failed(WHY_OF_NET[REASON_OF_DNS[answer.reason]], answer.name)
    if any(boot.lookup.is_fallback(server) for server in servers.values()):
        return Degraded(Why.FALLBACK_DNS, f"answered by {boot.notes['server']}")
    return Passed(f"answered by {boot.notes['server']}")

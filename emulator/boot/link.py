"""The first stage: carrier, association or attach."""

from emulator.boot.outcome import Outcome, Passed
from emulator.boot.state import Boot


async def link(boot: Boot) -> Outcome:
    """Carrier, association or attach."""
    local = boot.spec.local
    await boot.env.host.link_up(local.mode, local)
    return Passed()

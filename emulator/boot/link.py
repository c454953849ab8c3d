"""The first stage: carrier, association or attach, by the link that the installer has set or a fallback (M18)."""

from emulator.boot.outcome import WHY_OF_NET, Degraded, Failed, Outcome, Passed, Why
from emulator.boot.state import Boot
from emulator.errors import NetError
from emulator.local import Mode
from emulator.net.api import Carrier

NEEDED_DBM = -75.0  # M11; below it PLC is advised (M12)


async def link(boot: Boot) -> Outcome:
    """Carrier, association or attach: the link that is set, else its fallbacks in order."""
    failed: dict[Mode, NetError] = {}
    for mode in boot.local.order:
        try:
            await boot.env.host.link_up(mode, boot.local)
        except NetError as error:
            failed[mode] = error
        else:
            boot.linked_by = mode
            return _up(boot, mode, failed)
    boot.notes = {"tried": _tried(failed)}
    first = next(iter(failed.values()))
    detail = first.detail if len(failed) == 1 else "; ".join(_tried(failed))
    return Failed(WHY_OF_NET[first.reason], detail)


def _up(boot: Boot, mode: Mode, failed: dict[Mode, NetError]) -> Outcome:
    carrier, tried = boot.env.host.carrier, _tried(failed)
    detail = _told(mode, carrier)
    boot.notes = {"mode": mode.value, "tried": tried}
    if carrier is not None:
        boot.notes |= {"signal_dbm": carrier.signal_dbm, "carrier": carrier.detail}
    return Degraded(Why.FALLBACK_LINK, "; ".join((*tried, detail))) if tried else Passed(detail)


def _told(mode: Mode, carrier: Carrier | None) -> str:
    """The link that is up, in words."""
    if carrier is None:
        return mode.value
    words = [mode.value, carrier.detail]
    if carrier.signal_dbm is not None:
        weak = mode is Mode.WIFI and carrier.signal_dbm < NEEDED_DBM
        words.append(f"{carrier.signal_dbm:g} dBm" + (f", below the {NEEDED_DBM:g} dBm that it needs" if weak else ""))
    return ", ".join(word for word in words if word)


def _tried(failed: dict[Mode, NetError]) -> list[str]:
    return [f"{mode.value}: {error}" for mode, error in failed.items()]

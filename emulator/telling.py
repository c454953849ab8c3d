"""Trace events in words, one line each, for timelines on a terminal and on a page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from emulator.story import Story
from emulator.trace import TraceEvent

Data = Mapping[str, Any]


class Tone(StrEnum):
    """How good the news is."""

    GOOD = "good"
    FALLBACK = "fallback"
    BAD = "bad"
    ACT = "act"
    """Something that people or the scenario did."""
    PLAIN = "plain"


MARKS = {Tone.GOOD: "✔", Tone.FALLBACK: "!", Tone.BAD: "✘", Tone.ACT: "▸", Tone.PLAIN: "·"}

TONE_STYLES = {Tone.GOOD: "green", Tone.FALLBACK: "yellow", Tone.BAD: "bold red", Tone.ACT: "cyan", Tone.PLAIN: ""}
"""Styles of rich."""


@dataclass(frozen=True, slots=True)
class Line:
    """One event as people read it."""

    t: float
    tone: Tone
    what: str
    detail: str = ""


QUIET = frozenset({"boot.hub.connecting", "device.publish", "device.twin", "device.fault", "update.progress"})
"""Many, or said by others: counters, graphs and bars show them."""

STAGE_TONES = {"passed": Tone.GOOD, "degraded": Tone.FALLBACK, "failed": Tone.BAD}

WORDS: Mapping[str, tuple[Tone, str, Callable[[Data], str]]] = {
    "scenario.power_on": (Tone.ACT, "power on", lambda data: ""),
    "scenario.reboot": (Tone.ACT, "power off and on", lambda data: ""),
    "scenario.plug_in": (Tone.ACT, "car plugged in", lambda data: pairs(data)),
    "scenario.unplug": (Tone.ACT, "car unplugged", lambda data: ""),
    "scenario.inject": (Tone.ACT, "break", lambda data: f"{data.get('kind')} {pairs(data, 'kind')}".rstrip()),
    "scenario.heal": (Tone.ACT, "heal", lambda data: data["fault"]),
    "scenario.command": (
        Tone.ACT,
        "cloud command",
        lambda data: f"{data['id']}" if data["payload"] is None else f"{data['id']} {data['payload']}",
    ),
    "scenario.offer_firmware": (
        Tone.ACT,
        "firmware offered",
        lambda data: f"{data['version']}, signed by {data['signer']}",
    ),
    "scenario.publish_bundle": (Tone.ACT, "trust bundle published", lambda data: _bundle(data)),
    "scenario.local": (Tone.ACT, "installer sets", lambda data: ", ".join(data["set"])),
    "scenario.done": (Tone.ACT, "all steps done", lambda data: ""),
    "device.power_on": (
        Tone.PLAIN,
        "charger starts",
        lambda data: f"boot {data['boot']}, firmware {data['firmware']} in slot {data['slot']}, after {data['reason']}",
    ),
    "device.online": (Tone.GOOD, "online", lambda data: ""),
    "device.offline": (Tone.BAD, "offline", lambda data: data["why"]),
    "device.charging": (Tone.PLAIN, "charge", lambda data: f"{data['before']} -> {data['state']}"),
    "device.command": (Tone.PLAIN, "command obeyed", lambda data: f"{data['id']} -> {data['status']}"),
    "device.reboot": (Tone.PLAIN, "reboot", lambda data: f"in {data['after_s']:g} s, because of {data['reason']}"),
    "device.watchdog": (Tone.BAD, "watchdog", lambda data: f"no hub for {data['offline_s']:.0f} s"),
    "device.shut_down": (
        Tone.PLAIN,
        "shut down",
        lambda data: f"{data['data']['up'] / 1000:.1f} kB up, {data['data']['down'] / 1000:.1f} kB down",
    ),
    "reconnect.wait": (Tone.PLAIN, "wait", lambda data: f"{data['after_s']:.1f} s, {_error(data)}"),
    "reconnect.forced": (Tone.PLAIN, "no wait", lambda data: _error(data)),
    "link.restart": (Tone.BAD, "link restarted", lambda data: f"{data['mode']}, {_error(data)}"),
    "modem.power_cycle": (Tone.BAD, "modem power cycle", lambda data: f"{data['timeouts']} AT timeouts"),
    "device.card": (Tone.PLAIN, "card shown", lambda data: data["shown"].replace("_", " ")),
    "device.settings": (Tone.PLAIN, "new settings", lambda data: ", ".join(map(str, data["changed"]))),
    "device.local_settings": (Tone.PLAIN, "local settings", lambda data: ", ".join(map(str, data["changed"]))),
    "device.swap_test": (Tone.PLAIN, "link on trial", lambda data: f"{data['mode']}, for {data['within_s']:g} s"),
    "device.swap_kept": (Tone.GOOD, "link kept", lambda data: data["mode"]),
    "device.swap_back": (Tone.FALLBACK, "link swapped back", lambda data: f"to {data['mode']}: {data['why']}"),
    "device.stalled": (Tone.BAD, "hub does not answer", lambda data: ""),
    "trust.fetched": (Tone.GOOD, "trust bundle fetched", lambda data: f"version {data['version']}"),
    "trust.current": (Tone.PLAIN, "no newer trust bundle", lambda data: f"than version {data['version']}"),
    "trust.fetch_failed": (
        Tone.FALLBACK,
        "no trust bundle",
        lambda data: f"{data['why']}: {data['detail']}; asks again in {data['retry_s']:g} s",
    ),
    "update.started": (Tone.PLAIN, "update begins", lambda data: f"{data['version']} runs"),
    "update.manifest": (
        Tone.PLAIN,
        "update manifest",
        lambda data: f"{data['version']}, {data['size_bytes'] / 2**20:.1f} MiB",
    ),
    "update.verified": (Tone.GOOD, "update verified", lambda data: f"{data['version']}: signature and hash are right"),
    "update.installed": (Tone.GOOD, "update installed", lambda data: f"{data['version']} in slot {data['slot']}"),
    "update.rejected": (Tone.BAD, "update rejected", lambda data: f"{data['reason']}: {data['detail']}"),
    "update.resumed": (Tone.PLAIN, "update goes on", lambda data: f"{data['blocks']} blocks are there already"),
    "update.passed_over": (Tone.BAD, "update: host passed over", lambda data: f"{data['reason']}: {data['detail']}"),
    "update.retrying": (Tone.FALLBACK, "update retries", lambda data: data["detail"]),
}
"""Event name -> tone, words, and what of its data is told. Other events are told by name and data."""


def tell(event: TraceEvent, since_s: float = 0.0) -> Line | None:
    """The event in words, timed from `since_s`; None: it is one of the many that only counters show."""
    t = event.t - since_s
    if event.name in QUIET:
        return None
    if "outcome" in event.data:
        return _stage(event.data, t)
    if event.name in WORDS:
        tone, what, detail = WORDS[event.name]
        return Line(t, tone, what, detail(event.data))
    return Line(t, Tone.PLAIN, event.name.replace(".", " ").replace("_", " "), pairs(event.data))


def pairs(data: Data, *without: str) -> str:
    """``key value, key value`` of everything except the keys named and what is None."""
    told = (f"{key} {value}" for key, value in data.items() if key not in without and value is not None)
    return ", ".join(told)


def _bundle(data: Data) -> str:
    lists = (("firmware keys", data.get("firmware_keys")), ("revoked", data.get("revoked")))
    told = [f"; {words}: {', '.join(names)}" for words, names in lists if names]
    return f"version {data['version']}, roots: {data['roots']}{''.join(told)}"


def _stage(data: Data, t: float) -> Line:
    attempt = f" (attempt {data['attempt']})" if data["attempt"] > 1 else ""
    words = [data["why"] or "", data["detail"], f"{data['seconds']:.3f} s"]
    detail = "  ".join(word for word in words if word)
    return Line(t, STAGE_TONES[data["outcome"]], f"{data['stage']} {data['outcome']}{attempt}", detail)


def _error(data: Data) -> str:
    """Which error since the last session, and why."""
    return f"error {data['errors']}: {data['why']}"


def clock_text(iso: str | None) -> str:
    """An ISO time as people read it, to the second."""
    return "not set" if iso is None else f"{iso[:10]} {iso[11:19]}"


LED_OF_CHARGE = {
    "requesting": ("yellow", "waiting"),
    "ready": ("yellow", "waiting"),
    "paused": ("yellow", "waiting"),
    "stopped": ("yellow", "waiting"),
    "charging": ("blue", "charging"),
    "finished": ("green", "charge complete"),
}


def led_of(story: Story) -> tuple[str, str]:
    """Colour of the charger's light and what it says (zaptec.md section 1); dark when idle is invented."""
    if story.update is not None:
        return "purple", "firmware update"
    if story.charge in LED_OF_CHARGE:
        return LED_OF_CHARGE[story.charge]
    return ("dark", "idle") if story.online else ("green, flashing", "no network")

"""Whether the charger is online, and the last thing that was said about why not: for health checks."""

from collections.abc import Callable, Mapping
from typing import Any

from emulator.trace import TraceEvent

Data = Mapping[str, Any]

BOOTS = "boots"


def _offline(data: Data) -> str:
    return _with_detail(f"the session at the hub ended: {data['why']}", data)


def _greeting(data: Data) -> str:
    return _with_detail(f"the hub does not acknowledge: {data['why']}", data)


def _stage(data: Data) -> str:
    if data["outcome"] == "failed":
        return _with_detail(f"{data['stage']} failed: {data['why']}", data)
    return f"connects: {data['stage']} is through"


def _with_detail(text: str, data: Data) -> str:
    return f"{text} ({data['detail']})" if data.get("detail") else text


SAYS: Mapping[str, Callable[[Data], str]] = {
    "device.power_on": lambda data: BOOTS,
    "device.power_cut": lambda data: "the power is off",
    "device.reboot": lambda data: f"restarts: {data['reason']}",
    "device.offline": _offline,
    "device.greeting_failed": _greeting,
    "device.online": lambda data: "the session at the hub has just ended",
    "device.shut_down": lambda data: "was shut down",
}
"""Event -> why it is not online, should it not be. The events of the boot stages come on top."""


class Condition:
    """A `Sink` that remembers the last word."""

    __slots__ = ("why_not",)

    def __init__(self) -> None:
        self.why_not = BOOTS
        """Why the charger is not online, in words; of no meaning while it is."""

    def see(self, event: TraceEvent) -> None:
        """Take one event into account."""
        says = SAYS.get(event.name)
        if says is None and event.name.startswith("boot.") and "outcome" in event.data:
            says = _stage
        if says is not None:
            self.why_not = says(event.data)

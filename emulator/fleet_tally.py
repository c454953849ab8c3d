"""What the chargers of a fleet did, counted from their events."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import quantiles
from typing import Any

from emulator.boot.outcome import Why
from emulator.device.charger import Charger
from emulator.trace import TraceEvent


class Update(StrEnum):
    """How far a firmware update came."""

    BEGUN = "begun"
    INSTALLED = "installed"
    """Verified and stored: it boots next."""
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


_UPDATES = {
    "update.started": Update.BEGUN,
    "update.installed": Update.INSTALLED,
    "update.rejected": Update.REJECTED,
}
"""Event -> what it counts as."""


@dataclass(slots=True)
class Tally:
    """What the chargers of one process did; only numbers cross the process boundary."""

    online: int = 0
    boots: int = 0
    first_online_s: float | None = None
    storm_boots: int = 0
    storm_s: float = 0.0
    """From the first power-on to the last first boot; and the boots until then."""
    messages_up: int = 0
    messages_down: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    cpu_s: float = 0.0
    kib_per_charger: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)
    updates: dict[str, int] = field(default_factory=dict)
    """How many firmware updates came how far, by `Update`."""
    updates_failed: dict[str, int] = field(default_factory=dict)
    """Updates that were refused, by reason."""
    firmware: dict[str, int] = field(default_factory=dict)
    """How many chargers run which version in the end."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Stage name to the seconds of every passed attempt."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Tally":
        """The inverse of `to_json`."""
        return cls(**data)

    def latencies(self) -> dict[str, dict[str, float]]:
        """Median, 90th and 99th percentile and maximum of each stage, in milliseconds."""
        return {stage: _spread(seconds) for stage, seconds in self.seconds.items()}


def _spread(seconds: list[float]) -> dict[str, float]:
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    picks = {"p50_ms": cuts[49], "p90_ms": cuts[89], "p99_ms": cuts[98], "max_ms": max(seconds)}
    return {name: round(value * 1000, 2) for name, value in picks.items()}


def merged(tallies: Iterable[Tally]) -> Tally:
    """The sum over all worker processes; memory per charger is their mean."""
    total, weights = Tally(), 0
    for tally in tallies:
        total.kib_per_charger = (total.kib_per_charger * weights + tally.kib_per_charger * tally.online) / max(
            weights + tally.online, 1
        )
        weights += tally.online
        for name in (
            "online",
            "boots",
            "storm_boots",
            "messages_up",
            "messages_down",
            "bytes_up",
            "bytes_down",
            "cpu_s",
        ):
            setattr(total, name, getattr(total, name) + getattr(tally, name))
        firsts = [t for t in (total.first_online_s, tally.first_online_s) if t is not None]
        total.first_online_s = min(firsts, default=None)
        total.storm_s = max(total.storm_s, tally.storm_s)
        for name in ("failures", "updates", "updates_failed", "firmware"):
            setattr(total, name, dict(Counter(getattr(total, name)) + Counter(getattr(tally, name))))
        for stage, seconds in tally.seconds.items():
            total.seconds.setdefault(stage, []).extend(seconds)
    return total


class FleetCounter:
    """A trace sink that counts and lets the next charger start when one is through. `now` is monotonic seconds."""

    def __init__(self, chargers: int, boots_at_once: int, now: Callable[[], float]) -> None:
        self.tally = Tally()
        self.began = now()
        self._now = now
        self.room = asyncio.Semaphore(boots_at_once)
        self.all_online = asyncio.Event()
        self._chargers = chargers
        self._booting: set[str] = set()
        self._online: set[str] = set()

    async def admit(self, serial: str) -> None:
        """Wait until there is room for one more boot."""
        await self.room.acquire()
        self._booting.add(serial)

    def __call__(self, event: TraceEvent) -> None:
        name = event.name
        if name.startswith("boot."):
            self._stage(event)
        elif name == "device.online":
            self._went_online(event.who)
        elif name == "device.publish":
            self.tally.messages_up += 1
        elif name == "device.command":
            self.tally.messages_down += 1
        elif name == "device.offline":
            self._online.discard(event.who)
        elif name in _UPDATES:
            self._update(_UPDATES[name])
            if name == "update.rejected":
                _count(self.tally.updates_failed, event.data["reason"])

    def _stage(self, event: TraceEvent) -> None:
        _, stage, word = event.name.split(".")
        if word in ("passed", "degraded"):
            self.tally.seconds.setdefault(stage, []).append(event.data["seconds"])
            if stage == "firmware":
                self._firmware(event)
        elif word == "failed":
            _count(self.tally.failures, f"{stage}.{event.data['why']}")
            self._through(event.who)

    def _firmware(self, event: TraceEvent) -> None:
        """What became of an image on trial."""
        if event.data.get("confirmed"):
            self._update(Update.CONFIRMED)
        elif event.data["why"] == Why.FIRMWARE_ROLLED_BACK and event.data["attempt"] == 1:  # later ones say it again
            self._update(Update.ROLLED_BACK)

    def _update(self, update: Update) -> None:
        _count(self.tally.updates, update.value)

    def _went_online(self, serial: str) -> None:
        elapsed_s = self._now() - self.began
        if self.tally.first_online_s is None:
            self.tally.first_online_s = round(elapsed_s, 4)
        self._online.add(serial)
        self.tally.boots += 1
        if not self.all_online.is_set():
            self.tally.storm_boots, self.tally.storm_s = self.tally.boots, elapsed_s
            if len(self._online) == self._chargers:
                self.all_online.set()
        self._through(serial)

    def _through(self, serial: str) -> None:
        if serial in self._booting:
            self._booting.discard(serial)
            self.room.release()

    def finish(self, chargers: Iterable[Charger]) -> Tally:
        """The counts so far, with the data and the firmware of each charger."""
        self.tally.online = len(self._online)
        for charger in chargers:
            self.tally.bytes_up += charger.data.up_bytes
            self.tally.bytes_down += charger.data.down_bytes
            _count(self.tally.firmware, charger.firmware)
        return self.tally


def _count(counts: dict[str, int], what: str) -> None:
    counts[what] = counts.get(what, 0) + 1

"""What a run amounts to: the boots with their stages, and the facts that people ask for first."""

from collections import deque
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from emulator.net.meter import Usage
from emulator.trace import TraceEvent

ROWS_MAX = 2000
SAMPLES_MAX = 600
STAGE_KEYS = ("stage", "attempt", "outcome", "why", "seconds", "detail")


class Readings(Protocol):
    """What is seen of a charger by looking at it; its snapshot has all of it."""

    @property
    def power_w(self) -> float: ...

    @property
    def messages_up(self) -> int: ...

    @property
    def messages_down(self) -> int: ...

    @property
    def data(self) -> Usage:
        """Bytes over the link."""


@dataclass(frozen=True, slots=True)
class StageRow:
    """One attempt at one boot stage."""

    boot: int
    """Which life of the charger, from 1; every power-on and restart begins one."""
    stage: str
    attempt: int
    outcome: str
    why: str | None
    seconds: float
    detail: str

    def as_json(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Update:
    """How far a firmware update is; `size_bytes` is 0 and `version` empty until the manifest is here."""

    done_bytes: int
    size_bytes: int
    version: str = ""


class Story:
    """Follows one charger's events and keeps what a summary needs; at most `ROWS_MAX` rows, the oldest go first."""

    def __init__(self, charger: str) -> None:
        self.charger = charger
        self.boot = 0
        self.rows: deque[StageRow] = deque(maxlen=ROWS_MAX)
        self.resolver: list[str | None] = []
        """The DNS server that answered, one entry per boot; None: none did."""
        self.clock: dict[str, str | None] = {"before": None, "after": None}
        """What the charger's clock showed before and after it was first set."""
        self.tls: dict[str, str | None] = {"version": None, "cipher": None}
        self.messages = {"up": 0, "down": 0}
        self.data = Usage()
        """Bytes over the link."""
        self.power_w: deque[float] = deque(maxlen=SAMPLES_MAX)
        """What the car drew, one sample per look at the charger."""
        self.firmware: dict[str, str | None] = {"before": None, "after": None}
        self.online = False
        self.charge = ""
        """State of the charge, as the charger calls it."""
        self.update: Update | None = None
        """The firmware update, while one runs."""

    def read(self, readings: Readings) -> None:
        """Take one look at the charger itself into account."""
        self.messages = {"up": readings.messages_up, "down": readings.messages_down}
        self.data = readings.data
        self.power_w.append(readings.power_w)

    def see(self, event: TraceEvent) -> None:
        """Take one event into account."""
        if event.who != self.charger:
            return
        family, _, name = event.name.partition(".")
        if family == "boot" and "outcome" in event.data:
            self._see_stage(event.data)
        elif family == "device":
            self._see_device(name, event.data)
        elif family == "update":
            self._see_update(name, event.data)

    def _see_stage(self, data: dict[str, Any]) -> None:
        row = StageRow(self.boot, **{key: data[key] for key in STAGE_KEYS})
        self.rows.append(row)
        if row.outcome != "failed":
            self._note(row.stage, data)

    def _note(self, stage: str, data: dict[str, Any]) -> None:
        match stage:
            case "names" if self.resolver:
                self.resolver[-1] = data.get("server")
            case "time" if self.clock["after"] is None:
                self.clock = {"before": data.get("before"), "after": data.get("after")}
            case "hub":
                self.tls = {"version": data.get("tls"), "cipher": data.get("cipher")}
            case _:
                pass

    def _see_device(self, name: str, data: dict[str, Any]) -> None:
        match name:
            case "power_on":
                self.boot += 1
                self.resolver.append(None)
                self.online, self.update = False, None
                version = data.get("firmware")
                self.firmware = {"before": self.firmware["before"] or version, "after": version}
            case "online":
                self.online = True
            case "offline":
                self.online = False
            case "charging":
                self.charge = data["state"]
            case _:
                pass

    def _see_update(self, name: str, data: dict[str, Any]) -> None:
        match name:
            case "started":
                self.update = Update(0, 0)
            case "manifest":
                self.update = Update(0, data["size_bytes"], data["version"])
            case "progress" if self.update is not None:
                self.update = replace(self.update, done_bytes=data["done_bytes"], size_bytes=data["size_bytes"])
            case "installed" | "rejected":
                self.update = None
            case _:
                pass

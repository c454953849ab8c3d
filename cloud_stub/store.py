"""What the cloud remembers about each device. In memory only: it dies with the process."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from emulator.errors import UsageError
from emulator.wire.messages import CompletedSession

DEVICES_MAX = 200_000
OBSERVATIONS_MAX = 512  # the vendor's list has about 200 ids (zaptec.md section 17.1)
SESSIONS_MAX = 100

DEFAULT_SETTINGS: Mapping[str, str] = {
    "120": "0",
    "510": "32",
    "511": "6",
    "523": "10",
    "711": "1",
    "800": "00000000-0000-0000-0000-000000000000",
    "801": "default",
}
"""The `Settings` map of a new twin. Keys as zaptec.md section 17.2; the values are invented."""


@dataclass(frozen=True, slots=True)
class Twin:
    """Desired and reported properties, each with its own version from 1 (iothub-mqtt.md section 1.13)."""

    desired: Mapping[str, Any] = field(default_factory=dict)
    reported: Mapping[str, Any] = field(default_factory=dict)
    desired_version: int = 1
    reported_version: int = 1


@dataclass(frozen=True, slots=True)
class Observed:
    """The last value of one observation, as sent."""

    value: str
    at: datetime


@dataclass(slots=True)
class DeviceState:
    """Everything remembered about one device."""

    twin: Twin
    online: bool = False
    filters: frozenset[str] | None = None
    """Names of the channels of a stored MQTT session (clean session 0); None: no stored session."""
    session_id: str | None = None
    """The charge session that the cloud has opened and not seen end."""
    observations: dict[int, Observed] = field(default_factory=dict)
    sessions: dict[str, CompletedSession] = field(default_factory=dict)
    """Completed charge sessions by SessionId, oldest first."""

    def observe(self, observation_id: int, observed: Observed) -> None:
        """Keep a last value; ids beyond OBSERVATIONS_MAX are not kept."""
        if observation_id in self.observations or len(self.observations) < OBSERVATIONS_MAX:
            self.observations[observation_id] = observed

    def complete(self, session: CompletedSession) -> bool:
        """Keep a completed session; False if it was known. The oldest goes when there are SESSIONS_MAX."""
        if session.session_id in self.sessions:
            return False
        if len(self.sessions) >= SESSIONS_MAX:
            del self.sessions[next(iter(self.sessions))]
        self.sessions[session.session_id] = session
        return True


class Store:
    """Device states by id, made on first use, at most `DEVICES_MAX`."""

    def __init__(self, settings: Mapping[str, str] = DEFAULT_SETTINGS) -> None:
        self._settings = dict(settings)
        self._devices: dict[str, DeviceState] = {}

    def device(self, device_id: str) -> DeviceState:
        """The state of a device, new if it was never heard of. UsageError when there are too many."""
        state = self._devices.get(device_id)
        if state is None:
            if len(self._devices) >= DEVICES_MAX:
                raise UsageError(f"device {device_id}: more than {DEVICES_MAX} devices")
            state = self._devices[device_id] = DeviceState(Twin(desired={"Settings": self._settings}))
        return state

    def get(self, device_id: str) -> DeviceState | None:
        """The state of a device that was heard of."""
        return self._devices.get(device_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._devices)

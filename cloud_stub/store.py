"""What the vendor's backend remembers about each charger. In memory only: it dies with the process."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from emulator.errors import UsageError
from emulator.wire.messages import CompletedSession

DEVICES_MAX = 200_000
OBSERVATIONS_MAX = 512  # the vendor's list has about 200 ids (zaptec.md section 17.1)
SESSIONS_MAX = 100


@dataclass(frozen=True, slots=True)
class Observed:
    """The last value of one observation, as sent."""

    value: str
    at: datetime


@dataclass(slots=True)
class DeviceState:
    """Everything remembered about one device."""

    online: bool = False
    session_id: str | None = None
    """The charge session that the cloud has opened and not seen end."""
    tag: str | None = None
    """The card that was shown for it."""
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

    def __init__(self) -> None:
        self._devices: dict[str, DeviceState] = {}

    def device(self, device_id: str) -> DeviceState:
        """The state of a device, new if it was never heard of. UsageError when there are too many."""
        state = self._devices.get(device_id)
        if state is None:
            if len(self._devices) >= DEVICES_MAX:
                raise UsageError(f"device {device_id}: more than {DEVICES_MAX} devices")
            state = self._devices[device_id] = DeviceState()
        return state

    def get(self, device_id: str) -> DeviceState | None:
        """The state of a device that was heard of."""
        return self._devices.get(device_id)

    def last(self, device_id: str, observation_id: int) -> str:
        """The last value of an observation; empty if there was none."""
        state = self._devices.get(device_id)
        seen = state.observations.get(observation_id) if state else None
        return seen.value if seen else ""

    def __iter__(self) -> Iterator[str]:
        return iter(self._devices)

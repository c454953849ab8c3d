"""All that the hub remembers, composed over one state: what each process of a hub has of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloud_stub.state.c2d import VENDOR_RULES, C2dRules
from cloud_stub.state.c2d_queues import C2dQueues
from cloud_stub.state.database import State
from cloud_stub.state.mqtt_sessions import MqttSessions
from cloud_stub.state.registry import KeySource, Registry
from cloud_stub.state.twins import Twins
from emulator.clock import Utc


@dataclass(frozen=True, slots=True)
class HubMemory:
    """The parts of one process; those of the hub's other processes see the same."""

    state: State
    registry: Registry
    twins: Twins
    queues: C2dQueues
    sessions: MqttSessions

    def begin(self) -> None:
        """Take back what a hub that was killed could not: no device is connected, no delivery is under way.

        To be called by the first process of a hub, before any endpoint starts.
        """
        self.sessions.end_all()
        self.queues.release_all()


def hub_memory(
    state: State,
    keys: KeySource,
    utc: Utc,
    *,
    settings: Mapping[str, Any] | None = None,
    c2d: C2dRules = VENDOR_RULES,
) -> HubMemory:
    """Compose the parts. `settings`: the desired properties that production gives a charger."""
    return HubMemory(
        state,
        Registry(state, keys, utc),
        Twins(state, utc, settings=settings),
        C2dQueues(state, utc, c2d),
        MqttSessions(state, utc),
    )

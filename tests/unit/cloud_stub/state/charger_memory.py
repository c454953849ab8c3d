"""What a hub remembers of one charger, for tests."""

from datetime import UTC, datetime
from pathlib import Path

from cloud_stub.hub.memory import HubMemory, hub_memory
from cloud_stub.state.database import State
from cloud_stub.state.registry import derived_keys

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SERIAL = "ZPR000001"


def memory_of(path: Path | None = None, at: datetime = NOON) -> HubMemory:
    """In a file or nowhere, at a time that stands still."""
    return hub_memory(State(path), derived_keys(b"s" * 32), lambda: at, settings={"Settings": {"711": "1"}})

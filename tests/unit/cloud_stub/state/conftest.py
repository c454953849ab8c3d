from collections.abc import Iterator

import pytest

from cloud_stub.hub.memory import HubMemory
from tests.unit.cloud_stub.state.charger_memory import SERIAL, memory_of


@pytest.fixture
def memory() -> Iterator[HubMemory]:
    """With the charger `SERIAL`, and gone after the test."""
    memory = memory_of()
    memory.registry.produce(SERIAL)
    yield memory
    memory.state.close()

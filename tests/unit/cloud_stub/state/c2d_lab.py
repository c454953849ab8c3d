"""A hub's queues at a clock that the test turns."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloud_stub.hub.memory import hub_memory
from cloud_stub.state.c2d import VENDOR_RULES, Ack, C2dMessage, C2dRules
from cloud_stub.state.database import State
from cloud_stub.state.registry import derived_keys

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SERIAL = "ZPR000001"


class C2dLab:
    """One charger that was connected before, and its queue."""

    def __init__(self, rules: C2dRules = VENDOR_RULES, path: Path | None = None) -> None:
        self.at = NOON
        self.memory = hub_memory(State(path), derived_keys(b"s" * 32), lambda: self.at, c2d=rules)
        self.queues, self.feedback = self.memory.queues, self.memory.queues.feedback
        self.memory.registry.produce_all([SERIAL])
        self.memory.sessions.begin(SERIAL, clean=False)

    def wait(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    @property
    def now(self) -> float:
        return self.at.timestamp()

    def send(self, text: str, ack: Ack = Ack.NONE, *, ttl_s: float | None = None) -> bool:
        """Queue a message whose body and id are `text`."""
        expires_at = None if ttl_s is None else self.now + ttl_s
        return self.queues.send(SERIAL, C2dMessage(text.encode(), text, ack=ack, expires_at=expires_at))

    def bodies(self) -> list[str]:
        """What is delivered now."""
        return [delivery.message.body.decode() for delivery in self.queues.due(SERIAL)]

    def close(self) -> None:
        self.memory.state.close()

"""How a scenario ended."""

from dataclasses import dataclass, field
from typing import Any

from emulator.scenario import Scenario
from emulator.story import Story
from emulator.trace import TraceEvent


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one run of one scenario."""

    scenario: Scenario
    world: str
    seed: int
    failures: tuple[str, ...]
    """What was expected and did not come, or came and must not, in words. Empty: all is as expected."""
    story: Story = field(repr=False)
    timeline: tuple[TraceEvent, ...] = field(repr=False)
    digest: str
    """SHA-256 over the whole trace; in the simulated world the same for the same seed."""
    seconds: float
    """Length of the run by the loop's clock."""
    crash: str | None = None
    """Traceback of a bug in the charger."""

    @property
    def ok(self) -> bool:
        """Everything came as expected."""
        return not self.failures

    def as_json(self) -> dict[str, Any]:
        """What ``play --json`` prints of one scenario."""
        scenario, story = self.scenario, self.story
        return {
            "name": scenario.name,
            "title": scenario.title,
            "cause": scenario.cause,
            "fix": scenario.fix,
            "ok": self.ok,
            "failures": list(self.failures),
            "crash": self.crash,
            "world": self.world,
            "seed": self.seed,
            "seconds": round(self.seconds, 6),
            "stages": [row.as_json() for row in story.rows],
            **facts(story),
            "digest": self.digest,
            "timeline": [
                {"t": round(event.t, 6), "who": event.who, "name": event.name, "data": event.data}
                for event in self.timeline
            ],
        }


def facts(story: Story) -> dict[str, Any]:
    """Resolver per boot, clock, TLS, messages, data and firmware."""
    return {
        "resolver": story.resolver,
        "clock": story.clock,
        "tls": story.tls,
        "messages": story.messages,
        "data": story.data.as_json(),
        "firmware": story.firmware,
    }

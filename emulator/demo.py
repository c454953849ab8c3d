"""The demo: one charger's first minutes, and the same boot once more with the DHCP server's DNS silent."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emulator.net.capture import NO_FILES, CaptureFiles
from emulator.net.meter import Usage
from emulator.player import Audience, play
from emulator.scenario import load_scenario
from emulator.verdict import Verdict, facts

SCENARIOS = ("demo", "demo-dns-silent")


def run_demo(
    world: str,
    *,
    seed: int = 1,
    certs_dir: Path | None = None,
    audience: Audience | None = None,
    files: CaptureFiles = NO_FILES,
) -> list[Verdict]:
    """Play both parts, the second also when the first went wrong. Each has capture files of its own."""
    return [
        play(load_scenario(name), world, seed=seed, certs_dir=certs_dir, audience=audience, files=files.of_story(name))
        for name in SCENARIOS
    ]


def demo_json(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Both parts as one JSON object. Boots count on over both; clock, TLS and firmware are of the first part."""
    stages: list[dict[str, Any]] = []
    resolver: list[str | None] = []
    messages = {"up": 0, "down": 0}
    data = Usage()
    for verdict in verdicts:
        story = verdict.story
        stages += [{**row.as_json(), "boot": row.boot + len(resolver)} for row in story.rows]
        resolver += story.resolver
        messages = {way: messages[way] + count for way, count in story.messages.items()}
        data = data.plus(story.data)
    first = verdicts[0]
    return {
        "ok": all(verdict.ok for verdict in verdicts),
        "stages": stages,
        **facts(first.story),
        "resolver": resolver,
        "messages": messages,
        "data": data.as_json(),
        "scenarios": [
            {"name": v.scenario.name, "ok": v.ok, "failures": list(v.failures), "crash": v.crash, "digest": v.digest}
            for v in verdicts
        ],
        "world": first.world,
        "seed": first.seed,
    }

"""Scenarios played by a toy charger in a toy world, and the parts that they are put together from."""

import asyncio
from collections.abc import Callable
from typing import Any

from emulator.player import Player
from emulator.scenario import parse_scenario
from emulator.verdict import Verdict
from emulator.world import WorldOptions
from tests.toy import BOOT, Part, ToyCharger, ToyWorld

HEAD = """
name = "story"
title = "A symptom."
cause = "A cause."
fix = "A fix."
"""
POWER = '[[step]]\nat_s = 0\ndo = "power_on"\n'
PUBLISH = '[[step]]\nat_s = 1\ndo = "publish_bundle"\nroots = "old"\n'
OFFER = '[[step]]\nat_s = 1\ndo = "offer_firmware"\nversion = "5.4"\n'
EXPECT = '[expect]\nevents = ["device.online"]\nwithin_s = 30\n'


def run(
    text: str,
    part: Part = BOOT,
    *,
    ending: Callable[[], None] | None = None,
    **world: Any,
) -> tuple[Verdict, ToyWorld, ToyCharger]:
    """Play a scenario with a charger that plays `part`."""
    made: list[ToyCharger] = []

    def make(spec: Any, env: Any) -> ToyCharger:
        made.append(ToyCharger(spec, env, part, ending))
        return made[0]

    player = Player(parse_scenario(text, where="story.toml"), make)
    place = ToyWorld(WorldOptions(sinks=(player.see,)), **world)
    with asyncio.Runner(loop_factory=place.loop_factory) as runner:
        verdict = runner.run(player.run(place))
    assert place.closed == 1
    return verdict, place, made[0]

"""What people see: lines, the live panel, summaries and the report page, from runs with a toy charger."""

import asyncio
import io
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console

from emulator.clock import SimLoop
from emulator.player import Player
from emulator.report import render_report
from emulator.scenario import parse_scenario
from emulator.story import Story, Update
from emulator.summary import facts_table, fleet_table, overview_table, stage_table
from emulator.telling import WORDS, Tone, led_of, tell
from emulator.trace import TraceEvent
from emulator.verdict import Verdict
from emulator.view import View, graph_text, panel
from emulator.world import LoopFactory, WorldOptions
from tests.toy import BOOT, Part, ToyCharger, ToyWorld, stage

STORY = """
name = "story"
title = "A symptom."
cause = "A <b>cause</b> [bold]."
fix = "A fix."
[[step]]
at_s = 0
do = "power_on"
[expect]
events = ["%s"]
within_s = 5
"""
SERIAL = "ZPR000001"


def watched(
    *,
    wanted: str = "device.online",
    part: Part = BOOT,
    terminal: bool = False,
    real_time: bool = False,
) -> tuple[Verdict, str]:
    """Play before a console and return the verdict and all that was printed."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, highlight=False, legacy_windows=False)
    factory: LoopFactory = (lambda: SimLoop()) if real_time else SimLoop  # only the class itself means virtual time
    scenario = parse_scenario(STORY % wanted, where="story.toml")
    player = Player(scenario, lambda spec, env: ToyCharger(spec, env, part), audience=View(console))
    world = ToyWorld(WorldOptions(sinks=(player.see,)), loop_factory=factory)
    with asyncio.Runner(loop_factory=factory) as runner:
        verdict = runner.run(player.run(world))
    assert isinstance(console.file, io.StringIO)
    return verdict, console.file.getvalue()


def shown(renderable: Any, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def told(name: str, **data: Any) -> TraceEvent:
    return TraceEvent(1.0, None, SERIAL, name, data)


def attempt(*words: str, **more: Any) -> TraceEvent:
    name, data = stage(*words, **more)
    return told(name, **data)


def after(*events: TraceEvent) -> Story:
    story = Story(SERIAL)
    for event in events:
        story.see(event)
    return story


def test_without_a_terminal_there_are_plain_whole_lines_and_no_control_codes() -> None:
    long = "x" * 200
    _, text = watched(part=[*BOOT[:-1], (0.65, *stage("hub", detail=long)), BOOT[-1]])
    assert "\x1b" not in text
    assert long in text
    assert re.search(r"0\.300 s  ! names degraded +fallback_dns  0\.250 s\n", text)
    assert re.search(r"0\.700 s  ✔ online\n", text)


def test_on_a_terminal_a_panel_lives_under_the_lines_and_no_line_is_wider_than_the_terminal() -> None:
    _, text = watched(terminal=True, real_time=True)
    assert SERIAL in text and "● " in text and "firmware" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert max(len(line.rstrip()) for line in re.split(r"[\r\n]", plain)) <= 80


def test_in_simulated_time_no_panel_is_shown_for_it_would_only_flicker() -> None:
    _, text = watched(terminal=True)
    assert "● " not in text


def test_the_end_says_whether_it_was_as_expected_and_always_cause_and_fix() -> None:
    _, good = watched()
    assert "✔ story as expected, 0.7 s" in good
    verdict, bad = watched(wanted="device.never")
    assert not verdict.ok
    assert "✘ story NOT as expected, 5.0 s" in bad
    assert "✘ event device.never did not happen" in bad
    for text in (good, bad):
        assert "A <b>cause</b> [bold]." in text  # no markup of ours in other people's words
        assert "A fix." in text


def test_the_panel_shows_stages_clock_resolver_tls_light_power_and_update() -> None:
    story = after(*(TraceEvent(t, None, SERIAL, name, data) for t, name, data in BOOT))
    story.see(told("update.manifest", size_bytes=100, version="5.4.0.1"))
    story.update = Update(43, 100, "5.4.0.1")
    for watts in (0.0, 5500.0, 11040.0):
        story.power_w.append(watts)
    for width in (80, 140):
        text = shown(panel(story, width), width)
        for word in (
            "✔ link",
            "! names",
            "✔ hub",
            "2025-03-01 00:00:00 -> 2026-06-01 12:00:00",
            "8.8.8.8:53",
            "TLSv1.2",
            "purple: firmware update",
            "▄█ 11.0 kW",
            "43 %  5.4.0.1",
        ):
            assert word in text, word


@pytest.mark.parametrize(
    ("events", "colour"),
    [
        ([], "green, flashing"),
        ([told("device.online")], "dark"),
        ([told("device.online"), told("device.charging", state="requesting", before="disconnected")], "yellow"),
        ([told("device.charging", state="charging", before="ready")], "blue"),
        ([told("device.charging", state="finished", before="charging")], "green"),
        ([told("device.online"), told("update.started", version="1", slot="b")], "purple"),
        ([told("device.online"), told("device.offline", why="reset")], "green, flashing"),
    ],
)
def test_the_light_has_the_colour_of_the_manual(events: list[TraceEvent], colour: str) -> None:
    assert led_of(after(*events))[0] == colour


def test_each_power_on_is_a_boot_of_its_own_with_its_own_resolver() -> None:
    power = told("device.power_on", reason="update", firmware="5.4.0.1", slot="b", boot=2)
    names = [attempt("names", server=server) for server in ("10.0.0.1:53", "8.8.8.8:53")]
    story = after(power, names[0], power, names[1])
    assert [(row.boot, row.stage) for row in story.rows] == [(1, "names"), (2, "names")]
    assert story.resolver == ["10.0.0.1:53", "8.8.8.8:53"]


def test_a_story_follows_one_charger_only() -> None:
    other = TraceEvent(1.0, None, "ZPR000002", "device.online", {})
    assert not after(other).online


def test_an_update_is_followed_from_manifest_to_end() -> None:
    begun = [told("update.started", version="1", slot="b"), told("update.manifest", size_bytes=9, version="2")]
    progress = told("update.progress", done_bytes=4, size_bytes=9)
    assert after(*begun, progress).update == Update(4, 9, "2")
    assert after(*begun, progress, told("update.rejected", reason="wrong_hash", detail="")).update is None


def test_events_that_come_by_the_hundred_are_not_told_and_unknown_ones_are_told_by_name() -> None:
    assert tell(told("device.publish", type=2, bytes=3)) is None
    line = tell(told("lease.lost", why="expired", note=None), since_s=0.5)
    assert line is not None
    assert (line.t, line.tone, line.what, line.detail) == (0.5, Tone.PLAIN, "lease lost", "why expired")


def test_the_graph_keeps_to_its_width_and_names_the_last_value() -> None:
    assert graph_text([], 10).plain == "0.0 kW"
    assert graph_text([0.0] * 50, 10).plain.strip() == "0.0 kW"
    assert graph_text([11000.0] * 50, 10).plain == "█" * 10 + " 11.0 kW"


def test_long_runs_show_their_first_rows_and_how_many_there_are_besides() -> None:
    story = after(*[attempt("hub", "failed", "reset")] * 40)
    assert "and 10 more" in shown(stage_table(story))


def test_facts_that_are_not_there_are_said_so() -> None:
    text = shown(facts_table(Story(SERIAL)))
    assert "not set -> not set" in text and "never asked" in text and "no session" in text


def test_overview_and_fleet_tables_name_every_row() -> None:
    good, _ = watched()
    bad, _ = watched(wanted="device.never")
    text = shown(overview_table([good, bad]))
    assert "✔ as expected" in text and "✘ event device.never did not happen" in text
    report = {"ok": True, "stages": {"hub": {"p50_ms": 1.5}}, "failures": {}, "messages": {"up": 2, "down": 1}}
    text = shown(fleet_table(report))
    for word in ("stage hub", "p50_ms 1.5", "none", "up 2, down 1"):
        assert word in text


class _Page(HTMLParser):
    """Notes references to other files and checks that tags are balanced."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            if name in ("src", "href") and value and not value.startswith("#"):
                self.outside.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_page_with_a_section_per_scenario_and_escapes_what_it_shows() -> None:
    good, _ = watched()
    bad, _ = watched(wanted="device.never")
    text = render_report([good, bad])
    page = _Page()
    page.feed(text)
    assert page.open == [] and page.outside == []
    assert "story" in page.ids
    assert "1 of 2 scenarios as expected" in text
    assert "A &lt;b&gt;cause&lt;/b&gt; [bold]." in text
    assert "event device.never did not happen" in text
    assert "prefers-color-scheme: dark" in text
    assert good.digest in text


def test_every_event_that_has_words_of_its_own_is_told_without_error() -> None:
    everything = {
        "kind": "dns.silence", "fault": "dns.silence", "id": 501, "payload": ["16", "4"], "status": 200,
        "version": "5.4.0.1", "signer": "firmware", "why": "reset", "boot": 1, "firmware": "5.3.0.3", "slot": "b",
        "reason": "update", "before": "ready", "state": "charging", "after_s": 3.0, "changed": [510],
        "size_bytes": 8 << 20, "detail": "x", "roots": "both", "retry_s": 10.0, "mode": "lte", "within_s": 180.0,
        "set": ["mode"], "offline_s": 3900.0, "errors": 3, "timeouts": 3, "blocks": 3, "data": {"up": 900, "down": 300},
        "shown": "no_car",
    }  # fmt: skip
    for name in WORDS:
        line = tell(told(name, **everything))
        assert line is not None and line.what

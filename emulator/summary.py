"""Tables and sentences that sum up a run, for terminals."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from emulator.story import Story
from emulator.telling import MARKS, STAGE_TONES, TONE_STYLES, Tone, clock_text
from emulator.verdict import Verdict

ROWS_SHOWN = 30


def stage_table(story: Story) -> Table:
    """One row per attempt at a stage; of long runs the first ones, and how many there are besides."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("boot", "stage", "try", "outcome", "why", "seconds"):
        table.add_column(heading, justify="right" if heading in ("boot", "try", "seconds") else "left", no_wrap=True)
    for row in list(story.rows)[:ROWS_SHOWN]:
        tone = STAGE_TONES[row.outcome]
        outcome = Text(f"{MARKS[tone]} {row.outcome}", style=TONE_STYLES[tone])
        table.add_row(str(row.boot), row.stage, str(row.attempt), outcome, row.why or "", f"{row.seconds:.3f}")
    if len(story.rows) > ROWS_SHOWN:
        table.add_row("", f"and {len(story.rows) - ROWS_SHOWN} more", "", "", "", "")
    return table


def facts_table(story: Story) -> Table:
    """Clock, resolver, TLS, firmware, messages and data."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for name, value in fact_rows(story):
        grid.add_row(name, value)
    return grid


def fact_rows(story: Story) -> list[tuple[str, str]]:
    """The facts as pairs of words."""
    clock, tls, firmware = story.clock, story.tls, story.firmware
    resolver = [f"boot {boot}: {server or 'none answered'}" for boot, server in enumerate(story.resolver, start=1)]
    return [
        ("clock", f"{clock_text(clock['before'])} -> {clock_text(clock['after'])}"),
        ("DNS", "; ".join(resolver) or "never asked"),
        ("TLS", f"{tls['version']} {tls['cipher']}" if tls["version"] else "no session"),
        ("firmware", _change(firmware["before"], firmware["after"])),
        ("messages", f"{story.messages['up']} up, {story.messages['down']} down"),
        ("data", f"{story.data.up_bytes / 1000:.1f} kB up, {story.data.down_bytes / 1000:.1f} kB down"),
    ]


def _change(before: str | None, after: str | None) -> str:
    if before is None:
        return "never started"
    return f"{before} -> {after}" if before != after else before


def verdict_text(verdict: Verdict) -> Text:
    """One line when all is as expected; else what is not, with cause and fix never hidden."""
    scenario = verdict.scenario
    tone = Tone.GOOD if verdict.ok else Tone.BAD
    text = Text()
    text.append(f"{MARKS[tone]} {scenario.name} ", TONE_STYLES[tone])
    text.append(f"{'as expected' if verdict.ok else 'NOT as expected'}, {verdict.seconds:.1f} s\n")
    for failure in verdict.failures:
        text.append(f"  {MARKS[Tone.BAD]} {failure}\n", TONE_STYLES[Tone.BAD])
    if verdict.crash:
        text.append(verdict.crash)
    text.append("  cause  ", "dim").append(f"{scenario.cause}\n")
    text.append("  fix    ", "dim").append(f"{scenario.fix}\n")
    return text


def overview_table(verdicts: Sequence[Verdict]) -> Table:
    """One row per scenario."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("scenario", no_wrap=True)
    table.add_column("seconds", justify="right")
    table.add_column("result")
    for verdict in verdicts:
        tone = Tone.GOOD if verdict.ok else Tone.BAD
        result = "as expected" if verdict.ok else verdict.failures[0]
        table.add_row(
            verdict.scenario.name, f"{verdict.seconds:.1f}", Text(f"{MARKS[tone]} {result}", TONE_STYLES[tone])
        )
    return table


def fleet_table(report: Mapping[str, Any]) -> Table:
    """Counts and latencies of a fleet run, as `emulator.fleet.run_fleet` reports them."""
    table = Table(box=box.SIMPLE, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in report.items():
        if name == "stages":
            for stage, spread in value.items():
                table.add_row(f"stage {stage}", "  ".join(f"{key} {number}" for key, number in spread.items()))
        elif isinstance(value, Mapping):
            table.add_row(name, ", ".join(f"{key} {number}" for key, number in value.items()) or "none")
        else:
            table.add_row(name, str(value))
    return table

"""What people see on the terminal while scenarios are played: one line per event, a live panel, a summary."""

import asyncio
from collections.abc import Sequence

from rich.console import Console, OverflowMethod, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from emulator.acts import Playable
from emulator.clock import SimLoop
from emulator.scenario import Scenario
from emulator.story import Story
from emulator.summary import fact_rows, facts_table, stage_table, verdict_text
from emulator.telling import MARKS, STAGE_TONES, TONE_STYLES, Line, Tone, led_of, tell
from emulator.trace import TraceEvent
from emulator.verdict import Verdict
from emulator.world import World

REFRESH_S = 0.1
BLOCKS = " ▁▂▃▄▅▆▇█"
GRAPH_MAX = 60
CTRL_C_WIDTH = 3
"""Room for the ^C that a terminal echoes behind the panel: a wrapped line would leave the panel's top behind."""
LED_STYLES = {"purple": "magenta", "blue": "blue", "yellow": "yellow", "green": "green", "dark": "dim"}


class View:
    """An audience that prints. On a terminal it also shows a panel that lives, unless time is simulated."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._alive = False
        """Show a panel."""
        self._story: Story | None = None
        self._began_s: float | None = None

    def opens(self, scenario: Scenario, world: World, story: Story) -> None:
        """Print the headline."""
        self._story, self._began_s = story, None
        self._alive = self._console.is_terminal and world.loop_factory is not SimLoop
        self._console.print(Rule(f"{scenario.name} · {world.name}", style="cyan", align="left"))
        self._console.print(Text(scenario.title, style="bold"))

    def see(self, event: TraceEvent) -> None:
        """Print the event, if it is one that is told."""
        if self._began_s is None:
            self._began_s = event.t
        line = tell(event, self._began_s)
        if line is not None:
            overflow: OverflowMethod = "ellipsis" if self._console.is_terminal else "ignore"  # a file has no width
            self._console.print(line_text(line), crop=self._console.is_terminal, no_wrap=True, overflow=overflow)

    async def follow(self, charger: Playable) -> None:
        """Show the panel and keep it fresh, where there is somebody to look at it."""
        if not self._alive or self._story is None:
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                self._story.read(charger.snapshot())
                live.update(panel(self._story, self._console.width), refresh=True)
                await asyncio.sleep(REFRESH_S)

    def closes(self, verdict: Verdict | None) -> None:
        """Print the summary, or that there is none."""
        if verdict is None:
            self._console.print(Text("broken off", style="yellow"))
            return
        for part in (stage_table(verdict.story), facts_table(verdict.story), verdict_text(verdict)):
            self._console.print(part)


def line_text(line: Line) -> Text:
    """``   1.234 s  ✔ hub passed  TLSv1.2 ...`` with the tone as colour."""
    what = (f"{MARKS[line.tone]} {line.what:<22}", TONE_STYLES[line.tone])
    text = Text.assemble((f"{line.t:9.3f} s  ", "dim"), what, "  ", line.detail)
    text.rstrip()
    return text


def panel(story: Story, width: int) -> RenderableType:
    """The charger as it is now: stages of this boot, facts, light, power and update."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    grid.add_row(f"boot {max(story.boot, 1)}", stages_text(story))
    for name, value in fact_rows(story):
        grid.add_row(name, value)
    colour, meaning = led_of(story)
    style = LED_STYLES[colour.partition(",")[0]]
    grid.add_row("light", Text.assemble(("● ", style), f"{colour}: {meaning}"))
    grid.add_row("power", graph_text(story.power_w, min(GRAPH_MAX, max(width - 40, 10))))
    if story.update is not None:
        grid.add_row("update", _update_bar(story))
    return Panel(grid, title=story.charger, title_align="left", border_style="cyan", width=width - CTRL_C_WIDTH)


def stages_text(story: Story) -> Text:
    """``✔ link  ! names  ✘ hub``: the last outcome of each stage in this boot, and the stage that runs now."""
    from emulator.boot.stages import STAGES

    outcomes = {row.stage: row.outcome for row in story.rows if row.boot == story.boot}
    words = []
    for stage in STAGES:
        tone = STAGE_TONES.get(outcomes.get(stage.name, ""), Tone.PLAIN)
        words.append(Text(f"{MARKS[tone]} {stage.name}", style=TONE_STYLES[tone]))
    return Text("  ").join(words)


def graph_text(power_w: Sequence[float], width: int) -> Text:
    """The last `width` samples as blocks, and the last one in kilowatts."""
    if not power_w:
        return Text("0.0 kW")
    recent = list(power_w)[-width:]
    top = max(*power_w, 1.0)
    steps = len(BLOCKS) - 1
    bars = "".join(BLOCKS[round(sample / top * steps)] for sample in recent)
    return Text.assemble((bars.strip(" ") and bars, "blue"), f" {recent[-1] / 1000:.1f} kW")


def _update_bar(story: Story) -> RenderableType:
    update = story.update
    if update is None or not update.size_bytes:
        return Text("asks where the image is")
    bar = Table.grid(padding=(0, 1))
    progress = ProgressBar(total=update.size_bytes, completed=update.done_bytes, width=30)
    bar.add_row(progress, f"{100 * update.done_bytes / update.size_bytes:3.0f} %  {update.version}")
    return bar

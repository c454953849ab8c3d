"""The report page of ``play --html``: one self-contained file, readable in light and dark."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template

from emulator.story import StageRow
from emulator.summary import fact_rows
from emulator.telling import MARKS, STAGE_TONES, Line, Tone, tell
from emulator.verdict import Verdict

LINES_SHOWN = 500


def render_report(verdicts: Sequence[Verdict]) -> str:
    """The page as text."""
    page = Template((files("emulator") / "report.html").read_text(encoding="utf-8"))
    passed = sum(verdict.ok for verdict in verdicts)
    return page.substitute(
        title=f"{passed} of {len(verdicts)} scenarios as expected",
        world=escape(", ".join(sorted({f"{verdict.world}, seed {verdict.seed}" for verdict in verdicts}))),
        overview="\n".join(map(_overview_row, verdicts)),
        scenarios="\n".join(map(_section, verdicts)),
    )


def _overview_row(verdict: Verdict) -> str:
    name, tone = escape(verdict.scenario.name), Tone.GOOD if verdict.ok else Tone.BAD
    title = escape(verdict.scenario.title)
    return f'<tr><td>{_mark(tone)}</td><td><a href="#{name}">{name}</a></td><td>{title}</td></tr>'


def _section(verdict: Verdict) -> str:
    scenario, story = verdict.scenario, verdict.story
    word = f"{'as expected' if verdict.ok else 'not as expected'}, {verdict.seconds:.1f} s"
    mark, name = _mark(Tone.GOOD if verdict.ok else Tone.BAD), escape(scenario.name)
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in fact_rows(story))
    return f"""<section id="{name}">
<h2>{mark} {name} <small>{word}</small></h2>
<p class="symptom">{escape(scenario.title)}</p>
{_failures(verdict)}
<dl><dt>cause</dt><dd>{escape(scenario.cause)}</dd><dt>fix</dt><dd>{escape(scenario.fix)}</dd>{facts}</dl>
<h3>Boot stages</h3>
<div class="wide"><table><thead><tr><th>boot</th><th>stage</th><th>try</th><th>outcome</th><th>why</th><th>seconds</th>
<th>detail</th></tr></thead><tbody>{"".join(map(_stage_row, story.rows))}</tbody></table></div>
<details><summary>Timeline</summary><ol class="timeline">{_timeline(verdict)}</ol></details>
<p class="digest">trace {escape(verdict.digest)}</p>
</section>"""


def _failures(verdict: Verdict) -> str:
    items = "".join(f"<li>{escape(failure)}</li>" for failure in verdict.failures)
    crash = f"<pre>{escape(verdict.crash)}</pre>" if verdict.crash else ""
    return (f'<ul class="failures">{items}</ul>' if items else "") + crash


def _stage_row(row: StageRow) -> str:
    outcome = f"{_mark(STAGE_TONES[row.outcome])} {row.outcome}"
    cells = (row.boot, row.stage, row.attempt, outcome, row.why or "", f"{row.seconds:.3f}", escape(row.detail))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _timeline(verdict: Verdict) -> str:
    began_s = verdict.timeline[0].t if verdict.timeline else 0.0
    lines = [line for event in verdict.timeline if (line := tell(event, began_s)) is not None]
    shown = "".join(_timeline_items(lines[:LINES_SHOWN]))
    return shown + (f"<li>and {len(lines) - LINES_SHOWN} more</li>" if len(lines) > LINES_SHOWN else "")


def _timeline_items(lines: Iterable[Line]) -> Iterable[str]:
    for line in lines:
        detail = f" <span>{escape(line.detail)}</span>" if line.detail else ""
        yield f'<li class="{line.tone}"><time>{line.t:.3f} s</time> {_mark(line.tone)} {escape(line.what)}{detail}</li>'


def _mark(tone: Tone) -> str:
    return f'<b class="{tone}">{MARKS[tone]}</b>'

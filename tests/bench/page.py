"""The report as one self-contained page, readable in light and dark."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from tests.bench.figure import Figure
from tests.bench.report import COLUMNS, Report, boot_split, cells, message_split, number

TEMPLATE = Path(__file__).with_name("page.html")
PROBE = (
    "A bare probe of the same design, TLS and bytes in the shape of MQTT at both ends and nothing else, did 912 "
    "connects/s with 25 KiB per client at either end."
)
BOOT_SPLIT = (
    "fleet.cpu_ms_per_boot",
    "cloud.cpu_ms_per_boot",
    "mosquitto.cpu_ms_per_boot",
    "fleet.cpu_ms_per_login",
    "cloud.cpu_ms_per_login",
    "cloud.cpu_ms_per_handshake",
)
MESSAGE_SPLIT = (
    "endpoint.cpu_us_per_msg",
    "bus.cpu_us_per_msg",
    "mosquitto.cpu_us_per_msg",
    "cloud.cpu_us_per_msg",
)
"""Figures that share a picture: the parts of a boot in milliseconds, those of a message in microseconds."""

Bar = tuple[str, float, str]
"""Label, value and what it is: ours, peer or goal."""


def render(report: Report) -> str:
    """The page as text."""
    goals = [each.met for each in report.figures if each.met is not None]
    alone = [each for each in report.figures if each.name not in (*BOOT_SPLIT, *MESSAGE_SPLIT)]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        headline=f"{goals.count(True)} of {len(goals)} goals met",
        failures="".join(_failure(*failure) for failure in report.failures),
        columns="".join(f"<th>{column}</th>" for column in COLUMNS),
        rows="\n".join(map(_row, report.figures)),
        split=_split(report, "a boot", BOOT_SPLIT, f"{boot_split(report)} {PROBE}")
        + _split(report, "a message", MESSAGE_SPLIT, message_split(report)),
        pictures="\n".join(map(_picture, alone)),
        facts="".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in report.facts),
    )


def _failure(name: str, why: str) -> str:
    return f'<p class="missed">{escape(name)} could not run: {escape(why)}</p>'


def _row(figure: Figure) -> str:
    *texts, goal = cells(figure)
    mark = "" if figure.met is None else "met" if figure.met else "missed"
    return f'<tr>{"".join(f"<td>{escape(text)}</td>" for text in texts)}<td class="{mark}">{escape(goal)}</td></tr>'


def _split(report: Report, of: str, names: Sequence[str], text: str) -> str:
    measured = [each for name in names if (each := report.find(name)) is not None]
    if not measured:
        return ""
    bars = _bars(((each.name, each.value, "ours") for each in measured), measured[0].kind.unit)
    return f"<section><h2>Where the processor time of {of} goes</h2><p>{escape(text)}</p>{bars}</section>"


def _picture(figure: Figure) -> str:
    bars: list[Bar] = [("this", figure.value, "ours")]
    if figure.peer is not None and figure.peer_value is not None:
        bars.append((figure.peer.name, figure.peer_value, "peer"))
    if figure.kind.goal is not None:
        bars.append(("goal", figure.kind.goal, "goal"))
    note = f'<p class="note">{escape(figure.note)}</p>' if figure.note else ""
    heading = f"<h3>{escape(figure.name)}</h3>"
    return f'{heading}<p class="what">{escape(figure.kind.what)}</p>{_bars(bars, figure.kind.unit)}{note}'


def _bars(bars: Iterable[Bar], unit: str) -> str:
    """Bars on one scale, each with its label and value."""
    shown = list(bars)
    full = max((value for _, value, _ in shown), default=0.0) or 1.0
    lines = (
        f'<span>{escape(label)}</span><span class="bar {kind}" style="width:{100 * value / full:.1f}%"></span>'
        f"<span>{number(value)} {escape(unit)}</span>"
        for label, value, kind in shown
    )
    return f'<div class="bars">{"".join(lines)}</div>'

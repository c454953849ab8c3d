"""What the benchmarks found, as JSON and as the cells of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.figure import FIGURES, Figure

COLUMNS = ("figure", "median", "unit", "runs", "peer", "its median", "ratio", "goal")


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one session, benchmarks that could not run with the reason, and facts about the machine."""

    figures: tuple[Figure, ...]
    failures: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]

    def find(self, name: str) -> Figure | None:
        """The figure of that name, if it was measured."""
        return next((each for each in self.figures if each.name == name), None)


def in_order(figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """In the order of `FIGURES`."""
    order = list(FIGURES)
    return tuple(sorted(figures, key=lambda each: order.index(each.name)))


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """The content of report.json. `value` and `peer_value` are medians of `runs` and `peer_runs`."""
    return [_row(each) for each in figures]


def _row(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "value": _rounded(figure.value),
        "unit": figure.kind.unit,
        "peer": figure.peer.name if figure.peer else None,
        "peer_value": _rounded(figure.peer_value),
        "ratio": _rounded(figure.ratio),
        "goal": figure.kind.goal,
        "met": figure.met,
        "runs": [_rounded(run) for run in figure.runs],
        "peer_runs": [_rounded(run) for run in figure.peer.runs] if figure.peer else [],
        "note": figure.note,
    }


def cells(figure: Figure) -> tuple[str, ...]:
    """A row of the table, one text for each of `COLUMNS`."""
    kind, peer = figure.kind, figure.peer
    return (
        figure.name,
        number(figure.value),
        kind.unit,
        spread(figure.runs),
        peer.name if peer else "",
        number(figure.peer_value),
        f"{figure.ratio:.2f}" if figure.ratio is not None else "",
        goal(figure),
    )


def spread(runs: Sequence[float]) -> str:
    """Smallest to greatest value and how many there are."""
    return f"{number(min(runs))} to {number(max(runs))} ({len(runs)})" if len(runs) > 1 else "one"


def goal(figure: Figure) -> str:
    """The goal in words and whether it is met; empty where there is none."""
    wanted = figure.kind.goal
    if wanted is None:
        return ""
    word = "at least" if figure.kind.more_is_better else "at most"
    return f"{word} {wanted:g}: {'met' if figure.met else 'MISSED'}"


def number(value: float | None) -> str:
    """Three digits that count; empty for None."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def boot_split(report: Report) -> str:
    """Where the processor time of a boot goes, in a sentence or two; empty when the figures for it are missing."""
    names = ("cpu_ms_per_boot", "cpu_ms_per_login")
    fleet_boot, fleet_login = (report.find(f"fleet.{name}") for name in names)
    cloud_boot, cloud_login = (report.find(f"cloud.{name}") for name in names)
    broker, bare = report.find("mosquitto.cpu_ms_per_boot"), report.find("cloud.cpu_ms_per_handshake")
    if not (fleet_boot and fleet_login and cloud_boot and cloud_login and broker and bare):
        return ""
    return (
        f"A bare login takes {number(fleet_login.value)} ms of processor time in the client and "
        f"{number(cloud_login.value)} ms in the cloud; a TLS handshake without a login takes the cloud "
        f"{number(bare.value)} ms. A whole boot takes {number(fleet_boot.value)} ms in the fleet, "
        f"{number(cloud_boot.value)} ms in the cloud and {number(broker.value)} ms in Mosquitto. So what a boot does "
        f"beyond the login (lease, names, time, the charger's own state and its first reports over the bus) takes "
        f"{number(fleet_boot.value - fleet_login.value)} ms in the fleet and "
        f"{number(cloud_boot.value - cloud_login.value)} ms in the cloud."
    )


def message_split(report: Report) -> str:
    """Where the processor time of a message goes, in a sentence; empty when the figures for it are missing."""
    names = ("endpoint", "bus", "mosquitto", "cloud")
    endpoint, bus, broker, main = (report.find(f"{name}.cpu_us_per_msg") for name in names)
    if not (endpoint and bus and broker and main):
        return ""
    whole = endpoint.value + bus.value + broker.value
    shares = (f"{number(each.value)} us ({each.value / whole:.0%})" for each in (endpoint, bus, broker))
    return (
        f"At 1,500 messages/s a message takes {next(shares)} of processor time in the endpoint, {next(shares)} in its "
        f"bus client and {next(shares)} in Mosquitto. The main process, which gets every message over the bus for the "
        f"vendor's backend, takes {number(main.value)} us more."
    )

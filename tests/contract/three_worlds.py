"""What the lab tells otherwise than the other two worlds, why that is so, and the page that says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.contract.worlds import Row, Table, Told, in_words, stops

PAGE = Path("bench/out/worlds.md")
"""Where `page` is written after the tests, from the root of the checkout."""

COLUMNS = ("sim", "loopback", "lab")


@dataclass(frozen=True, slots=True)
class Difference:
    """What the lab tells instead, and why that is right."""

    because: str
    rows: tuple[Row, ...] | None = None
    """None: the same rows; only what was tried on the way is not the same."""


FILTERS_BY_PORT = (
    "somebody answers from another port. The model of the router lets in whatever comes to a mapped port "
    "(endpoint-independent filtering, RFC 4787 section 5). The kernel's connection tracking filters by address and "
    "port: the forged answer never reaches the charger, which so cannot call it absurd"
)

DIFFERENT: Mapping[tuple[str, str], Difference] = {
    ("ntp", "somebody answers first"): Difference(FILTERS_BY_PORT),
    ("ntp", "somebody answers instead"): Difference(FILTERS_BY_PORT, stops("time", "ntp_silent").rows),
}
"""Table and case to the difference. All others are told alike."""


def page(tables: Mapping[str, Table], told: Mapping[str, Mapping[str, Mapping[str, Told]]]) -> str:
    """A page with every case that was told in all three worlds: `told` is table to world to case to what was seen."""
    lines = ["# One story in three worlds", ""]
    total = sum(len(tables[name]) for name in told)
    unlike = [(name, case) for name in told for case in tables[name] if not _alike(told[name], case)]
    lines += [f"{total} scenarios, {total - len(unlike)} told alike by {', '.join(COLUMNS)}.", "", "## Differences", ""]
    for name, case in unlike:
        difference = DIFFERENT.get((name, case))
        lines += [f"### {name}: {case}", "", difference.because if difference else "**Not explained.**", ""]
        for world in COLUMNS:
            seen = told[name][world][case]
            lines += [f"- {world}: {in_words(seen.rows)}", *(f"    - tried: {each}" for each in seen.tried)]
        lines.append("")
    lines += ["## All scenarios", "", "| table | scenario | outcome | told alike |", "|---|---|---|---|"]
    for name in told:
        for case in tables[name]:
            rows = in_words(told[name]["sim"][case].rows)
            lines.append(f"| {name} | {case} | {rows} | {'yes' if (name, case) not in unlike else 'no'} |")
    return "\n".join((*lines, ""))


def _alike(told: Mapping[str, Mapping[str, Told]], case: str) -> bool:
    seen = [(in_words(told[world][case].rows), told[world][case].tried) for world in COLUMNS]
    return all(each == seen[0] for each in seen)

"""``python -m tests.bench``: runs the benchmarks and writes bench/out/report.json and bench/out/report.html.

Exit status 0 when all ran, whatever the figures are; 1 when one could not run; 2 for bad usage; 130 after Ctrl-C.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from rich.console import Console
from rich.table import Table

from emulator.errors import UsageError
from tests.bench.page import render
from tests.bench.processes import ROOT
from tests.bench.report import COLUMNS, Report, as_json, boot_split, cells, message_split
from tests.bench.scale import FULL, QUICK
from tests.bench.suite import chosen, run

OUT = ROOT / "bench" / "out"
TABLE_WIDTH = 160
RIGHT = {"median", "its median", "ratio"}


def main() -> int:
    """Parse the command line, measure, write, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures, and writes bench/out/.")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a figure, or a pattern of figures")
    parser.add_argument("--quick", action="store_true", help="small and once: shows that everything runs")
    parser.add_argument("--json", action="store_true", help="print report.json instead of the table")
    options = parser.parse_args()
    try:
        benchmarks = chosen(options.only)
    except UsageError as error:
        parser.error(str(error))
    report = asyncio.run(_until_stopped(run(benchmarks, QUICK if options.quick else FULL)))
    _write(report)
    if options.json:
        print(json.dumps(as_json(report.figures), indent=2))
    else:
        _print_table(report)
    for name, why in report.failures:
        print(f"bench: {name} could not run: {why}", file=sys.stderr)
    return 1 if report.failures else 0


async def _until_stopped(measuring: Coroutine[Any, Any, Report]) -> Report:
    """Ctrl-C cancels by itself; SIGTERM shall do the same, so that every process that was started is ended."""
    task = asyncio.create_task(measuring)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _write(report: Report) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "report.json").write_text(json.dumps(as_json(report.figures), indent=2) + "\n", encoding="utf-8")
    (OUT / "report.html").write_text(render(report), encoding="utf-8")


def _print_table(report: Report) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = TABLE_WIDTH
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in RIGHT else "left", overflow="fold")
    for figure in report.figures:
        table.add_row(*cells(figure), style=None if figure.met is not False else "red")
    console.print(table)
    for text in (
        boot_split(report),
        message_split(report),
        *(f"{name}: {text}" for name, text in report.facts),
        "bench/out/report.html has pictures",
    ):
        if text:
            console.print(text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)

"""The command line. What a command needs is imported when it runs, so that --help is quick."""

import json
import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

import typer

from emulator.command_line import AS_EXPECTED, NOT_AS_EXPECTED, obey
from emulator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from rich.console import Console

    from emulator.net.capture import CaptureFiles
    from emulator.player import Audience
    from emulator.trace import TraceEvent
    from emulator.verdict import Verdict

T = TypeVar("T")

FILE_WIDTH = 120
ENDINGS = [signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__]
"""Signals that end us as Ctrl-C does; Windows has no SIGHUP."""

app = typer.Typer(
    name="emulator",
    help="An emulator of the Zaptec Pro charger and of the network and cloud around it.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

WorldName = Annotated[str, typer.Option("--world", help="sim (virtual time), loopback (real sockets), lab (as root).")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Makes every random choice; the same seed repeats a run.")]
CertsDir = Annotated[Path | None, typer.Option("--certs", help="A folder made by python -m certs; else one is made.")]
Control = Annotated[
    str | None, typer.Option("--control", help="Control URL of a cloud that runs already; else one is started.")
]
Bus = Annotated[str | None, typer.Option("--bus", help="Bus of the cloud that is started; as --bus of cloud_stub up.")]
ProfileName = Annotated[str, typer.Option("--profile", help="Name of a shipped profile, or a TOML file.")]
Pcap = Annotated[
    Path | None,
    typer.Option("--pcap", help="Write a capture of the (first) charger's traffic to this file, for Wireshark."),
]
KeylogFile = Annotated[
    Path | None, typer.Option("--keylog", help="Write the secrets of its TLS sessions to this file, to read them.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]


@app.command()
def demo(
    world: WorldName = "loopback",
    seed: Seed = 1,
    certs: CertsDir = None,
    pcap: Pcap = None,
    keylog: KeylogFile = None,
    as_json: Json = False,
) -> int:
    """Show a charger boot, charge, update and lose its DNS."""
    from emulator.demo import demo_json, run_demo

    files = _files(pcap, keylog)
    verdicts = run_demo(world, seed=seed, certs_dir=certs, audience=_audience(as_json), files=files)
    if as_json:
        _print_json(demo_json(verdicts))
    else:
        _print_overview(verdicts)
    return _status(verdicts)


@app.command()
def play(
    scenario: Annotated[str | None, typer.Argument(help="Name of a shipped scenario, or a TOML file.")] = None,
    play_all: Annotated[bool, typer.Option("--all", help="Play every shipped scenario.")] = False,
    list_them: Annotated[bool, typer.Option("--list", help="List the shipped scenarios.")] = False,
    world: WorldName = "sim",
    seed: Seed = 1,
    certs: CertsDir = None,
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a report page to this file.")] = None,
    pcap: Pcap = None,
    keylog: KeylogFile = None,
) -> int:
    """Play a scenario and judge what comes of it."""
    from emulator.scenario import load_scenario, shipped_names

    if sum((scenario is not None, play_all, list_them)) != 1:
        raise UsageError("play: needs one of NAME or FILE, --all and --list")
    if list_them:
        return _list(as_json)
    from emulator.player import play as play_one

    scenarios = [load_scenario(name) for name in (shipped_names() if scenario is None else [scenario])]
    _check_writable(html)
    audience = _audience(as_json)
    files = _files(pcap, keylog)
    verdicts = [
        play_one(
            each,
            world,
            seed=seed,
            certs_dir=certs,
            audience=audience,
            files=files.of_story(each.name) if play_all else files,
        )
        for each in scenarios
    ]
    if html is not None:
        _write_report(html, verdicts)
    if as_json:
        _print_json({"ok": all(v.ok for v in verdicts), "scenarios": [v.as_json() for v in verdicts]})
    elif play_all:
        _print_overview(verdicts)
    return _status(verdicts)


@app.command()
def run(
    world: Annotated[Literal["loopback"], typer.Option("--world", help="Where: loopback.")] = "loopback",
    interface: Annotated[
        str | None, typer.Option("--interface", help="On this Ethernet instead, as root: DHCP and true ports.")
    ] = None,
    netns: Annotated[
        Path | None,
        typer.Option("--netns", help="The network namespace of the interface: /run/netns/NAME or the like."),
    ] = None,
    control: Control = None,
    hub: Annotated[str | None, typer.Option("--hub", help="Host name of a hub that is none of ours.")] = None,
    device_id: Annotated[str | None, typer.Option("--device-id", help="Who the charger is there.")] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="Its symmetric key there, base64 in a file of mode 600.")
    ] = None,
    ca: Annotated[Path | None, typer.Option("--ca", help="PEM file with the roots to trust there.")] = None,
    bus: Bus = None,
    serial: Annotated[str | None, typer.Option("--serial", help="Serial number; else a random one.")] = None,
    profile: ProfileName = "pro",
    flash: Annotated[Path | None, typer.Option("--flash", help="Keep the charger's flash in this folder.")] = None,
    plug_in: Annotated[bool, typer.Option("--plug-in", help="A car is connected from the start.")] = False,
    seed: Seed = 1,
    bench: Annotated[
        str | None, typer.Option("--bench", metavar="HOST:PORT", help="Let the charger be handled over HTTP there.")
    ] = None,
    bench_token_file: Annotated[
        Path | None, typer.Option("--bench-token-file", metavar="FILE", help="Its token, in a file of mode 600.")
    ] = None,
    pcap: Pcap = None,
    keylog: KeylogFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
) -> int:
    """Run one charger on loopback or a network interface until Ctrl-C."""
    from emulator.bench.address import bench_from
    from emulator.hub_account import account_from
    from emulator.on_interface import interface_from
    from emulator.run import RunOptions, run_charger

    at = bench_from(bench, bench_token_file, os.environ)
    account, place = account_from(hub, device_id, key_file, ca), interface_from(interface, netns)
    files = _files(pcap, keylog)
    options = RunOptions(control, bus, serial, profile, flash, plug_in, seed, at, place, account, files)
    _on_uvloop(run_charger(options, _event_printer(as_json), _ready_printer(as_json)))
    return AS_EXPECTED


@app.command()
def fleet(
    chargers: Annotated[int, typer.Option("--chargers", min=1, help="How many chargers.")] = 100,
    workers: Annotated[int, typer.Option("--workers", min=1, help="How many worker processes.")] = 1,
    duration: Annotated[float, typer.Option("--duration", min=0, help="Seconds; 0: until all are online.")] = 0.0,
    ramp: Annotated[float, typer.Option("--ramp", min=0, help="Power-ons per second; 0: as fast as it goes.")] = 0.0,
    control: Control = None,
    bus: Bus = None,
    profile: ProfileName = "pro",
    seed: Seed = 1,
    faults: Annotated[
        list[str] | None,
        typer.Option(
            "--fault", metavar="JSON", help="Break chargers: a device or link fault with a share of the fleet, or who."
        ),
    ] = None,
    pcap: Pcap = None,
    keylog: KeylogFile = None,
    as_json: Json = False,
) -> int:
    """Boot many chargers against a cloud."""
    from emulator.fleet import FleetOptions, run_fleet
    from emulator.fleet_faults import fleet_fault

    options = FleetOptions(
        chargers=chargers,
        workers=min(workers, chargers),
        duration_s=duration,
        ramp_per_s=ramp,
        seed=seed,
        profile=profile,
        control=control,
        bus=bus,
        files=_files(pcap, keylog),
        faults=tuple(fleet_fault(text) for text in faults or ()),
    )
    report = _on_uvloop(run_fleet(options))
    if as_json:
        _print_json(report)
    else:
        _print_fleet(report)
    return AS_EXPECTED if report["ok"] else NOT_AS_EXPECTED


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 as expected, 1 not as expected, 2 bad usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a mark that the terminal lacks is no reason to stop
    for number in ENDINGS:
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))  # or a broker of ours would live on
    sys.exit(obey(app, "emulator", (sys.argv[1:] if arguments is None else arguments) or ["--help"]))


def _on_uvloop(work: "Coroutine[Any, Any, T]") -> "T":
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _files(pcap: Path | None, keylog: Path | None) -> "CaptureFiles":
    from emulator.net.capture import CaptureFiles

    return CaptureFiles(pcap, keylog)


def _event_printer(as_json: bool) -> "Callable[[TraceEvent], None]":
    from emulator.view import View

    if as_json:
        return lambda event: print(event.as_json(), flush=True)
    return View(_console()).see


def _ready_printer(as_json: bool) -> "Callable[[dict[str, Any]], None]":
    if as_json:
        return lambda line: print(json.dumps(line), flush=True)
    return lambda line: print(f"The bench of {line['serial']} is at {line['bench']}", flush=True)


def _status(verdicts: "list[Verdict]") -> int:
    return AS_EXPECTED if all(verdict.ok for verdict in verdicts) else NOT_AS_EXPECTED


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    return console


def _audience(as_json: bool) -> "Audience | None":
    """People look at standard output; beside JSON at standard error, if that is a terminal."""
    from emulator.view import View

    console = _console(stderr=as_json)
    return None if as_json and not console.is_terminal else View(console)


def _print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, indent=2, default=str), flush=True)


def _print_overview(verdicts: "list[Verdict]") -> None:
    from emulator.summary import overview_table

    _console().print(overview_table(verdicts))


def _print_fleet(report: dict[str, Any]) -> None:
    from emulator.summary import fleet_table

    _console().print(fleet_table(report))


def _list(as_json: bool) -> int:
    from emulator.scenario import load_scenario, shipped_names

    titles = {name: load_scenario(name).title for name in shipped_names()}
    if as_json:
        _print_json({"scenarios": [{"name": name, "title": title} for name, title in titles.items()]})
    else:
        for name, title in titles.items():
            print(f"{name:<26} {title}")
    return AS_EXPECTED


def _check_writable(html: Path | None) -> None:
    """Said before minutes of playing, not after."""
    if html is not None and not html.parent.is_dir():
        raise UsageError(f"--html {html}: no such folder")


def _write_report(html: Path, verdicts: "list[Verdict]") -> None:
    from emulator.report import render_report

    try:
        html.write_text(render_report(verdicts), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--html {html}: {error.strerror}") from None

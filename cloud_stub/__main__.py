"""``python -m cloud_stub``: commands of the cloud in a box."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
import uvloop

from emulator.command_line import obey
from emulator.errors import UsageError
from emulator.net.api import Address

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """The cloud that a Zaptec Pro talks to, in a box."""


@app.command()
def up(
    state: Annotated[
        Path | None, typer.Option(help="Keep certificates, the production secret and what the hub remembers here.")
    ] = None,
    bus: Annotated[
        Literal["mosquitto", "lean", "local"], typer.Option(help="What stands behind the hub.")
    ] = "mosquitto",
    broker: Annotated[str | None, typer.Option(help="HOST:PORT of a Mosquitto that runs already.")] = None,
    control_host: Annotated[str, typer.Option(help="Address of the control API, which has no login.")] = "127.0.0.1",
    control_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the control API; 0 picks one.")] = 0,
    single: Annotated[bool, typer.Option("--single", help="Use 127.0.0.1 alone, as on macOS.")] = False,
    workers: Annotated[
        int, typer.Option(min=0, max=64, help="Processes that share the hub's MQTT port; 0: all in one.")
    ] = 0,
    hub: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Set how the hub behaves; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ready line as JSON.")] = False,
) -> None:
    """Run a cloud on loopback until Ctrl-C."""
    from cloud_stub.hub.settings import parse_settings
    from cloud_stub.up import UpOptions, print_ready
    from cloud_stub.up import up as run_up

    options = UpOptions(
        state, bus, _address(broker), control_host, control_port, single, workers, parse_settings(hub or ())
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(run_up(options, lambda line: print_ready(line, as_json=as_json)))
        except asyncio.CancelledError:  # by a signal, before it was ready
            raise typer.Abort from None


def _address(text: str | None) -> Address | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--broker {text}: must be HOST:PORT")
    return Address(host, int(port))


def main() -> None:
    """Console script: exit status 2 and one line for bad usage or a start that fails, 130 when stopped before ready."""
    _fill_standard_streams()
    sys.exit(obey(app, "cloud_stub", sys.argv[1:] or ["--help"]))


def _fill_standard_streams() -> None:
    """Put /dev/null where standard input, output or errors are closed: libuv aborts on a socket with such a number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


if __name__ == "__main__":
    main()

"""``python -m cloud_stub``: commands of the cloud in a box."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import uvloop

from cloud_stub.firmware import cli as firmware
from emulator.command_line import obey
from emulator.errors import UsageError
from emulator.net.api import Address

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(firmware.app, name="firmware")


lab = typer.Typer(help="A site and the internet in network namespaces.", rich_markup_mode=None)
app.add_typer(lab, name="lab")


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
    _until_stopped(run_up(options, lambda line: print_ready(line, as_json=as_json)))


@app.command()
def serve(
    services: Annotated[str, typer.Option(help="Which, with commas between: hub, https, dns-google, ntp-a, ...")],
    address: Annotated[str, typer.Option(help="The address of this machine where they are, on their true ports.")],
    state: Annotated[Path | None, typer.Option(help="The folder that hub and https of one cloud share.")] = None,
    broker: Annotated[str | None, typer.Option(help="HOST:PORT of a Mosquitto that runs already.")] = None,
    control: Annotated[str, typer.Option(help="HOST:PORT of the control API, which has no login.")] = "127.0.0.1:0",
    workers: Annotated[
        int, typer.Option(min=0, max=64, help="Processes that share the hub's MQTT port; 0: all in one.")
    ] = 0,
    zone: Annotated[Path | None, typer.Option(help="What name servers know: a file like /etc/hosts.")] = None,
    hub: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Set how the hub behaves; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ready line as JSON.")] = False,
) -> None:
    """Run some services of a cloud at a real address until Ctrl-C."""
    from cloud_stub.hub.settings import parse_settings
    from cloud_stub.serve import ServeOptions, print_running
    from cloud_stub.serve import serve as run_serve

    names = tuple(dict.fromkeys(name.strip() for name in services.split(",")))
    at = _address(control, option="--control", any_port=True)
    assert at is not None  # noqa: S101 - it has a default
    options = ServeOptions(names, address, at, state, _address(broker), workers, zone, parse_settings(hub or ()))
    _until_stopped(run_serve(options, lambda line: print_running(line, as_json=as_json)))


@lab.command("up")
def lab_up(
    name: Annotated[str | None, typer.Option(help="What lab down knows it by; else one is made up.")] = None,
    site: Annotated[
        Literal["dnsmasq", "ours"], typer.Option(help="Who gives addresses and names on the LAN.")
    ] = "dnsmasq",
    time: Annotated[Literal["chrony", "ours"], typer.Option(help="Whose time servers there are.")] = "chrony",
    nat: Annotated[
        Literal["one-to-one", "masquerade", "none"], typer.Option(help="How the LAN looks from outside.")
    ] = "one-to-one",
    chargers: Annotated[int, typer.Option(min=0, max=250, help="Places for chargers: namespaces on the LAN.")] = 0,
    state: Annotated[Path | None, typer.Option(help="Keep certificates and the production secret here.")] = None,
    bus: Annotated[
        Literal["mosquitto", "lean", "local"], typer.Option(help="What stands behind the hub.")
    ] = "mosquitto",
    broker: Annotated[str | None, typer.Option(help="HOST:PORT of a Mosquitto that runs already.")] = None,
    control_host: Annotated[str, typer.Option(help="Address of the control API, which has no login.")] = "127.0.0.1",
    control_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the control API; 0 picks one.")] = 0,
    hub: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Set how the hub behaves; may be repeated.")
    ] = None,
    pcap: Annotated[
        Path | None, typer.Option(help="Write what crosses the LAN, at its router, to this file, for Wireshark.")
    ] = None,
    keylog: Annotated[
        Path | None, typer.Option(help="Write the secrets of the cloud's TLS sessions to this file, to read them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ready line as JSON.")] = False,
) -> None:
    """Run site, operator, internet and cloud in network namespaces until Ctrl-C, on true ports; takes root."""
    from cloud_stub.hub.settings import parse_settings
    from cloud_stub.lab.nft import Translation
    from cloud_stub.lab.up import LabOptions, print_lab
    from cloud_stub.lab.up import lab_up as run_lab
    from emulator.net.capture import CaptureFiles

    options = LabOptions(
        name,
        site,
        time,
        Translation(nat),
        chargers,
        state,
        bus,
        _address(broker),
        control_host,
        control_port,
        parse_settings(hub or ()),
        CaptureFiles(pcap, keylog),
    )
    _until_stopped(run_lab(options, lambda line: print_lab(line, as_json=as_json)))


@lab.command("down")
def lab_down(
    name: Annotated[str | None, typer.Argument(help="Which lab; needed only where several run.")] = None,
) -> None:
    """End a lab that runs, and wait until it is gone."""
    from cloud_stub.lab.running import end

    ended = end(name)
    print(f"ended: {', '.join(ended)}" if ended else "no lab runs")


def _until_stopped(running: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(running)
        except asyncio.CancelledError:  # by a signal, before it was ready
            raise typer.Abort from None


def _address(text: str | None, *, option: str = "--broker", any_port: bool = False) -> Address | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not (0 if any_port else 1) <= int(port) < 65536:
        raise UsageError(f"{option} {text}: must be HOST:PORT")
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

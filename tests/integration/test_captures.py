"""Captures before an outside judge: tshark opens, decrypts and believes them, however the run was made and ended."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from emulator.cli import app
from emulator.command_line import obey
from emulator.net.keylog import MODE
from tests.captures import RELEASE, dissected, read_capture

BOOTS = """
name = "boots"
title = "A charger comes online."
cause = "Nothing is broken."
fix = "Nothing to fix."
[[step]]
at_s = 0
do = "power_on"
[expect]
stages = [{ stage = "firmware", outcome = "passed" }]
events = [{ name = "device.online" }]
within_s = 60
"""
SPOKEN = {"arp", "dhcp", "dns", "ntp", "tls", "mqtt"}
HUB, NTP = "198.51.100.88", "198.51.100.123"


@contextmanager
def started(module: str, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """A command that runs; it is killed in the end if it still does."""
    words = [sys.executable, "-m", module, *arguments]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def done(*arguments: str) -> None:
    """A command of the emulator, here; it does what it should."""
    assert obey(app, "emulator", list(arguments)) == 0


def boots(folder: Path) -> str:
    path = folder / "boots.toml"
    path.write_text(BOOTS, encoding="utf-8")
    return str(path)


def recorded(folder: Path) -> tuple[Path, list[str]]:
    """Where a capture goes, and the options for it."""
    pcap, keylog = folder / "x.pcapng", folder / "x.keys"
    return pcap, ["--pcap", str(pcap), "--keylog", str(keylog)]


def until(lines: IO[str] | None, name: str) -> None:
    """Read lines of JSON up to this event."""
    assert lines is not None
    for line in lines:
        if json.loads(line).get("name") == name:
            return
    raise AssertionError(f"no event {name}")


@pytest.fixture(scope="module")
def control() -> Iterator[str]:
    """A cloud on loopback: its control API."""
    with started("cloud_stub", "up", "--bus", "local", "--json") as cloud:
        assert cloud.stdout is not None
        yield json.loads(cloud.stdout.readline())["control"]
        cloud.send_signal(signal.SIGINT)
        assert cloud.wait(30) == 0


@pytest.mark.needs("tshark")
@pytest.mark.parametrize("world", ["sim", "loopback", pytest.param("lab", marks=pytest.mark.needs("root"))])
def test_a_boot_is_dissected_and_decrypted_without_a_fault(world: str, tmp_path: Path) -> None:
    pcap, options = recorded(tmp_path)
    done("play", boots(tmp_path), "--world", world, *options)
    found = dissected(pcap)
    assert found.protocols >= SPOKEN
    assert found.malformed == []
    assert found.wrong == [] or world == "lab", "how the kernel's TCP gets on is its own affair"
    assert found.where("mqtt", mqtt_clientid="ZPR000001", ip_dst=HUB)
    assert found.where("mqtt", tcp_srcport="8883") and found.where("ntp", ip_dst=NTP)
    assert found.where("dhcp", ip_dst="255.255.255.255")
    assert [path.stat().st_mode & 0o777 for path in (pcap, tmp_path / "x.keys")] == [MODE] * 2


@pytest.mark.needs("tshark")
def test_a_whole_demo_with_a_firmware_download_is_dissected_without_a_fault(tmp_path: Path) -> None:
    pcap, options = recorded(tmp_path)
    done("demo", "--world", "sim", *options)
    first, second = (dissected(tmp_path / f"x-{name}.pcapng") for name in ("demo", "demo-dns-silent"))
    assert not pcap.exists()
    assert {"http", *SPOKEN} <= first.protocols and second.protocols >= SPOKEN
    assert first.wrong == second.wrong == []
    assert len(first.where("http", http_response_code="206")) >= 8


@pytest.mark.needs("tshark")
def test_tshark_calls_what_a_firewall_or_a_router_drops_a_retransmission(tmp_path: Path) -> None:
    pcap, options = recorded(tmp_path)
    done("play", "hub-blocked", "--world", "sim", *options)
    wrong = dissected(pcap).wrong
    assert len(wrong) >= 3
    assert {(row["tcp.flags.syn"], row["tcp.analysis.retransmission"] != "") for row in wrong} == {("1", True)}
    done("play", "nat-timeout", "--world", "sim", *options)
    wrong = dissected(pcap).wrong
    assert len(wrong) >= 4
    assert all(row["tcp.analysis.retransmission"] and int(row["tcp.len"]) > 0 for row in wrong)


@pytest.mark.needs("tshark")
def test_without_the_key_log_nothing_is_decrypted(tmp_path: Path) -> None:
    pcap = tmp_path / "x.pcapng"
    done("play", boots(tmp_path), "--world", "sim", "--pcap", str(pcap))
    found = dissected(pcap)
    assert {"tls", "dns"} <= found.protocols and "mqtt" not in found.protocols
    assert found.wrong == []


@pytest.mark.needs("tshark")
def test_of_a_fleet_the_first_charger_is_captured(control: str, tmp_path: Path) -> None:
    pcap, options = recorded(tmp_path)
    done("fleet", "--chargers", "4", "--workers", "2", "--control", control, *options)
    assert read_capture(pcap.read_bytes()).interfaces == ["ZPR000001"]
    found = dissected(pcap)
    assert [row["mqtt.clientid"] for row in found.where("mqtt") if row["mqtt.clientid"]] == ["ZPR000001"]
    assert found.wrong == []


@pytest.mark.needs("tshark")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_capture_can_be_read_however_the_run_ends(end: signal.Signals, control: str, tmp_path: Path) -> None:
    pcap, options = recorded(tmp_path)
    with started("emulator", "run", "--control", control, "--json", *options) as running:
        until(running.stdout, "device.online")
        running.send_signal(end)
        assert running.wait(30) == (130 if end is signal.SIGINT else -signal.SIGKILL)
    found, read = dissected(pcap), read_capture(pcap.read_bytes())
    assert found.protocols >= SPOKEN
    assert found.wrong == []
    in_order = end is signal.SIGINT
    assert (found.rows[-1]["dhcp.option.dhcp"] == RELEASE) == in_order
    assert ({"> FIN+ACK", "< FIN+ACK"} <= set(read.told)) == bool(read.counts) == in_order


@pytest.mark.parametrize("command", [["play", "demo"], ["demo"], ["run"], ["fleet"]])
def test_a_file_that_cannot_be_made_is_one_line(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nowhere" / "x"
    for option in ("--pcap", "--keylog"):
        assert obey(app, "emulator", [*command, option, str(path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"emulator: {option} {path}") and error.endswith(": No such file or directory\n")
        assert error.count("\n") == 1


@pytest.mark.needs("tshark", "root")
def test_in_the_lab_the_router_sees_every_charger_and_the_cloud_has_the_secrets(tmp_path: Path) -> None:
    pcap, options = recorded(tmp_path)
    own = tmp_path / "own.pcapng"
    lab = ("lab", "up", "--site", "ours", "--time", "ours", "--bus", "local", "--chargers", "1", "--json")
    with started("cloud_stub", *lab, *options) as cloud:
        assert cloud.stdout is not None
        ready = json.loads(cloud.stdout.readline())
        ((serial, netns),) = ready["chargers"].items()
        place = ("--interface", ready["interface"], "--netns", netns, "--control", ready["control"])
        with started("emulator", "run", *place, "--serial", serial, "--pcap", str(own), "--json") as charger:
            until(charger.stdout, "device.online")
            charger.send_signal(signal.SIGINT)
            assert charger.wait(30) == 130
        cloud.send_signal(signal.SIGINT)
        assert cloud.wait(30) == 0
    router, charger_alone = dissected(pcap), dissected(own)
    assert router.protocols >= SPOKEN and SPOKEN - {"mqtt"} <= charger_alone.protocols
    assert router.malformed == charger_alone.malformed == []
    assert router.where("mqtt", mqtt_clientid=serial, ip_dst=HUB)
    assert charger_alone.where("dhcp", dhcp_option_dhcp=RELEASE)

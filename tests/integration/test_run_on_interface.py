"""``python -m emulator run --interface``: a charger on a real interface, at a cloud of ours and at a hub of its own."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulator.net.linux_interface import ask_kernel
from emulator.net.namespace import Namespace, namespace_at
from tests.cables import Cables
from tests.programs import CloudProgram, Program, python
from tests.requirements import program

pytestmark = pytest.mark.needs("root", "nft")

OURS, OWN = "ZPR000001", "ZPR000002"
WITHIN_S = 30.0
STAGES = ["link", "address", "names", "time", "trust", "hub", "firmware"]


class LabProgram(CloudProgram):
    """``python -m cloud_stub lab up``, ready: a site and the internet, with places for two chargers."""

    def __init__(self) -> None:
        options = ("--site", "ours", "--time", "ours", "--bus", "local", "--chargers", "2")
        Program.__init__(self, *python("cloud_stub", "lab", "up", "--json", *options))
        self.ready = {}


@pytest.fixture(scope="module")
def lab() -> Iterator[LabProgram]:
    """It has no state worth a start for each test."""
    with LabProgram() as running:
        yield running
        running.send_signal(signal.SIGTERM)
        assert running.ended().status == 0


def refused(*options: str, before: tuple[str, ...] = ()) -> str:
    """The one line that bad input gets."""
    command = [*before, *python("emulator", "run", *options)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended
    return ended.stderr.removeprefix("emulator: ").strip()


def boot(running: Program) -> dict[str, tuple[str, str | None]]:
    """Outcome and reason of each stage, until the charger is online."""
    rows: dict[str, tuple[str, str | None]] = {}
    while True:
        event: dict[str, Any] = json.loads(running.line(WITHIN_S))
        if event["name"] == "device.online":
            return rows
        if event["name"].startswith("boot.") and "outcome" in event["data"]:
            rows[event["data"]["stage"]] = event["data"]["outcome"], event["data"]["why"]


def key_file(folder: Path, lab: LabProgram) -> Path:
    """The key of the second charger, as its owner keeps it."""
    _, made = lab.call("POST", "/devices", {"serial": OWN})
    path = folder / "device.key"
    path.touch(mode=0o600)
    path.write_text(made["devices"][0]["key"])
    return path


def addresses(namespace: Namespace) -> list[str]:
    """IPv4 addresses there."""
    return ask_kernel(namespace, lambda kernel: [each.get("address") for each in kernel.get_addr(family=2)])


def test_a_charger_boots_on_an_interface_and_gives_everything_back(lab: LabProgram) -> None:
    place = lab.ready["chargers"][OURS]
    on = ("--interface", lab.ready["interface"], "--netns", place, "--control", lab.ready["control"])
    with namespace_at(place) as namespace, Program(*python("emulator", "run", "--json", *on, "--serial", OURS)) as ours:
        assert boot(ours) == {stage: ("passed", None) for stage in STAGES}
        (address,) = addresses(namespace)
        assert address.startswith("10.20.")
        ours.press_ctrl_c()
        assert "device.shut_down" in ours.line_with("device.shut_down", WITHIN_S)
        assert ours.ended().status == 130
        assert addresses(namespace) == []
    _, seen = lab.call("GET", "/history/dhcp")
    assert next(iter(seen["history"][-1]["request"].split())) == "RELEASE"


def test_with_an_account_it_needs_a_hub_and_nothing_else_of_the_vendor(lab: LabProgram, tmp_path: Path) -> None:
    on = ("--interface", lab.ready["interface"], "--netns", lab.ready["chargers"][OWN])
    account = ("--hub", lab.ready["hub"], "--device-id", OWN, "--key-file", str(key_file(tmp_path, lab)))
    with Program(*python("emulator", "run", "--json", *on, *account, "--ca", lab.ready["roots"])) as ours:
        passed = {stage: ("passed", None) for stage in STAGES}
        assert boot(ours) == passed | {"trust": ("degraded", "bundle_built_in")}
        ours.press_ctrl_c()
        assert ours.ended().status == 130


def test_a_charger_that_is_killed_leaves_at_most_an_address_which_the_next_one_takes_away(lab: LabProgram) -> None:
    place = lab.ready["chargers"][OURS]
    on = ("--interface", lab.ready["interface"], "--netns", place, "--control", lab.ready["control"])
    command = python("emulator", "run", "--json", *on, "--serial", OURS)
    with namespace_at(place) as namespace:
        with Program(*command) as killed:
            boot(killed)
            killed.send_signal(signal.SIGKILL)
            killed.ended()
        assert len(addresses(namespace)) == 1
        with Program(*command) as following:
            boot(following)
            assert len(addresses(namespace)) == 1
            following.press_ctrl_c()
            following.ended()
        assert addresses(namespace) == []


def test_what_is_not_there_is_named_in_one_line(lab: LabProgram) -> None:
    at = ("--control", lab.ready["control"])
    assert refused("--interface", "eth7", *at) == "interface eth7: there is none of this name"
    assert refused(*at) == f"control {lab.ready['control']}: this cloud is not on loopback; reach it with --interface"


def test_a_cloud_on_loopback_is_not_on_any_interface() -> None:
    with CloudProgram("--bus", "local") as cloud, Cables() as cables:
        on = ("--interface", "eth0", "--netns", cables.machine().path, "--control", cloud.ready["control"])
        assert refused(*on) == f"--interface eth0: the cloud at {cloud.ready['control']} is on loopback"


@pytest.mark.needs("setpriv", "nsenter")
def test_without_the_rights_of_root_it_says_which_it_lacks(lab: LabProgram, tmp_path: Path) -> None:
    place = lab.ready["chargers"][OWN]
    powerless = (program("setpriv"), "--bounding-set=-all", "--inh-caps=-all")
    on = ("--interface", "eth0", "--control", lab.ready["control"])
    told = refused(*on, "--netns", place, before=powerless)
    assert told == f"network namespace {place}: to enter it takes root"
    inside = (program("nsenter"), f"--net={place}", *powerless)
    account = ("--hub", lab.ready["hub"], "--device-id", OWN, "--key-file", str(key_file(tmp_path, lab)))
    told = refused("--interface", "eth0", *account, "--ca", lab.ready["roots"], before=inside)
    assert told == "interface eth0: to send DHCP and ARP takes root (CAP_NET_RAW)"

"""``python -m emulator run`` on an interface: combinations of options that mean nothing are refused in one line."""

from pathlib import Path

import pytest

from certs.layout import Root
from certs.make import default_dir, ensure
from emulator.cli import app
from emulator.command_line import obey
from emulator.env import Spec
from emulator.local import Mode
from emulator.on_interface import InterfaceAt, cabled, interface_from
from emulator.profile import load_profile

INTERFACE, HUB = ("--interface", "eth7"), ("--hub", "garage.example")


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What ``run`` says to options that it does not take."""
    assert obey(app, "emulator", ["run", *options]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    return output.err.removeprefix("emulator: ").strip()


@pytest.fixture
def account(tmp_path: Path) -> tuple[str, ...]:
    """The options of an account at a hub."""
    key, ca = tmp_path / "device.key", tmp_path / "roots.pem"
    key.touch(mode=0o600)
    key.write_text("A" * 44)
    ca.write_text(ensure(default_dir()).root_pem(Root.OLD), encoding="ascii")
    return (*HUB, "--device-id", "charger-1", "--key-file", str(key), "--ca", str(ca))


def test_an_option_that_is_missing_is_named(capsys: pytest.CaptureFixture[str], account: tuple[str, ...]) -> None:
    assert refused(capsys, "--netns", "/run/netns/x") == "--netns /run/netns/x: is of no use without --interface"
    needs = "needs a cloud on that network, --control URL or --hub HOST"
    assert refused(capsys, *INTERFACE) == f"--interface eth7: {needs}"
    missing = "needs --hub, --device-id, --key-file and --ca; missing: --device-id, --key-file, --ca"
    assert refused(capsys, *INTERFACE, *HUB) == f"a device of a hub {missing}"
    assert refused(capsys, *account).startswith("--hub: needs --interface")


@pytest.mark.parametrize("other", ["--control", "--bus", "--serial"])
def test_an_option_that_has_nothing_to_say_is_named(
    other: str, capsys: pytest.CaptureFixture[str], account: tuple[str, ...]
) -> None:
    assert refused(capsys, *INTERFACE, *account, other, "x") == f"{other}: is of no use with --hub"


def test_an_interface_may_be_in_a_namespace() -> None:
    assert interface_from(None, None) is None
    assert interface_from("eth0", None) == InterfaceAt("eth0")
    assert interface_from("eth0", Path("/run/netns/site")) == InterfaceAt("eth0", Path("/run/netns/site"))


def test_on_an_interface_a_charger_is_set_for_a_cable() -> None:
    spec = Spec("ZPR000001", b"k" * 32, load_profile(), "", "", vendor_root_pem="", bundle_key_pem="")
    assert cabled(spec).local.order == (Mode.ETHERNET,)

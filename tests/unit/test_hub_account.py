"""An account at a hub that is none of ours: how it is read, and what a charger with it knows and does not."""

from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certs.layout import Root
from certs.make import default_dir, ensure
from emulator.boot.login import Login
from emulator.errors import UsageError
from emulator.hub_account import HubAccount, account_from
from emulator.profile import load_profile

HUB, DEVICE, KEY = "garage.azure-devices.net", "charger-1", bytes(range(32))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Key file and CA file, as they should be."""
    key, ca = tmp_path / "device.key", tmp_path / "roots.pem"
    key.touch(mode=0o600)
    key.write_bytes(b64encode(KEY) + b"\n")
    ca.write_text(ensure(default_dir()).root_pem(Root.OLD), encoding="ascii")
    return key, ca


def account(files: tuple[Path, Path], device: str = DEVICE, host: str = HUB) -> HubAccount:
    found = account_from(host, device, *files)
    assert found is not None
    return found


def refused(files: tuple[Path, Path], **changed: str) -> str:
    with pytest.raises(UsageError) as caught:
        account(files, **changed)
    return str(caught.value)


def test_nothing_asked_for_is_none() -> None:
    assert account_from(None, None, None, None) is None


def test_the_charger_logs_in_with_the_accounts_name_and_key_and_nowhere_else(files: tuple[Path, Path]) -> None:
    found = account(files)
    spec = found.spec(found.profile(load_profile()))
    assert (spec.serial, spec.key, spec.roots_pem) == (DEVICE, KEY, files[1].read_text())
    packet = Login.of(spec).connect_packet(datetime(2026, 6, 1, tzinfo=UTC))
    assert packet.client_id == DEVICE
    assert packet.username is not None and packet.username.startswith(f"{HUB}/{DEVICE}/?api-version=")
    assert packet.password is not None and packet.password.startswith(f"SharedAccessSignature sr={HUB}".encode())
    network = spec.profile.network
    others = (network.api_host, network.devices_host, network.old_api_host)
    assert network.hub_host == HUB and all(name.endswith(".invalid") for name in others), "nobody can have such names"


def test_the_key_never_shows(files: tuple[Path, Path]) -> None:
    found = account(files)
    assert b64encode(KEY).decode() not in repr(found) and repr(KEY) not in repr(found)
    assert "CERTIFICATE" not in repr(found)


def test_what_is_missing_is_named(files: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match=r"missing: --device-id, --ca$"):
        account_from(HUB, None, files[0], None)


@pytest.mark.parametrize("device", ["", "a/b", "a#b", "a b", "x" * 129, "ü"])
def test_what_is_no_identity_of_a_device_is_refused(files: tuple[Path, Path], device: str) -> None:
    assert refused(files, device=device) == f"--device-id {device}: not an identity of a device"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not base64!", "not base64"),
        (b"", "a key of 0 bytes"),
        (b64encode(bytes(8)), "a key of 8 bytes"),
        (b"\xff", "not"),
    ],
)
def test_a_file_without_a_key_is_named_and_its_content_is_not_told(
    files: tuple[Path, Path], content: bytes, words: str
) -> None:
    files[0].write_bytes(content)
    told = refused(files)
    assert told.startswith(f"--key-file {files[0]}: {words}")
    assert not content or content.decode(errors="replace") not in told.partition(": ")[2].replace("not base64", "")


def test_a_key_that_others_may_read_is_refused(files: tuple[Path, Path]) -> None:
    files[0].chmod(0o644)
    assert refused(files).endswith("it must have mode 600")


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\xff\xfe"])
def test_a_file_without_certificates_is_named(files: tuple[Path, Path], content: bytes) -> None:
    files[1].write_bytes(content)
    assert refused(files) == f"--ca {files[1]}: no PEM certificates"
    files[1].unlink()
    assert refused(files) == f"--ca {files[1]}: No such file or directory"


def test_a_host_that_is_no_name_is_refused(files: tuple[Path, Path]) -> None:
    found = account(files, host="https://garage")
    with pytest.raises(UsageError, match=r"^--hub https://garage: network\.hub_host"):
        found.profile(load_profile())

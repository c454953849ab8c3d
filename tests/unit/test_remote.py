"""What a cloud says of itself in its ready line, and lines that are none."""

import json
from pathlib import Path
from typing import Any

import pytest

from emulator.boot.roots import BUNDLE_KEY
from emulator.errors import UsageError
from emulator.flash import MemoryFlash, SectorPool
from emulator.remote import Anchors, RemoteCloud

LOOPBACK = {"net": 3, "single": False, "ports": []}
FILES = ("roots", "firmware_key", "vendor_root", "bundle_key")
BUNDLE = {"ver": 8, "sign": "30", "data": "-----"}


@pytest.fixture
def ready(tmp_path: Path) -> dict[str, Any]:
    """A good ready line."""
    for name in FILES:
        (tmp_path / name).write_text(f"-----{name}-----", encoding="ascii")
    pems = {name: str(tmp_path / name) for name in FILES}
    return {"control": "http://127.0.0.1:1", "loopback": LOOPBACK, "bundle": BUNDLE, **pems}


def test_a_ready_line_tells_all(ready: dict[str, Any]) -> None:
    cloud = RemoteCloud.from_ready(ready)
    assert (cloud.control, cloud.loopback.net) == (ready["control"], 3)
    trusted = cloud.anchors
    assert (trusted.roots_pem, trusted.firmware_key_pem) == ("-----roots-----", "-----firmware_key-----")
    assert (trusted.vendor_root_pem, trusted.bundle_key_pem) == ("-----vendor_root-----", "-----bundle_key-----")
    assert json.loads(trusted.bundle) == BUNDLE


def test_a_cloud_on_a_network_of_its_own_has_no_loopback(ready: dict[str, Any]) -> None:
    del ready["loopback"]
    cloud = RemoteCloud.from_ready(ready)
    assert cloud.plan is None
    with pytest.raises(UsageError, match="this cloud is not on loopback; reach it with --interface"):
        _ = cloud.loopback


def test_a_cloud_whose_files_are_elsewhere_says_what_is_in_them(ready: dict[str, Any]) -> None:
    texts = {name: f"text of {name}" for name in FILES}
    elsewhere = {"control": ready["control"], "bundle": BUNDLE, "anchors": texts}
    trusted = RemoteCloud.from_ready(elsewhere).anchors
    assert (trusted.roots_pem, trusted.bundle_key_pem) == ("text of roots", "text of bundle_key")
    with pytest.raises(UsageError, match="ready line: this is not a cloud of ours"):
        RemoteCloud.from_ready({**elsewhere, "anchors": [1]})


def test_what_chargers_trust_goes_to_worker_processes_as_it_is(ready: dict[str, Any]) -> None:
    trusted = RemoteCloud.from_ready(ready).anchors
    assert Anchors.from_json(json.loads(json.dumps(trusted.to_json()))) == trusted


def test_flash_leaves_production_with_the_bundle_and_keeps_one_that_it_has(ready: dict[str, Any]) -> None:
    cloud = RemoteCloud.from_ready(ready)
    assert cloud.flash().get(BUNDLE_KEY) == cloud.anchors.bundle
    used = MemoryFlash()
    used.put(BUNDLE_KEY, b"newer")
    assert cloud.flash(used) is used and used.get(BUNDLE_KEY) == b"newer"


def test_flash_of_a_fleet_shares_what_its_chargers_install(ready: dict[str, Any]) -> None:
    cloud, pool = RemoteCloud.from_ready(ready), SectorPool()
    for _ in range(3):
        cloud.flash(pool=pool).blob_write("firmware.b", 0, bytes(range(256)) * 32)
    assert len(pool) == 1


@pytest.mark.parametrize("missing", ["control", "bundle", *FILES])
def test_a_line_that_lacks_something_is_no_cloud_of_ours(ready: dict[str, Any], missing: str) -> None:
    del ready[missing]
    with pytest.raises(UsageError, match=f"ready line: .*{missing}"):
        RemoteCloud.from_ready(ready)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"roots": "/nonexistent"}, "roots: /nonexistent: No such file"),
        ({"roots": "/"}, "roots: /: Is a directory"),
        ({"firmware_key": None}, "ready line"),
        ({"loopback": {"net": "x"}}, "loopback plan"),
        ({"loopback": None}, "loopback plan"),
    ],
)
def test_a_line_with_something_wrong(ready: dict[str, Any], wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        RemoteCloud.from_ready({**ready, **wrong})
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_pem(ready: dict[str, Any]) -> None:
    Path(ready["roots"]).write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not a PEM file"):
        RemoteCloud.from_ready(ready)

"""What a cloud says of itself in its ready line, and lines that are none."""

from pathlib import Path
from typing import Any

import pytest

from emulator.errors import UsageError
from emulator.remote import RemoteCloud

LOOPBACK = {"net": 3, "single": False, "ports": []}


@pytest.fixture
def ready(tmp_path: Path) -> dict[str, Any]:
    """A good ready line."""
    for name in ("root.pem", "firmware.pem"):
        (tmp_path / name).write_text(f"-----{name}-----", encoding="ascii")
    pems = {"ca": str(tmp_path / "root.pem"), "firmware_key": str(tmp_path / "firmware.pem")}
    return {"control": "http://127.0.0.1:1", "loopback": LOOPBACK, **pems}


def test_a_ready_line_tells_all(ready: dict[str, Any]) -> None:
    cloud = RemoteCloud.from_ready(ready)
    assert (cloud.control, cloud.plan.net) == (ready["control"], 3)
    assert (cloud.roots_pem, cloud.firmware_key_pem) == ("-----root.pem-----", "-----firmware.pem-----")


@pytest.mark.parametrize("missing", ["control", "loopback", "ca", "firmware_key"])
def test_a_line_that_lacks_something_is_no_cloud_of_ours(ready: dict[str, Any], missing: str) -> None:
    del ready[missing]
    with pytest.raises(UsageError, match=f"ready line: .*{missing}"):
        RemoteCloud.from_ready(ready)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ca": "/nonexistent"}, "ca: /nonexistent: No such file"),
        ({"ca": "/"}, "ca: /: Is a directory"),
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
    Path(ready["ca"]).write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not a PEM file"):
        RemoteCloud.from_ready(ready)

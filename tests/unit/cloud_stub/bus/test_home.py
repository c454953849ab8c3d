"""The folder of a bus: found again after a kill, left clean otherwise."""

import json
import os
from pathlib import Path

import pytest

from cloud_stub.bus.home import FOLDER, MEMO, BusHome
from emulator.errors import UsageError


def test_without_a_state_folder_it_is_gone_with_us() -> None:
    home = BusHome(None, "cloud-1")
    assert home.journals.is_dir() and (home.port, home.session) == (0, "cloud-1")
    home.leave(settled=False)
    assert not home.path.exists()


def test_in_a_state_folder_port_session_and_journals_are_found_again(tmp_path: Path) -> None:
    killed = BusHome(tmp_path, "cloud-1")
    killed.keep_port(1234)
    (killed.journals / "main.0").write_bytes(b"kept")
    killed.leave(settled=False)
    back = BusHome(tmp_path, "cloud-2")
    assert (back.path, back.port, back.session) == (tmp_path / FOLDER, 1234, "cloud-1")
    assert (back.journals / "main.0").read_bytes() == b"kept"
    assert back.path.stat().st_mode & 0o777 == 0o700
    back.leave(settled=True)
    assert not back.journals.exists() and (back.path / MEMO).exists()


def test_while_another_cloud_has_it_a_second_one_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = BusHome(tmp_path, "cloud-1"), BusHome(tmp_path, "cloud-2")
    assert second.session == "cloud-2" and not second.path.is_relative_to(tmp_path)
    second.leave(settled=True)
    assert not second.path.exists() and first.journals.is_dir()
    first.leave(settled=True)


def test_the_kernel_gives_it_up_for_one_that_is_killed(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:  # pragma: no cover - in the other process
        BusHome(tmp_path, "cloud-1")
        os._exit(0)
    os.waitpid(child, 0)
    heir = BusHome(tmp_path, "cloud-2")
    assert heir.session == "cloud-1"
    heir.leave(settled=True)


@pytest.mark.parametrize(
    "memo", ["", "[]", "{}", '{"port": "1", "session": "a"}', '{"port": 65536, "session": "a"}', '{"port": 1}', "\xff"]
)
def test_a_memo_that_means_nothing_is_bad_usage(tmp_path: Path, memo: str) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / MEMO).write_text(memo, encoding="latin-1")
    with pytest.raises(UsageError, match=MEMO):
        BusHome(tmp_path, "cloud-1")
    assert (tmp_path / FOLDER / MEMO).read_text(encoding="latin-1") == memo


def test_a_folder_that_cannot_be_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("")
    with pytest.raises(UsageError, match=rf"{FOLDER}: (Not a directory|File exists)"):
        BusHome(tmp_path, "cloud-1")


def test_the_memo_holds_no_more_than_it_must(tmp_path: Path) -> None:
    home = BusHome(tmp_path, "cloud-1")
    home.keep_port(5)
    assert json.loads((home.path / MEMO).read_text()) == {"port": 5, "session": "cloud-1"}
    home.leave(settled=True)

"""Files with secrets: what is taken from them, and what is refused."""

import os
from pathlib import Path

import pytest

from emulator.errors import UsageError
from emulator.private_file import read_private


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A good one."""
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(b"secret\n")
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_what_only_the_owner_may_touch_is_read(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert read_private(file, where="--key-file") == b"secret\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_what_others_may_touch_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(UsageError, match=rf"--key-file: others may touch it \(mode {mode:o}\); it must have mode 600"):
        read_private(file, where="--key-file")


def test_what_is_missing_too_long_or_no_file_is_named(tmp_path: Path, file: Path) -> None:
    with pytest.raises(UsageError, match=r"^--key-file: No such file or directory$"):
        read_private(tmp_path / "none", where="--key-file")
    with pytest.raises(UsageError, match="over 6 bytes"):
        read_private(file, where="--key-file", max_bytes=6)
    os.mkfifo(tmp_path / "fifo", 0o600)
    for other in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(UsageError, match="is not a file"):
            read_private(other, where="--key-file")

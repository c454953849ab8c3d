"""``python -m certs`` as people and scripts call it."""

import json
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from certs.__main__ import app
from emulator.command_line import obey


def test_json_names_the_root_and_every_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--out", str(tmp_path / "new"), "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert Path(report["ca"]).read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert all((tmp_path / "new" / name).is_file() for name in report["files"])


def test_bad_output_directory_is_one_clear_line_and_status_2(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    command = [sys.executable, "-m", "certs", "--out", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"certs: {tmp_path}: holds files that are not ours; name an empty or a new directory"
    ]


def test_missing_option_is_status_2() -> None:
    assert obey(app, "certs", []) == 2

"""What the README shows works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_ten_line_test_passes() -> None:
    text = README.read_text(encoding="utf-8")
    section = re.split(r"^#+ ", text.partition("### Ten lines of test\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    program = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    ") or not line.strip())
    assert "load_world" in program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_option_that_the_commands_list_shows_exists() -> None:
    text = README.read_text(encoding="utf-8")
    line = r"^    python -m (emulator|cloud_stub|certs)((?: +[a-z]+(?=\s|$))*)(.*)$"
    for module, command, rest in re.findall(line, text, flags=re.MULTILINE):
        call = [sys.executable, "-m", module, *command.split(), "--help"]
        done = subprocess.run(call, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in done.stdout, f"{module}{command}: {option}"

"""docker-compose.yml is valid for the oldest docker-compose supported, and gives containers few rights."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.requirements import program

ROOT = Path(__file__).parents[2]
SERVICES = {"mosquitto", "cloud", "charger"}


def compose(*arguments: str) -> str:
    """Standard output of docker-compose; needs no Docker engine for `config`."""
    command = [program("docker-compose"), "--file", str(ROOT / "docker-compose.yml"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.needs("docker-compose")
def test_the_compose_file_is_valid_and_has_the_three_services() -> None:
    compose("config", "--quiet")
    assert set(compose("config", "--services").split()) == SERVICES


@pytest.mark.needs("docker-compose")
def test_no_container_is_privileged_and_every_one_drops_all_capabilities_first() -> None:
    resolved = compose("config")
    assert "privileged: true" not in resolved
    assert resolved.count("cap_drop:") == resolved.count("read_only: true") == len(SERVICES)


def test_every_build_target_is_a_stage_of_the_dockerfile() -> None:
    stages = {
        line.split(" AS ")[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")
    }
    services = (ROOT / "docker-compose.yml").read_text()
    targets = set(re.findall(r"target: (\w+)", services))
    assert targets and stages >= targets


def test_the_image_is_built_from_nothing_but_what_it_needs() -> None:
    """No .git, no virtual environment, no keys: everything is ignored but what is named."""
    first, *others = (ROOT / ".dockerignore").read_text().split()
    assert first == "*"
    assert all(line.startswith("!") for line in others if "__pycache__" not in line)

"""docker-compose.yml is valid for the oldest docker-compose supported, gives containers few rights, and agrees with
the files that it is made of. Whether it works is for `make compose-test`."""

import re
import subprocess
from pathlib import Path

import pytest

from cloud_stub.zone import read_zone
from emulator.profile import load_profile
from tests.requirements import program

ROOT = Path(__file__).parents[2]
OURS = {"hub", "https", "ntp", "dns-google", "dns-cloudflare"}
SERVICES = OURS | {"mosquitto", "dns-site", "dhcp", "router", "charger"}
CAPABILITIES = {
    "charger": ["NET_ADMIN", "NET_RAW"],
    "dhcp": ["NET_ADMIN", "NET_BIND_SERVICE"],
    "router": ["NET_ADMIN"],
}
"""All that any of them has."""


def compose(*arguments: str, test: bool = False) -> str:
    """Standard output of docker-compose; needs no Docker engine for `config`."""
    files = ["docker-compose.yml", *(["docker-compose.test.yml"] if test else [])]
    chosen = [word for name in files for word in ("--file", str(ROOT / name))]
    environment = {"COMPOSE_PROJECT_NAME": "test", "ZAPTEC_BENCH_TOKEN": "0123456789abcdef", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [program("docker-compose"), *chosen, *arguments], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(key: str) -> dict[str, str]:
    """Name to text of what is below one key of the resolved file."""
    _, _, below = compose("config").partition(f"{key}:\n")
    part = re.split(r"^\S", below, maxsplit=1, flags=re.MULTILINE)[0]
    return {block.partition(":")[0]: block for block in re.split(r"^  (?=\S)", part, flags=re.MULTILINE)[1:]}


@pytest.fixture(scope="module")
def services() -> dict[str, str]:
    """Every service as docker-compose understands it, in YAML."""
    return blocks("services")


@pytest.mark.needs("docker-compose")
def test_the_compose_files_are_valid_and_have_these_services() -> None:
    assert set(compose("config", "--services").split()) == SERVICES
    assert set(compose("config", "--services", test=True).split()) == SERVICES | {"tests"}


@pytest.mark.needs("docker-compose")
@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_container_has_a_right_that_it_does_not_need(services: dict[str, str], name: str) -> None:
    text = services[name]
    assert "privileged:" not in text
    assert "read_only: true" in text
    assert "no-new-privileges:true" in text
    assert re.search(r"cap_drop:\n    - ALL\n", text)
    added = re.search(r"cap_add:\n((?:    - \w+\n)+)", text)
    assert (added[1].split()[1::2] if added else []) == CAPABILITIES.get(name, [])
    assert ("user: root" in text) == (name == "charger")


@pytest.mark.needs("docker-compose")
def test_the_sockets_of_the_engine_are_only_handed_to_the_tests() -> None:
    assert "docker.sock" not in compose("config")
    assert compose("config", test=True).count(":/run/docker.sock") == 1


@pytest.mark.needs("docker-compose")
def test_the_host_has_no_address_on_the_site_and_the_internet() -> None:
    """Else its own way to the true 8.8.8.8 would lead into a container."""
    bare = {name for name, text in blocks("networks").items() if 'inhibit_ipv4: "true"' in text}
    assert bare == {"net-cloudflare", "net-google", "net-internet", "site"}


def test_the_names_lead_to_the_services() -> None:
    """docker/hosts and docker-compose.yml say the same, about every host that a charger asks for."""
    network = load_profile().network
    zone = read_zone(ROOT / "docker" / "hosts")
    assert set(zone) == {
        network.hub_host,
        network.api_host,
        network.devices_host,
        network.old_api_host,
        network.ntp_host,
    }
    text = (ROOT / "docker-compose.yml").read_text()
    for addresses in zone.values():
        assert all(f"ipv4_address: {address}}}" in text for address in addresses)


def test_every_build_target_is_a_stage_of_the_dockerfile() -> None:
    stages = {
        line.split(" AS ")[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")
    }
    texts = (path.read_text() for path in ROOT.glob("docker-compose*.yml"))
    targets = {target for text in texts for target in re.findall(r"target: (\w+)", text)}
    assert targets and stages >= targets


def test_cloud_and_broker_run_as_ordinary_users() -> None:
    """The last word of their stages; who has to set up a network says so in docker-compose.yml."""
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    users = {stage.split()[2]: re.findall(r"^USER (\w+)$", stage, flags=re.MULTILINE) for stage in stages[1:]}
    assert (users["mosquitto"], users["emulator"]) == (["mosquitto"], ["emulator"])


def test_the_image_is_built_from_nothing_but_what_it_needs() -> None:
    """No .git, no virtual environment, no keys: everything is ignored but what is named."""
    first, *others = (ROOT / ".dockerignore").read_text().split()
    assert first == "*"
    assert all(line.startswith("!") for line in others if "__pycache__" not in line)

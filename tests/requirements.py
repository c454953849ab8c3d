"""What a test may need of the machine beyond Python: rights, and programs out of Debian packages.

`python -m tests.requirements` prints the Debian packages that are missing, for `make test` to install; with names of
requirements it looks only at those.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

PROGRAM_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
"""Where programs are looked for: Debian keeps servers in directories that an ordinary user's PATH leaves out."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and the Debian package that has it."""

    name: str
    package: str

    def lacking(self) -> str | None:
        """What to do about its absence, in words; None when it is there."""
        if shutil.which(self.name, path=PROGRAM_PATH):
            return None
        return f"{self.name} is not installed: apt-get install {self.package}"


@dataclass(frozen=True, slots=True)
class Root:
    """The rights of root."""

    name: str = "root"

    def lacking(self) -> str | None:
        """As `Program.lacking`."""
        return None if os.geteuid() == 0 else "not root: run the tests as root"


@dataclass(frozen=True, slots=True)
class Venv:
    """A virtual environment that a script of tools/ makes: it ends by leaving a copy of its pins there."""

    name: str
    path: Path
    pins: Path
    script: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    def lacking(self) -> str | None:
        """As `Program.lacking`."""
        made = self.path / "installed.txt"
        if made.is_file() and made.read_bytes() == self.pins.read_bytes():
            return None
        return f"{self.name} are not installed: run {self.script}"


AZURE_SDKS = Venv(
    "azure-sdks", ROOT / ".cache" / "azure-sdks", ROOT / "tests" / "azure" / "requirements.txt", "tools/azure-venv"
)

Requirement = Program | Root | Venv

REQUIREMENTS: dict[str, Requirement] = {
    row.name: row
    for row in (
        Root(),
        Program("mosquitto", "mosquitto"),
        Program("mosquitto_passwd", "mosquitto"),
        Program("mosquitto_pub", "mosquitto-clients"),
        Program("mosquitto_sub", "mosquitto-clients"),
        Program("dnsmasq", "dnsmasq-base"),
        Program("docker-compose", "docker-compose"),
        Program("ip", "iproute2"),
        Program("nft", "nftables"),
        Program("chronyd", "chrony"),
        Program("udhcpd", "udhcpd"),
        Program("nsenter", "util-linux"),
        Program("openssl", "openssl"),
        Program("setpriv", "util-linux"),
        Program("ss", "iproute2"),
        Program("tshark", "tshark"),
        Program("unshare", "util-linux"),
        AZURE_SDKS,
    )
}
"""What ``@pytest.mark.needs(...)`` may name."""


def lacking(names: Iterable[object]) -> str | None:
    """Everything in `names` that this machine does not have, in one sentence; None when nothing is lacking."""
    rows = [REQUIREMENTS[name] for name in names if isinstance(name, str)]
    return "; ".join(reason for row in rows if (reason := row.lacking())) or None


def unknown(names: Iterable[object]) -> list[object]:
    """Those of `names` that are no requirements."""
    return [name for name in names if name not in REQUIREMENTS]


def program(name: str) -> str:
    """Path of a program that the test has asked for with ``needs``."""
    path = shutil.which(name, path=PROGRAM_PATH)
    assert path, REQUIREMENTS[name].lacking()
    return path


def missing_packages(names: Iterable[str]) -> Iterator[str]:
    """Debian packages to install, each once."""
    rows = [REQUIREMENTS[name] for name in names]
    yield from dict.fromkeys(row.package for row in rows if isinstance(row, Program) and row.lacking())


if __name__ == "__main__":
    print(*missing_packages(sys.argv[1:] or REQUIREMENTS))

"""On what machine the figures were taken, without its name or any path of it."""

import os
import platform
import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.requirements import program

PACKAGES = ("uvloop", "cryptography", "aiomqtt", "paho-mqtt", "locust", "gevent")


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts as (what, text) pairs, and the load average of one minute before the first benchmark."""

    facts: tuple[tuple[str, str], ...]
    load_before: float


def look() -> Machine:
    """What there is now."""
    load = os.getloadavg()[0]
    facts = (
        ("date", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("processor", f"{_processor()}, {len(os.sched_getaffinity(0))} cores for us"),
        ("system", f"{platform.system()} {platform.release().split('-')[0]}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("TLS", ssl.OPENSSL_VERSION),
        ("Mosquitto", _mosquitto()),
        *((name, version(name)) for name in PACKAGES),
    )
    return Machine(facts, load)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _mosquitto() -> str:
    """``mosquitto -h`` says its version first, and ends with a status of its own."""
    said = subprocess.run([program("mosquitto"), "-h"], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0].removeprefix("mosquitto version ") if said else "unknown"

"""What a good server and a good flash say to an updater."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from emulator.machines.update_steps import (
    Arrived,
    Described,
    Event,
    FetchBlock,
    FetchLocation,
    FetchManifest,
    Hashed,
    Inspect,
    Kept,
    Located,
    Step,
    Stored,
    Verify,
    Wait,
    Waited,
    WriteBlock,
)
from emulator.machines.updater import Updater
from emulator.profile import load_profile
from emulator.wire.firmware import Location
from emulator.wire.firmware_keys import sign
from emulator.wire.manifest_fit import Running
from tests.firmware_images import IMAGE, KEYS, PACKAGE, SIGNER, package

TIMING = load_profile().firmware
RUNNING = Running("5.3.0.3", 1, "zaptec-pro", "ZPR000001", slot_bytes=100_000, block_bytes=4096)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOCATION = Location("https://devices.zaptec.com/image.bin", "5.4.0.0")
DESCRIBED = Described(PACKAGE.manifest, sign(PACKAGE.manifest, SIGNER), NOW)


HOSTS = ("api.zaptec.com", "devices.zaptec.com", "old.zaptec.com")
ETAG = '"one"'


def updater() -> Updater:
    return Updater(TIMING, HOSTS, RUNNING, KEYS)


def signed(key: EllipticCurvePrivateKey, **changes: Any) -> tuple[bytes, bytes]:
    """Manifest and signature of a release that differs from the good one."""
    manifest = package(**changes).manifest
    return manifest, sign(manifest, key)


def honest_answer(step: Step) -> Event:
    """What a good server and a good flash answer."""
    match step:
        case FetchLocation():
            return Located(LOCATION)
        case FetchManifest():
            return DESCRIBED
        case Inspect():
            return Kept(0)
        case FetchBlock():
            return Arrived(IMAGE[step.first : step.last + 1], len(IMAGE), len(IMAGE), ETAG)
        case WriteBlock():
            return Stored()
        case Verify():
            return Hashed(hashlib.sha256(IMAGE).digest())
        case Wait():
            return Waited()
        case _:
            raise AssertionError("the update is over")


def run_until(machine: Updater, kind: type[Step], now: float = 0.0) -> Step:
    """Answer honestly until a step of this kind is asked for."""
    step = machine.start(now)
    while not isinstance(step, kind):
        step = machine.handle(honest_answer(step), now)
    return step

"""Whether a genuine image is for this charger, now."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from emulator.wire.manifest import Component, Manifest, parse_version
from emulator.wire.update_reason import FirmwareError, UpdateReason


@dataclass(frozen=True, slots=True)
class Running:
    """What an update must fit: the charger's hardware, serial, slots and buffers, and the firmware that it runs now.

    `security_counter` is the highest that this charger has ever relied on.
    """

    version: str
    security_counter: int
    hardware: str
    serial: str
    slot_bytes: int
    block_bytes: int


def check_fits(manifest: Manifest, running: Running, utc: datetime) -> None:
    """Refuse a genuine image that is not for this charger at this time, by the charger's own clock.

    FirmwareError WRONG_HARDWARE, WRONG_SERIAL, EXPIRED, MALFORMED, TOO_LARGE, MIXED, ROLLBACK, OLDER or NOT_FROM_HERE,
    in this order. An equal version is installed again, as the cloud may ask for (zaptec.md section 14).
    """
    for reason, detail in (*_not_for_it(manifest, running, utc), *_not_after_it(manifest, running)):
        raise FirmwareError(reason, detail)


def _not_for_it(manifest: Manifest, running: Running, utc: datetime) -> Iterator[tuple[UpdateReason, str]]:
    """What is wrong whatever runs."""
    if running.hardware not in manifest.hardware:
        yield UpdateReason.WRONG_HARDWARE, f"for {', '.join(manifest.hardware)}; this is {running.hardware}"
    if manifest.serial_prefixes and not running.serial.startswith(manifest.serial_prefixes):
        yield UpdateReason.WRONG_SERIAL, f"for {', '.join(manifest.serial_prefixes)}; this is {running.serial}"
    if utc > manifest.not_after:
        yield (
            UpdateReason.EXPIRED,
            f"valid until {manifest.not_after:%Y-%m-%dT%H:%M:%SZ}, it is {utc:%Y-%m-%dT%H:%M:%SZ}",
        )
    if manifest.block_bytes != running.block_bytes:
        detail = f"blocks of {manifest.block_bytes} bytes, this charger takes {running.block_bytes}"
        yield UpdateReason.MALFORMED, detail
    if manifest.size_bytes > running.slot_bytes:
        yield UpdateReason.TOO_LARGE, f"{manifest.size_bytes} bytes, a slot holds {running.slot_bytes}"
    if missing := [part.value for part in Component if part not in manifest.versions()]:
        yield UpdateReason.MIXED, f"without {', '.join(missing)}: components are switched together"


def _not_after_it(manifest: Manifest, running: Running) -> Iterator[tuple[UpdateReason, str]]:
    """What is wrong because of the firmware that runs, or that ran."""
    runs = parse_version(running.version)
    if manifest.security_counter < running.security_counter:
        detail = f"security counter {manifest.security_counter}, this charger has relied on {running.security_counter}"
        yield UpdateReason.ROLLBACK, detail
    if parse_version(manifest.version) < runs:
        yield UpdateReason.OLDER, f"version {manifest.version}, running {running.version}"
    if runs < parse_version(manifest.min_version):
        yield UpdateReason.NOT_FROM_HERE, f"follows {manifest.min_version} or later, running {running.version}"

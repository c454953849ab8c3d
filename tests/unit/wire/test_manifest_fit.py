"""Genuine images for other chargers, other times and other predecessors."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from emulator.wire.manifest_fit import Running, check_fits
from emulator.wire.update_reason import FirmwareError, UpdateReason
from tests.firmware_images import BLOCK, MANIFEST, SIZE, reason_of

RUNNING = Running("5.3.0.3", 3, "zaptec-pro", "ZPR000001", slot_bytes=SIZE, block_bytes=BLOCK)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_an_image_for_this_charger_fits() -> None:
    check_fits(MANIFEST, RUNNING, NOW)
    check_fits(replace(MANIFEST, hardware=("zaptec-go", "zaptec-pro"), serial_prefixes=()), RUNNING, NOW)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hardware": ("zaptec-go",)}, UpdateReason.WRONG_HARDWARE),
        ({"serial_prefixes": ("ZGB", "ZPR9")}, UpdateReason.WRONG_SERIAL),
        ({"not_after": NOW - timedelta(seconds=1)}, UpdateReason.EXPIRED),
        ({"block_bytes": BLOCK + 1}, UpdateReason.MALFORMED),
        ({"size_bytes": SIZE + 1}, UpdateReason.TOO_LARGE),
        ({"components": MANIFEST.components[:-1]}, UpdateReason.MIXED),
        ({"security_counter": 2}, UpdateReason.ROLLBACK),
        ({"security_counter": 2, "version": "9"}, UpdateReason.ROLLBACK),
        ({"version": "5.3.0.2"}, UpdateReason.OLDER),
        ({"version": "5.3"}, UpdateReason.OLDER),
        ({"min_version": "5.3.0.4"}, UpdateReason.NOT_FROM_HERE),
    ],
)
def test_a_genuine_image_for_another_charger_is_refused(changes: dict[str, Any], reason: UpdateReason) -> None:
    assert reason_of(check_fits, replace(MANIFEST, **changes), RUNNING, NOW) is reason


@pytest.mark.parametrize("version", ["5.3.0.3", "5.3.0.3.0", "5.3.0.10", "6"])
def test_an_equal_or_newer_version_fits(version: str) -> None:
    check_fits(replace(MANIFEST, version=version), RUNNING, NOW)


def test_it_may_be_installed_until_its_last_second() -> None:
    check_fits(MANIFEST, RUNNING, MANIFEST.not_after)
    with pytest.raises(FirmwareError, match="expired: valid until 2049-12-31T23:59:59Z, it is 2050-01-01T00:00:00Z"):
        check_fits(MANIFEST, RUNNING, MANIFEST.not_after + timedelta(seconds=1))


def test_the_counter_that_was_reached_counts_and_not_the_version_that_runs() -> None:
    """Command 202 has taken the charger back to older firmware; what is revoked stays so."""
    went_back = replace(RUNNING, version="5.0", security_counter=7)
    check: Callable[..., Any] = check_fits
    assert reason_of(check, replace(MANIFEST, min_version="0"), went_back, NOW) is UpdateReason.ROLLBACK

"""What can be wrong with a time server's reply, one field at a time."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.machines.ntp_reply import (
    NONSENSE,
    ROOT_MAX_S,
    ROUND_TRIP_MAX_S,
    ROUND_TRIP_SLACK_S,
    complaint_about,
    complaint_about_trip,
)
from emulator.wire.ntp import CLIENT, SECOND, SERVER, Measurement, NtpPacket, shifted, timestamp

NOW = timestamp(datetime(2026, 6, 1, 12, tzinfo=UTC))
GOOD = NtpPacket(mode=SERVER, stratum=2, origin=1, reference=NOW, received=NOW, transmitted=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stratum": 1},
        {"stratum": 15},
        {"leap": 1},
        {"leap": 2},
        {"reference": 0},
        {"reference": shifted(NOW, -86400.0)},
        {"received": shifted(NOW, -5.0)},
        {"root_delay_s": ROOT_MAX_S - 0.01, "root_dispersion_s": ROOT_MAX_S - 0.01},
    ],
)
def test_a_good_reply_is_not_complained_about(changes: dict[str, Any]) -> None:
    assert complaint_about(replace(GOOD, **changes)) is None


@pytest.mark.parametrize(
    ("changes", "what", "honest"),
    [
        ({"mode": CLIENT}, "wrong_mode", False),
        ({"mode": 5}, "wrong_mode", False),
        ({"version": 3}, "wrong_version", False),
        ({"version": 0}, "wrong_version", False),
        ({"stratum": 0, "reference_id": b"DENY"}, "DENY", True),
        ({"stratum": 0, "reference_id": b"RATE"}, "RATE", True),
        ({"stratum": 0, "reference_id": b"X12\0"}, "X12", True),
        ({"stratum": 0}, "kiss", True),
        ({"stratum": 0, "reference_id": b"\xff\n\0!"}, "kiss", True),
        ({"stratum": 0, "reference_id": b"deny"}, "kiss", True),
        ({"leap": 3}, "unsynchronised", True),
        ({"stratum": 16}, "stratum", True),
        ({"stratum": 255}, "stratum", True),
        ({"transmitted": 0}, "zero_time", False),
        ({"received": 0}, "zero_time", False),
        ({"received": NOW + 1}, "backwards", False),
        ({"reference": NOW + 1}, "backwards", False),
        ({"root_delay_s": ROOT_MAX_S}, "absurd_root", False),
        ({"root_dispersion_s": ROOT_MAX_S}, "absurd_root", False),
        ({"root_delay_s": 65535.9}, "absurd_root", False),
    ],
)
def test_each_wrong_field_has_its_own_word(changes: dict[str, Any], what: str, honest: bool) -> None:
    complaint = complaint_about(replace(GOOD, **changes))
    assert complaint == what
    assert (complaint not in NONSENSE) is honest


@pytest.mark.parametrize(
    ("delay_s", "what"),
    [
        (-1e9, "negative_delay"),
        (-ROUND_TRIP_SLACK_S - 1e-6, "negative_delay"),
        (-ROUND_TRIP_SLACK_S, None),
        (0.0, None),
        (ROUND_TRIP_MAX_S, None),
        (ROUND_TRIP_MAX_S + 1e-6, "absurd_delay"),
        (1e9, "absurd_delay"),
    ],
)
def test_a_round_trip_is_neither_negative_nor_endless(delay_s: float, what: str | None) -> None:
    assert complaint_about_trip(Measurement(0.0, delay_s)) == what


@given(st.integers(1, (1 << 64) - 1), st.integers(-30 * SECOND, 30 * SECOND))
def test_time_runs_forwards_over_the_change_of_era_too(received: int, by: int) -> None:
    transmitted = (received + by) % (1 << 64) or 1
    complaint = complaint_about(replace(GOOD, reference=0, received=received, transmitted=transmitted))
    assert complaint == (None if by >= 0 else "backwards")

"""Times as the hub writes them."""

from datetime import UTC, datetime, timedelta

NEVER = "0001-01-01T00:00:00Z"
"""What stands where nothing has happened yet (iothub-mqtt.md section 2.3)."""

_BEGIN = datetime(1, 1, 1, tzinfo=UTC)


def hub_time(at: datetime) -> str:
    """``2026-06-01T12:00:00.000000Z``. Texts compare as the times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")  # each message has one


def hub_time_of(unix_s: float) -> str:
    """The same for seconds since 1970."""
    return hub_time(datetime.fromtimestamp(unix_s, UTC))


def ticks(at: datetime) -> int:
    """Tenths of microseconds since the year 1: 18 digits, the form of a `generationId`."""
    return (at - _BEGIN) // timedelta(microseconds=1) * 10


def from_ticks(count: int) -> datetime:
    """The inverse of `ticks`, to the microsecond."""
    return _BEGIN + timedelta(microseconds=count // 10)

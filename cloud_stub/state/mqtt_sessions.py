"""Stored MQTT sessions and what is known of each device's connection (iothub-mqtt.md sections 1.8 and 2.3)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from cloud_stub.state.database import State
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.identity import Seen
from cloud_stub.state.time import hub_time
from emulator.clock import Utc


@dataclass(frozen=True, slots=True)
class Begun:
    """A session has begun. `number` tells it from older ones of the device; `stored` are the channels that were kept
    for it, None if there was no stored session."""

    number: int
    stored: frozenset[str] | None


class MqttSessions:
    """At most one session per device, over all processes: a newer one takes the place of the older."""

    def __init__(self, state: State, utc: Utc) -> None:
        self._state = state
        self._utc = utc

    def begin(self, device_id: str, *, clean: bool) -> Begun:
        """The device is connected. A clean session forgets what was stored. HubError 404001 if it was just deleted."""
        now = hub_time(self._utc())
        with self._state.change() as database:
            if database.execute("SELECT 1 FROM devices WHERE device_id = ?", (device_id,)).fetchone() is None:
                raise HubError(ErrorCode.NOT_FOUND, f"device {device_id} does not exist")
            row = database.execute("SELECT number, channels FROM sessions WHERE device_id = ?", (device_id,)).fetchone()
            number, channels = row or (0, None)
            kept = None if clean else channels
            database.execute(
                "INSERT OR REPLACE INTO sessions VALUES (?, ?, 1, ?, ?, ?)", (device_id, number + 1, now, now, kept)
            )
        return Begun(number + 1, None if kept is None else frozenset(json.loads(kept)))

    def keep(self, device_id: str, number: int, channels: Iterable[str]) -> None:
        """Store the channels of a session that is not clean; nothing happens if a newer one has begun."""
        with self._state.change() as database:
            database.execute(
                "UPDATE sessions SET channels = ? WHERE device_id = ? AND number = ?",
                (json.dumps(sorted(channels)), device_id, number),
            )

    def end(self, device_id: str, number: int) -> None:
        """The connection is over; nothing happens if a newer one has begun."""
        now = hub_time(self._utc())
        with self._state.change() as database:
            database.execute(
                """UPDATE sessions SET connected = 0, connection_updated = ?, last_activity = ?
                WHERE device_id = ? AND number = ?""",
                (now, now, device_id, number),
            )

    def end_all(self) -> None:
        """No device is connected: to be said once, before the first endpoint of a hub starts."""
        with self._state.change() as database:
            database.execute(
                "UPDATE sessions SET connected = 0, connection_updated = ? WHERE connected", (hub_time(self._utc()),)
            )

    def seen(self, device_id: str) -> Seen:
        """What is known of the device's connection."""
        row = self._state.row(
            "SELECT connected, connection_updated, last_activity FROM sessions WHERE device_id = ?", (device_id,)
        )
        return Seen(bool(row[0]), row[1], row[2]) if row else Seen()

    def connected_count(self) -> int:
        """How many devices are connected."""
        row = self._state.row("SELECT count(*) FROM sessions WHERE connected")
        return row[0] if row else 0

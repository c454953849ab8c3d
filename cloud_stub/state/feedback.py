"""Feedback about C2D messages, as the service receives it: in batches, each locked until it is completed (1.12)."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from cloud_stub.state.c2d import VENDOR_RULES, C2dRules, Outcome
from cloud_stub.state.database import State, next_count
from cloud_stub.state.time import hub_time_of
from emulator.clock import Utc

BATCH_ITEMS_MAX = 64
BATCH_S = 15.0
"""A batch is ready when it is full or its first record has waited this long."""
RECORDS_MAX = 65_536
"""Records that wait; the oldest goes when there are more (invented)."""
CONTENT_TYPE = "application/vnd.microsoft.iothub.feedback.json"

_DESCRIPTIONS = {
    Outcome.SUCCESS: "Success",
    Outcome.EXPIRED: "Message expired",
    Outcome.DELIVERY_COUNT_EXCEEDED: "Delivery count exceeded",
    Outcome.REJECTED: "Message rejected",
    Outcome.PURGED: "Message purged",
}


@dataclass(frozen=True, slots=True)
class FeedbackBatch:
    """Records of one batch. `lock` completes or abandons it, until it is received again."""

    lock: str
    items: tuple[dict[str, Any], ...]

    @property
    def body(self) -> bytes:
        """The JSON array, of type `CONTENT_TYPE`."""
        return json.dumps(self.items).encode()


class Feedback:
    """The hub's one feedback queue. Records live as long as `C2dRules.feedback_ttl_s`."""

    def __init__(self, state: State, utc: Utc, rules: C2dRules = VENDOR_RULES) -> None:
        self._state = state
        self._utc = utc
        self._rules = rules

    def add(self, database: sqlite3.Connection, device_id: str, message_id: str, outcome: Outcome) -> None:
        """Note how a message ended, inside a change."""
        row = database.execute("SELECT generation_id FROM devices WHERE device_id = ?", (device_id,)).fetchone()
        number = database.execute(
            "INSERT INTO feedback VALUES (NULL, ?, ?, ?, ?, ?, NULL, NULL, 0)",
            (device_id, row[0] if row else "", message_id, outcome.value, self._utc().timestamp()),
        ).lastrowid
        database.execute("DELETE FROM feedback WHERE number <= ?", ((number or 0) - RECORDS_MAX,))

    def receive(self) -> FeedbackBatch | None:
        """The next batch that is ready, locked for `feedback_lock_s`; None if there is none.

        One that was received too often without being completed is lost.
        """
        now = self._utc().timestamp()
        if self._state.row("SELECT 1 FROM feedback LIMIT 1") is None:
            return None
        with self._state.change() as database:
            self._forget(database, now)
            batch = self._released(database, now) or self._closed(database, now)
            if batch is None:
                return None
            database.execute(
                "UPDATE feedback SET delivery_count = delivery_count + 1, locked_until = ? WHERE batch = ?",
                (now + self._rules.feedback_lock_s, batch),
            )
            rows = database.execute(
                """SELECT message_id, happened_at, status_code, device_id, generation_id, delivery_count
                FROM feedback WHERE batch = ? ORDER BY number""",
                (batch,),
            ).fetchall()
        return FeedbackBatch(f"{batch}-{rows[0][5]}", tuple(_item(*row[:5]) for row in rows))

    def complete(self, lock: str) -> bool:
        """The batch was dealt with. False if the lock has ended."""
        return self._settle(lock, "DELETE FROM feedback WHERE batch = ?")

    def abandon(self, lock: str) -> bool:
        """Have the batch received again. False if the lock has ended."""
        return self._settle(lock, "UPDATE feedback SET locked_until = NULL WHERE batch = ?")

    def _settle(self, lock: str, sql: str) -> bool:
        batch, _, count = lock.partition("-")
        with self._state.change() as database:
            held = database.execute(
                "SELECT 1 FROM feedback WHERE batch = ? AND CAST(delivery_count AS TEXT) = ? AND locked_until > ?",
                (batch, count, self._utc().timestamp()),
            ).fetchone()
            if held:
                database.execute(sql, (batch,))
        return held is not None

    def _forget(self, database: sqlite3.Connection, now: float) -> None:
        database.execute("DELETE FROM feedback WHERE happened_at <= ?", (now - self._rules.feedback_ttl_s,))
        database.execute(
            "DELETE FROM feedback WHERE delivery_count >= ? AND coalesce(locked_until, 0) <= ?",
            (self._rules.feedback_delivery_count_max, now),
        )

    def _released(self, database: sqlite3.Connection, now: float) -> str | None:
        """The oldest batch that was made before and is not locked now."""
        row = database.execute(
            """SELECT batch FROM feedback WHERE batch IS NOT NULL AND coalesce(locked_until, 0) <= ?
            ORDER BY number LIMIT 1""",
            (now,),
        ).fetchone()
        return row[0] if row else None

    def _closed(self, database: sqlite3.Connection, now: float) -> str | None:
        """Make a batch of the oldest records, if it is time."""
        rows = database.execute(
            "SELECT number, happened_at FROM feedback WHERE batch IS NULL ORDER BY number LIMIT ?", (BATCH_ITEMS_MAX,)
        ).fetchall()
        if not rows or (len(rows) < BATCH_ITEMS_MAX and now < rows[0][1] + BATCH_S):
            return None
        batch = f"{next_count(database, 'feedback-batch'):x}"
        database.execute("UPDATE feedback SET batch = ? WHERE batch IS NULL AND number <= ?", (batch, rows[-1][0]))
        return batch


def _item(message_id: str, happened_at: float, status_code: str, device_id: str, generation_id: str) -> dict[str, Any]:
    return {
        "originalMessageId": message_id,
        "enqueuedTimeUtc": hub_time_of(happened_at),
        "statusCode": status_code,
        "description": _DESCRIPTIONS[Outcome(status_code)],
        "deviceId": device_id,
        "deviceGenerationId": generation_id,
    }

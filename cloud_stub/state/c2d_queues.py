"""The queues of cloud-to-device messages, one per device, kept in the hub's state (iothub-mqtt.md section 1.12).

They belong to the hub, not to the MQTT session: what is queued outlives connections and the hub's own processes.
"""

import json
import sqlite3
import uuid
from collections.abc import Iterable

from cloud_stub.state.c2d import (
    VENDOR_RULES,
    Ack,
    C2dDelivery,
    C2dMessage,
    C2dRules,
    FirstSession,
    Outcome,
    Waiting,
    check,
    delivered,
    enqueued,
    fate,
    released,
    reports,
)
from cloud_stub.state.database import Row, State, next_count
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.feedback import Feedback
from emulator.clock import Utc

EXPIRE_MAX = 1_000
"""Messages that one `expire` looks at; what is left is due at once."""

_COLUMNS = "sequence, device_id, message_id, bag, body, ack, expires_at, locked_until, delivery_count"
_SELECT = f"SELECT {_COLUMNS} FROM c2d"  # noqa: S608 - a constant
_IDS = uuid.UUID("6f1a7c0e-58a4-5c39-9f0e-3f2f2f3b7d11")


class C2dQueues:
    """Messages are delivered in order, at least once, and to one connection at a time.

    A delivery locks its message until it is completed, its connection ends (`abandon`) or the lock time is over. Each
    method is whole and lasting when it returns, in all processes. Times are those of `utc`.
    """

    def __init__(self, state: State, utc: Utc, rules: C2dRules = VENDOR_RULES) -> None:
        self._state = state
        self._utc = utc
        self.rules = rules
        self.feedback = Feedback(state, utc, rules)

    def send(self, device_id: str, message: C2dMessage) -> bool:
        """Queue a message. False if it was dropped because the device never had an MQTT session (`FirstSession`).

        HubError: 404001, 403004 when the queue is full, 400004 or 413001 for a message that cannot be.
        """
        check(message)
        now = self._utc().timestamp()
        with self._state.change() as database:
            if database.execute("SELECT 1 FROM devices WHERE device_id = ?", (device_id,)).fetchone() is None:
                raise HubError(ErrorCode.NOT_FOUND, f"device {device_id} does not exist")
            if self.rules.first_session is FirstSession.DROP and not _was_connected(database, device_id):
                return False
            self._bury_dead(database, device_id, now)
            if _count(database, device_id) >= self.rules.depth_max:
                raise HubError(ErrorCode.QUEUE_FULL, f"device {device_id}: {self.rules.depth_max} messages wait")
            waiting = enqueued(message, now, self.rules)
            self._insert(database, device_id, message, waiting, now)
        return True

    def due(self, device_id: str, limit: int | None = None) -> list[C2dDelivery]:
        """What is to be sent to the device now, oldest first, at most `limit`; each is locked from now on."""
        if self._state.row("SELECT 1 FROM c2d WHERE device_id = ? LIMIT 1", (device_id,)) is None:
            return []
        now = self._utc().timestamp()
        with self._state.change() as database:
            self._bury_dead(database, device_id, now)
            rows = database.execute(
                f"{_SELECT} WHERE device_id = ? AND coalesce(locked_until, 0) <= ? ORDER BY sequence LIMIT ?",
                (device_id, now, -1 if limit is None else limit),
            ).fetchall()
            return [self._deliver(database, row, now) for row in rows]

    def complete(self, device_id: str, lock: str) -> bool:
        """The device has acknowledged. False if the lock has ended, and the message comes again or is dead."""
        return self._settle(device_id, lock, Outcome.SUCCESS)

    def reject(self, device_id: str, lock: str) -> bool:
        """The device will not have the message (MQTT cannot say so). False if the lock has ended."""
        return self._settle(device_id, lock, Outcome.REJECTED)

    def abandon(self, device_id: str, locks: Iterable[str]) -> None:
        """The connection that had these deliveries is over: they are due again, or dead after too many deliveries."""
        now = self._utc().timestamp()
        with self._state.change() as database:
            for lock in locks:
                row = _locked(database, device_id, lock, now)
                if row is not None:
                    _place(database, row[0], released(_waiting(row)))
            self._bury_dead(database, device_id, now)

    def connected(self, device_id: str, *, clean: bool) -> None:
        """A connection begins, so that older ones are over: what they had in delivery is due again.

        With a clean session the queue is emptied if the rules say so, without feedback.
        """
        if clean and self.rules.clean_session_discards:
            with self._state.change() as database:
                database.execute("DELETE FROM c2d WHERE device_id = ?", (device_id,))
        elif self._state.row(
            "SELECT 1 FROM c2d WHERE device_id = ? AND locked_until IS NOT NULL LIMIT 1", (device_id,)
        ):
            self.release(device_id)

    def expire(self) -> list[str]:
        """Let time act: what has expired is dead, what was locked too long is due again.

        The devices that have a message to be delivered again, in order of their ids.
        """
        now = self._utc().timestamp()
        if self._state.row("SELECT 1 FROM c2d WHERE due_at <= ? LIMIT 1", (now,)) is None:
            return []
        woken = set[str]()
        with self._state.change() as database:
            query = f"{_SELECT} WHERE due_at <= ? ORDER BY due_at, sequence LIMIT ?"
            for row in database.execute(query, (now, EXPIRE_MAX)).fetchall():
                outcome = fate(_waiting(row), now, self.rules)
                if outcome is None:
                    _place(database, row[0], released(_waiting(row)))
                    woken.add(row[1])
                else:
                    self._bury(database, row, outcome)
        return sorted(woken)

    def deadline(self) -> float | None:
        """When `expire` has something to do, in Unix seconds; None while nothing waits."""
        row = self._state.row("SELECT min(due_at) FROM c2d")
        return row[0] if row else None

    def purge(self, device_id: str) -> int:
        """Empty the queue, messages in delivery included; how many there were. HubError 404001."""
        with self._state.change() as database:
            if database.execute("SELECT 1 FROM devices WHERE device_id = ?", (device_id,)).fetchone() is None:
                raise HubError(ErrorCode.NOT_FOUND, f"device {device_id} does not exist")
            rows = database.execute(f"{_SELECT} WHERE device_id = ? ORDER BY sequence", (device_id,)).fetchall()
            for row in rows:
                self._bury(database, row, Outcome.PURGED)
        return len(rows)

    def count(self, device_id: str) -> int:
        """How many messages wait for the device or for its acknowledgement."""
        row = self._state.row("SELECT count(*) FROM c2d WHERE device_id = ?", (device_id,))
        return row[0] if row else 0

    def release(self, device_id: str) -> None:
        """The device's connection is gone, and the process that had it: its deliveries are due again."""
        with self._state.change() as database:
            database.execute(
                """UPDATE c2d SET locked_until = NULL, due_at = expires_at
                WHERE device_id = ? AND locked_until IS NOT NULL""",
                (device_id,),
            )

    def release_all(self) -> None:
        """No connection has a delivery: to be said once, before the first endpoint of a hub starts."""
        with self._state.change() as database:
            database.execute("UPDATE c2d SET locked_until = NULL, due_at = expires_at WHERE locked_until IS NOT NULL")

    def _insert(
        self, database: sqlite3.Connection, device_id: str, message: C2dMessage, waiting: Waiting, now: float
    ) -> None:
        number = next_count(database, "c2d-message")
        message_id = message.message_id or str(uuid.uuid5(_IDS, f"{device_id}/{number}"))
        bag = json.dumps(message.properties)
        database.execute(
            "INSERT INTO c2d VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, NULL, 0, ?)",
            (device_id, message_id, bag, message.body, message.ack.value, now, waiting.expires_at, waiting.due_at),
        )

    def _deliver(self, database: sqlite3.Connection, row: Row, now: float) -> C2dDelivery:
        waiting = delivered(_waiting(row), now, self.rules)
        _place(database, row[0], waiting)
        return C2dDelivery(f"{row[0]}-{waiting.delivery_count}", row[0], _message(row), waiting.delivery_count)

    def _settle(self, device_id: str, lock: str, outcome: Outcome) -> bool:
        with self._state.change() as database:
            row = _locked(database, device_id, lock, self._utc().timestamp())
            if row is not None:
                self._bury(database, row, outcome)
        return row is not None

    def _bury_dead(self, database: sqlite3.Connection, device_id: str, now: float) -> None:
        for row in database.execute(f"{_SELECT} WHERE device_id = ? ORDER BY sequence", (device_id,)).fetchall():
            outcome = fate(_waiting(row), now, self.rules)
            if outcome is not None:
                self._bury(database, row, outcome)

    def _bury(self, database: sqlite3.Connection, row: Row, outcome: Outcome) -> None:
        message = _message(row)
        database.execute("DELETE FROM c2d WHERE sequence = ?", (row[0],))
        if reports(message.ack, outcome):
            self.feedback.add(database, row[1], message.message_id, outcome)


def _was_connected(database: sqlite3.Connection, device_id: str) -> bool:
    return database.execute("SELECT 1 FROM sessions WHERE device_id = ?", (device_id,)).fetchone() is not None


def _count(database: sqlite3.Connection, device_id: str) -> int:
    count: int = database.execute("SELECT count(*) FROM c2d WHERE device_id = ?", (device_id,)).fetchone()[0]
    return count


def _locked(database: sqlite3.Connection, device_id: str, lock: str, now: float) -> Row | None:
    """The message that a lock still holds."""
    sequence, _, count = lock.partition("-")
    row: Row | None = database.execute(
        f"{_SELECT} WHERE device_id = ? AND sequence = CAST(? AS INTEGER) AND CAST(delivery_count AS TEXT) = ?",
        (device_id, sequence, count),
    ).fetchone()
    return row if row is not None and _waiting(row).locked(now) else None


def _place(database: sqlite3.Connection, sequence: int, waiting: Waiting) -> None:
    database.execute(
        "UPDATE c2d SET locked_until = ?, delivery_count = ?, due_at = ? WHERE sequence = ?",
        (waiting.locked_until, waiting.delivery_count, waiting.due_at, sequence),
    )


def _waiting(row: Row) -> Waiting:
    return Waiting(*row[6:9])


def _message(row: Row) -> C2dMessage:
    _, _, message_id, bag, body, ack, expires_at, *_ = row
    properties = tuple((name, value) for name, value in json.loads(bag))
    return C2dMessage(body, message_id, properties, Ack(ack), expires_at)

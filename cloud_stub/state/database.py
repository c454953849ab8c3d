"""Everything the hub remembers, in one SQLite database: a file that several processes share, or memory.

A change is there for good once its `change` block has ended: a process that is killed loses nothing. After a power cut
the last changes may be gone (write-ahead log, ``synchronous=NORMAL``), but never half of one, and the file is whole.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.schema import APPLICATION_ID, MIGRATIONS, Migration
from emulator.errors import UsageError

BUSY_S = 5.0
"""How long a change waits for another process's; each is a few hundred microseconds long."""
LOG_BYTES_MAX = 16 << 20
"""What is left of the write-ahead log on disk after it was taken over into the database."""
FILE_NAME = "hub.sqlite"

Row = tuple[Any, ...]


class State:
    """One connection to the database. Not to be used from several threads, nor across a fork."""

    def __init__(self, path: Path | None = None, *, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        """Open or make the file, mode 600, or a database in memory; bring its tables up to date.

        UsageError, which names the file, when it is damaged, not ours, of a newer version, or cannot be opened. Such a
        file is left as it is.
        """
        self.path = path
        try:
            with _alone(path):
                self._database = _open(path)
                _check_and_migrate(self._database, path, migrations)
        except (sqlite3.Error, OSError) as error:
            raise UsageError(f"{path}: cannot keep the hub's state here: {_reason(error)}") from None

    def close(self) -> None:
        """Free the file. Nothing else may be called afterwards."""
        self._database.close()

    def rows(self, sql: str, arguments: Sequence[Any] = ()) -> list[Row]:
        """What a query finds. HubError: 500 when the database fails, 400 for a text that is not Unicode."""
        try:
            return self._database.execute(sql, arguments).fetchall()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise _failed(error) from error

    def row(self, sql: str, arguments: Sequence[Any] = ()) -> Row | None:
        """The first row that a query finds, if any. HubError as `rows`."""
        try:
            found: Row | None = self._database.execute(sql, arguments).fetchone()
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise _failed(error) from error
        return found

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block or, if it raises, nothing. Nobody else changes anything meanwhile.

        What the block reads is the newest. Blocks do not nest. HubError as `rows`.
        """
        database = self._database
        try:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise _failed(error) from error


def next_count(database: sqlite3.Connection, name: str, *, at_least: int = 1, step: int = 1) -> int:
    """The next value of a lasting counter, inside a change: over every earlier one, in all processes.

    With `step` further values, of which the first is returned.
    """
    row = database.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    first = max(at_least, (row[0] if row else 0) + 1)
    database.execute("INSERT OR REPLACE INTO counters VALUES (?, ?)", (name, first + step - 1))
    return first


@contextmanager
def _alone(path: Path | None) -> Iterator[None]:
    """Nobody else opens a state in this folder meanwhile: SQLite does not wait where two switch to its log at once.

    The kernel frees the lock even if the process dies. It is on the folder, because to close any descriptor of the
    file itself would take SQLite's own locks away (fcntl(2)).
    """
    if path is None:
        yield
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's own files beside it get the same mode
    return sqlite3.connect(path or ":memory:", timeout=BUSY_S, isolation_level=None, cached_statements=256)


def _check_and_migrate(database: sqlite3.Connection, path: Path | None, migrations: Sequence[Migration]) -> None:
    try:
        _check(database, path, len(migrations))
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA foreign_keys = ON")
        database.execute(f"PRAGMA journal_size_limit = {LOG_BYTES_MAX}")
        if _pragma(database, "user_version") < len(migrations):
            _migrate(database, migrations)
    except BaseException:
        database.close()
        raise


def _check(database: sqlite3.Connection, path: Path | None, newest: int) -> None:
    """Look at the file before anything is written to it. UsageError, sqlite3.DatabaseError."""
    empty = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if empty and not _pragma(database, "application_id"):
        return
    if _pragma(database, "application_id") != APPLICATION_ID:
        raise UsageError(f"{path}: is a database of some other program")
    version = _pragma(database, "user_version")
    if version > newest:
        raise UsageError(f"{path}: has version {version}; this program knows no more than {newest}")
    verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise UsageError(f"{path}: is damaged: {' '.join(str(verdict).split())}")


def _migrate(database: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Every missing step in one transaction. Another process may have been first."""
    database.execute("BEGIN IMMEDIATE")
    for migration in migrations[_pragma(database, "user_version") :]:
        for statement in migration:
            database.execute(statement)
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute(f"PRAGMA user_version = {len(migrations)}")
    database.execute("COMMIT")


def _pragma(database: sqlite3.Connection, name: str) -> int:
    value: int = database.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _reason(error: sqlite3.Error | OSError) -> str:
    return error.strerror or "it cannot be opened" if isinstance(error, OSError) else str(error)


def _failed(error: sqlite3.Error | UnicodeEncodeError) -> HubError:
    if isinstance(error, UnicodeEncodeError):
        return HubError(ErrorCode.BAD_ARGUMENT, "a text that UTF-8 cannot carry")
    return HubError(ErrorCode.SERVER_ERROR, f"the hub's state: {error}")

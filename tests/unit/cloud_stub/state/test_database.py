import sqlite3
from pathlib import Path

import pytest

from cloud_stub.state.database import State, next_count
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.schema import APPLICATION_ID, MIGRATIONS
from emulator.errors import UsageError

NEXT = (*MIGRATIONS, ("CREATE TABLE notes (text TEXT)", "INSERT INTO notes VALUES ('kept')"))


def count_up(state: State) -> int:
    with state.change() as database:
        return next_count(database, "n")


def test_a_file_outlives_the_process_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    state = State(path)
    assert count_up(state) == 1
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    state.close()
    again = State(path)
    assert count_up(again) == 2
    again.close()


def test_two_processes_see_each_others_changes_at_once(tmp_path: Path) -> None:
    one, other = State(tmp_path / "hub.sqlite"), State(tmp_path / "hub.sqlite")
    assert [count_up(state) for state in (one, other, one, other)] == [1, 2, 3, 4]
    assert one.rows("SELECT value FROM counters") == other.rows("SELECT value FROM counters") == [(4,)]
    one.close()
    other.close()


def test_a_change_that_fails_half_way_has_not_happened() -> None:
    state = State()
    count_up(state)
    with pytest.raises(ZeroDivisionError), state.change() as database:
        next_count(database, "n")
        raise ZeroDivisionError
    assert state.row("SELECT value FROM counters") == (1,) and count_up(state) == 2
    state.close()


def test_a_database_that_fails_is_a_server_error_and_not_a_traceback() -> None:
    state = State()
    for ask in (state.rows, state.row):
        with pytest.raises(HubError) as failed:
            ask("SELECT * FROM nowhere")
        assert failed.value.code is ErrorCode.SERVER_ERROR
    with pytest.raises(HubError, match="no such table"), state.change() as database:
        database.execute("DELETE FROM nowhere")
    with pytest.raises(HubError, match="UTF-8") as refused:
        state.row("SELECT * FROM devices WHERE device_id = ?", ("\ud800",))
    assert refused.value.code is ErrorCode.BAD_ARGUMENT
    count_up(state)
    state.close()


@pytest.mark.parametrize(
    "content", [b"not a database, and long enough to be looked at" * 99, b"SQLite format 3\0" * 300]
)
def test_a_file_that_is_no_database_is_named_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hub.sqlite"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        State(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE recipes (name TEXT)")
    foreign.commit()
    foreign.close()
    content = path.read_bytes()
    with pytest.raises(UsageError, match="some other program"):
        State(path)
    assert path.read_bytes() == content


def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    state = State(path)
    with state.change() as database:
        database.executemany("INSERT INTO counters VALUES (?, ?)", [(f"name {n}", n) for n in range(5_000)])
    state.close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"hub\.sqlite.*(damaged|malformed)"):
        State(path)
    assert path.read_bytes() == content


def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere/hub\.sqlite"):
        State(tmp_path / "nowhere" / "hub.sqlite")
    with pytest.raises(UsageError, match="Is a directory"):
        State(tmp_path)


def test_an_older_file_is_brought_up_to_date_and_keeps_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    old = State(path)
    count_up(old)
    old.close()
    new = State(path, migrations=NEXT)
    assert new.row("SELECT text FROM notes") == ("kept",) and count_up(new) == 2
    assert new.row("PRAGMA user_version") == (len(NEXT),) and new.row("PRAGMA application_id") == (APPLICATION_ID,)
    new.close()
    with pytest.raises(UsageError, match=f"version {len(NEXT)}; this program knows no more than {len(MIGRATIONS)}"):
        State(path)


def test_a_step_that_fails_leaves_the_older_version(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    State(path).close()
    with pytest.raises(UsageError, match="cannot keep"):
        State(path, migrations=(*MIGRATIONS, ("CREATE TABLE notes (text TEXT)", "NONSENSE")))
    state = State(path)
    assert state.rows("SELECT 1 FROM sqlite_master WHERE name = 'notes'") == []
    state.close()


def test_a_counter_gives_no_number_twice() -> None:
    state = State()
    with state.change() as database:
        assert next_count(database, "n", at_least=100, step=5) == 100
        assert next_count(database, "n") == 105
        assert next_count(database, "other") == 1
    state.close()

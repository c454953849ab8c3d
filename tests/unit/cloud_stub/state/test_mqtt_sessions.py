from pathlib import Path

import pytest

from cloud_stub.hub.memory import HubMemory
from cloud_stub.state.errors import ErrorCode, HubError
from cloud_stub.state.identity import Seen
from tests.unit.cloud_stub.state.charger_memory import SERIAL, memory_of

AT_NOON = "2026-06-01T12:00:00.000000Z"


def test_channels_are_kept_until_a_clean_session_forgets_them(memory: HubMemory) -> None:
    sessions = memory.sessions
    first = sessions.begin(SERIAL, clean=False)
    assert first.stored is None
    sessions.keep(SERIAL, first.number, {"methods", "desired"})
    sessions.end(SERIAL, first.number)
    second = sessions.begin(SERIAL, clean=False)
    assert second.stored == frozenset({"methods", "desired"}) and second.number > first.number
    assert sessions.begin(SERIAL, clean=True).stored is None
    assert sessions.begin(SERIAL, clean=False).stored is None


def test_a_session_without_channels_is_a_session(memory: HubMemory) -> None:
    memory.sessions.keep(SERIAL, memory.sessions.begin(SERIAL, clean=False).number, ())
    assert memory.sessions.begin(SERIAL, clean=False).stored == frozenset()


def test_a_session_that_was_taken_over_says_nothing_any_more(memory: HubMemory) -> None:
    sessions = memory.sessions
    old, new = sessions.begin(SERIAL, clean=False), sessions.begin(SERIAL, clean=False)
    sessions.keep(SERIAL, new.number, {"methods"})
    sessions.keep(SERIAL, old.number, {"desired"})
    sessions.end(SERIAL, old.number)
    assert sessions.seen(SERIAL).connected and sessions.connected_count() == 1
    assert sessions.begin(SERIAL, clean=False).stored == frozenset({"methods"})


def test_what_is_known_of_a_connection(memory: HubMemory) -> None:
    sessions = memory.sessions
    assert sessions.seen(SERIAL) == Seen()
    begun = sessions.begin(SERIAL, clean=True)
    assert sessions.seen(SERIAL) == Seen(True, AT_NOON, AT_NOON)
    sessions.end(SERIAL, begun.number)
    assert sessions.seen(SERIAL) == Seen(False, AT_NOON, AT_NOON) and sessions.connected_count() == 0


def test_sessions_outlive_the_process_but_connections_do_not(tmp_path: Path) -> None:
    memory = memory_of(tmp_path / "hub.sqlite")
    memory.registry.produce(SERIAL)
    memory.sessions.keep(SERIAL, memory.sessions.begin(SERIAL, clean=False).number, {"methods"})
    memory.state.close()
    again = memory_of(tmp_path / "hub.sqlite")
    again.begin()
    assert again.sessions.connected_count() == 0
    assert again.sessions.begin(SERIAL, clean=False).stored == frozenset({"methods"})
    again.state.close()


def test_a_device_that_was_deleted_has_no_session(memory: HubMemory) -> None:
    begun = memory.sessions.begin(SERIAL, clean=False)
    memory.registry.delete(SERIAL)
    memory.sessions.keep(SERIAL, begun.number, {"methods"})
    memory.sessions.end(SERIAL, begun.number)
    with pytest.raises(HubError) as missing:
        memory.sessions.begin(SERIAL, clean=False)
    assert missing.value.code is ErrorCode.NOT_FOUND
    memory.registry.produce(SERIAL)
    assert memory.sessions.begin(SERIAL, clean=False).stored is None

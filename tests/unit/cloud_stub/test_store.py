from dataclasses import replace
from datetime import UTC, datetime

from cloud_stub.store import OBSERVATIONS_MAX, SESSIONS_MAX, Observed, Store
from emulator.wire.messages import CompletedSession

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SESSION = CompletedSession("a", 1.5, NOON, NOON, True, False, "", "OCMF|{}")


def test_a_device_is_remembered_from_its_first_use() -> None:
    store = Store()
    assert store.get("ZPR000001") is None
    state = store.device("ZPR000001")
    assert not state.online and store.device("ZPR000001") is state and list(store) == ["ZPR000001"]


def test_the_last_value_counts_and_the_number_of_ids_is_limited() -> None:
    state = Store().device("ZPR000001")
    for number in range(OBSERVATIONS_MAX + 10):
        state.observe(number, Observed("first", NOON))
    state.observe(0, Observed("second", NOON))
    assert state.observations[0].value == "second" and len(state.observations) == OBSERVATIONS_MAX


def test_a_completed_session_counts_once_and_the_oldest_goes_when_there_are_too_many() -> None:
    state = Store().device("ZPR000001")
    assert state.complete(SESSION) and not state.complete(SESSION)
    for number in range(SESSIONS_MAX):
        state.complete(replace(SESSION, session_id=str(number)))
    assert len(state.sessions) == SESSIONS_MAX and "a" not in state.sessions

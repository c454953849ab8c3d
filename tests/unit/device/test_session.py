"""Charge sessions: begun, named, finished, kept until the cloud has them."""

import json
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from emulator.device.session import CURRENT_KEY, STORE_MAX, Identity, Sessions
from emulator.flash import MemoryFlash
from emulator.wire.messages import parse_completed_session

AT = datetime(2025, 6, 1, 8, 0, 0, 500_000, tzinfo=UTC)
IDENTITY = Identity("ZPR000001", "5.3.0.3")


def sessions(flash: MemoryFlash, seed: int = 1) -> Sessions:
    return Sessions(flash, lambda purpose: Random(f"{seed}/{purpose}"))


def finish(made: Sessions, register_kwh: float, *, reliable_clock: bool = True) -> bool:
    return made.finish(AT + timedelta(hours=1), register_kwh, IDENTITY, reliable_clock=reliable_clock)


def test_a_session_from_begin_to_delivery() -> None:
    made = sessions(MemoryFlash())
    made.begin(AT, 100.0, reliable_clock=True)
    made.rename("from-the-cloud")
    assert made.energy_kwh(101.5) == 1.5
    finish(made, 107.25)
    assert made.current is None
    (key,) = made.waiting()
    done = parse_completed_session(made.value(key))
    assert (done.session_id, done.energy_kwh, done.started_at) == ("from-the-cloud", 7.25, AT)
    assert done.ended_at == AT + timedelta(hours=1)
    made.delivered(key)
    assert made.waiting() == []


def test_it_carries_its_readings_as_ocmf() -> None:
    made = sessions(MemoryFlash())
    made.begin(AT, 100.0, reliable_clock=True)
    finish(made, 107.25)
    text = parse_completed_session(made.value(made.waiting()[0])).signed_session
    kind, body = text.split("|")
    record = json.loads(body)
    assert (kind, record["PG"], record["GS"], record["GV"]) == ("OCMF", "T1", "ZPR000001", "5.3.0.3")
    assert [(r["TM"], r["TX"], r["RV"]) for r in record["RD"]] == [
        ("2025-06-01T08:00:00,500+00:00 R", "B", 100.0),
        ("2025-06-01T09:00:00,500+00:00 R", "E", 107.25),
    ]


def test_a_reboot_finds_the_session_again() -> None:
    flash = MemoryFlash()
    begun = sessions(flash).begin(AT, 100.0, reliable_clock=True)
    assert sessions(flash, seed=2).current == begun


@pytest.mark.parametrize("record", [b"", b"\xff", b"[]", b"{}", b'{"started_at":"x"}', b'{"started_at":1}'])
def test_a_damaged_record_is_no_session(record: bytes) -> None:
    flash = MemoryFlash()
    flash.put("session.current", record)
    assert sessions(flash).current is None


def test_a_visit_without_energy_and_without_the_cloud_is_forgotten() -> None:
    made = sessions(MemoryFlash())
    made.begin(AT, 100.0, reliable_clock=True)
    finish(made, 100.0)
    assert made.waiting() == []


def test_a_clock_that_was_wrong_at_one_end_is_not_reliable() -> None:
    for begin, end in ((True, False), (False, True)):
        made = sessions(MemoryFlash())
        made.begin(AT, 0.0, reliable_clock=begin)
        finish(made, 1.0, reliable_clock=end)
        assert not parse_completed_session(made.value(made.waiting()[0])).reliable_clock


@pytest.mark.parametrize(("begin", "end"), [(True, False), (False, True)])
def test_each_reading_says_whether_its_own_clock_was_right(begin: bool, end: bool) -> None:
    made = sessions(MemoryFlash())
    made.begin(AT, 0.0, reliable_clock=begin)
    finish(made, 1.0, reliable_clock=end)
    text = parse_completed_session(made.value(made.waiting()[0])).signed_session
    readings = json.loads(text.removeprefix("OCMF|"))["RD"]
    assert [reading["TM"][-1] for reading in readings] == ["R" if begin else "U", "R" if end else "U"]


def test_a_full_store_keeps_the_old_and_loses_the_new() -> None:
    made = sessions(MemoryFlash())
    for number in range(STORE_MAX + 3):
        made.begin(AT, 0.0, reliable_clock=True)
        made.rename(f"session {number}")
        assert finish(made, 1.0) is (number < STORE_MAX)
    assert (len(made.waiting()), made.lost) == (STORE_MAX, 3)
    names = [parse_completed_session(made.value(key)).session_id for key in made.waiting()]
    assert names == [f"session {number}" for number in range(STORE_MAX)]


def test_numbers_go_on_after_a_delivery() -> None:
    made = sessions(MemoryFlash())
    for _ in range(2):
        made.begin(AT, 0.0, reliable_clock=True)
        finish(made, 1.0)
    first, second = made.waiting()
    made.delivered(first)
    made.begin(AT, 0.0, reliable_clock=True)
    finish(made, 1.0)
    assert made.waiting()[0] == second


def test_ids_are_guids_and_differ_even_after_reboots() -> None:
    flash = MemoryFlash()
    ids = {sessions(flash).begin(AT, 0.0, reliable_clock=True).session_id for _ in range(20)}
    assert len(ids) == 20
    assert {len(id_) for id_ in ids} == {36}


def test_a_power_cut_after_the_record_was_kept_ends_the_session_once() -> None:
    flash = MemoryFlash()
    made = sessions(flash)
    made.begin(AT, 100.0, reliable_clock=True)
    current = flash.get(CURRENT_KEY)
    assert current is not None
    finish(made, 107.25)
    flash.put(CURRENT_KEY, current)  # it was about to be deleted
    again = sessions(flash)
    assert (again.current, len(again.waiting()), flash.get(CURRENT_KEY)) == (None, 1, None)
    other = again.begin(AT + timedelta(hours=2), 107.25, reliable_clock=True)
    assert sessions(flash).current == other


def test_a_record_that_flash_has_no_room_for_is_lost_and_counted() -> None:
    flash = MemoryFlash()
    made = sessions(flash)
    made.begin(AT, 100.0, reliable_clock=True)
    flash.log.reserved = flash.log.room
    assert not finish(made, 107.25)
    assert (made.lost, made.current, made.waiting()) == (1, None, [])

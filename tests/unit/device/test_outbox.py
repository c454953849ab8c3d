"""The outbox: first in, first out, bounded, and still there after a power cut."""

from hypothesis import given
from hypothesis import strategies as st

from emulator.device.outbox import Outbox
from emulator.flash import MemoryFlash

messages = st.integers(0, 10**6).map(lambda number: b'{"N":%d,"Type":1}' % number)
ONE, TWO, THREE = (b'{"N":%d,"Type":1}' % number for number in (1, 2, 3))


def drain(outbox: Outbox) -> list[bytes]:
    result = []
    while (payload := outbox.oldest()) is not None:
        result.append(payload)
        outbox.pop()
    return result


@given(st.lists(messages, max_size=40), st.integers(1, 10))
def test_it_keeps_the_newest_in_order_and_counts_the_rest(payloads: list[bytes], limit: int) -> None:
    flash = MemoryFlash()
    outbox = Outbox(flash, limit)
    for payload in payloads:
        outbox.put(payload)
    assert outbox.dropped == max(0, len(payloads) - limit)
    assert len(outbox) == len(payloads[-limit:])
    assert drain(Outbox(flash, limit)) == payloads[-limit:]
    assert flash.keys() == []


def test_what_flash_lost_is_passed_over() -> None:
    flash = MemoryFlash()
    outbox = Outbox(flash, 10)
    for payload in (ONE, TWO, THREE):
        outbox.put(payload)
    flash.delete(flash.keys()[1])
    assert drain(Outbox(flash, 10)) == [ONE, THREE]


def test_an_empty_one_has_nothing_to_give() -> None:
    outbox = Outbox(MemoryFlash(), 10)
    outbox.pop()
    assert (outbox.oldest(), len(outbox)) == (None, 0)


def test_what_somebody_else_wrote_is_passed_over_told_and_left_alone() -> None:
    flash, skipped = MemoryFlash(), list[str]()
    foreign = {"outbox/x": b"", "outbox/7": ONE, "outbox/00000003": b"\xff", "outbox/00000004": b'{"Type":"?"}'}
    for key, value in foreign.items():
        flash.put(key, value)
    flash.put("outbox/00000002", TWO)
    outbox = Outbox(flash, 10, skipped.append)
    outbox.put(THREE)
    assert drain(outbox) == [TWO, THREE]
    assert sorted(skipped) == sorted(foreign)
    assert {key: flash.get(key) for key in flash.keys("")} == foreign


def test_a_stray_high_number_costs_nothing() -> None:
    flash = MemoryFlash()
    flash.put("outbox/999999999999", ONE)
    flash.put("outbox/00000001", TWO)
    outbox = Outbox(flash, 10)
    outbox.put(THREE)
    assert len(outbox) == 3 and drain(outbox) == [TWO, ONE, THREE]


def test_what_flash_has_no_room_for_is_dropped_and_counted() -> None:
    flash = MemoryFlash()
    outbox = Outbox(flash, 10)
    outbox.put(ONE)
    flash.log.reserved = flash.log.room
    outbox.put(TWO)
    assert (len(outbox), outbox.dropped) == (1, 1)
    flash.log.reserved = 0
    outbox.put(THREE)
    assert drain(outbox) == [ONE, THREE]

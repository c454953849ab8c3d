"""The outbox: first in, first out, bounded, and still there after a power cut."""

from hypothesis import given
from hypothesis import strategies as st

from emulator.device.outbox import Outbox
from emulator.flash import MemoryFlash


def drain(outbox: Outbox) -> list[bytes]:
    result = []
    while (payload := outbox.oldest()) is not None:
        result.append(payload)
        outbox.pop()
    return result


@given(st.lists(st.binary(max_size=5), max_size=40), st.integers(1, 10))
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
    for payload in (b"1", b"2", b"3"):
        outbox.put(payload)
    flash.delete(flash.keys()[1])
    assert drain(Outbox(flash, 10)) == [b"1", b"3"]


def test_an_empty_one_has_nothing_to_give() -> None:
    outbox = Outbox(MemoryFlash(), 10)
    outbox.pop()
    assert (outbox.oldest(), len(outbox)) == (None, 0)

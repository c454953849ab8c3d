"""The power may fail at any write: what was put before is there, what was being put is there whole or not at all."""

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.flash.device import MemoryDevice
from emulator.flash.faulty import Cut, CutDevice, until_cut
from emulator.flash.store import FlashStore
from tests.unit.flash.stories import BLOBS, SMALL, Append, Delete, Erase, Put, Step, check_cut, writes_of

KEYS = ("lease", "session/00000001", "trust.bundle", "ключ")

steps = st.lists(
    st.builds(Put, st.sampled_from(KEYS), st.integers(0, 500).map(lambda size: bytes(n * 7 % 256 for n in range(size))))
    | st.builds(Put, st.sampled_from(KEYS), st.binary(max_size=40))
    | st.builds(Delete, st.sampled_from(KEYS))
    | st.builds(Append, st.sampled_from(BLOBS), st.binary(min_size=1, max_size=700))
    | st.builds(Erase, st.sampled_from(BLOBS)),
    min_size=1,
    max_size=30,
)


LANDED = (0.0, 0.05, 0.3, 0.7, 1.0)
ORDERS = 3


def cut(at_write: int, rng: Random) -> Cut:
    """Any cut at that write."""
    order = Random(rng.getrandbits(32)) if rng.random() < 0.7 else None
    return Cut(at_write, rng.choice(LANDED), order)


@settings(max_examples=100, deadline=None)
@given(steps, st.integers(0, 2**32))
def test_a_cut_at_any_write_of_any_story(story: list[Step], seed: int) -> None:
    rng = Random(seed)
    for at_write in range(1, writes_of(story) + 1):
        check_cut(story, cut(at_write, rng), at_mount=lambda number: cut(number, rng))


@pytest.mark.parametrize("landed", LANDED)
def test_after_a_cut_a_blob_is_as_long_as_the_chip_says(landed: float) -> None:
    for at_write in itertools.count(1):
        chip = MemoryDevice(SMALL.sectors, sector_bytes=SMALL.sector_bytes)
        flash = FlashStore(chip, SMALL)
        flash.blob_write("firmware.a", 0, b"a" * 600)
        assert flash.blob_size("firmware.a") == 600
        flash.device = dying = CutDevice(chip, Cut(at_write, landed))
        flash.mount()
        with until_cut():
            flash.blob_write("firmware.a", 600, b"b" * 700)
        flash.device = chip
        flash.mount()
        size = flash.blob_size("firmware.a")
        assert size == FlashStore(chip, SMALL).blob_size("firmware.a")
        assert flash.blob_read("firmware.a", 0, 2000) == (b"a" * 600 + b"b" * 700)[:size]
        if not dying.dead:
            assert size == 1300
            assert at_write > 4
            return
        assert size in (600, 1300)


def long_story() -> list[Step]:
    """Goes round the log: settings that stay, a counter that changes, messages, a bundle of several parts, an image."""
    story: list[Step] = [Put("trust.bundle", bytes(range(250))), Append("firmware.b", b"head" * 100)]
    for number in range(16):
        story += [Put(f"setting/{number % 7}", bytes((number,)) * 20), Put("session.count", str(number).encode())]
        story += [Put(f"outbox/{number}", b"message" * 9), Delete(f"outbox/{number - 3}")]
    story += [Append("firmware.b", b"tail" * 100), Erase("firmware.b"), Append("firmware.b", b"again" * 120)]
    return [*story, Put("trust.bundle", bytes(range(200))), Delete("setting/3"), Put("firmware.slots", b"b")]


@pytest.mark.parametrize("landed", LANDED)
def test_a_cut_at_every_write_of_a_long_story(landed: float) -> None:
    story = long_story()
    writes = writes_of(story)
    assert writes > 100, "the log is not gone round"
    for at_write in range(1, writes + 1):
        check_cut(story, Cut(at_write, landed))
        for seed in range(ORDERS):
            check_cut(story, Cut(at_write, landed, Random(seed)))

"""Broken bytes by the thousand, in virtual time; ``python -m tests.hub.fuzz`` goes on for longer."""

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.net.api import Address
from tests.hub.fuzz import Fuzz, Tally, fuzz
from tests.hub.oracle import complaints, expected
from tests.hub.place import ACCEPTED, PONG, Place, play

CASES = 1500
SERIAL = "ZPR000001"


@pytest.mark.parametrize("seed", [1, 2])
def test_no_mutated_packet_breaks_the_hub_and_nothing_grows(seed: int) -> None:
    tally = fuzz(seed, lambda tally: tally.cases < CASES)
    assert tally.cases == CASES and tally.ended > CASES / 4
    assert all(tally.worst[name] for name in ("owed PUBACKs", "calls", "deliveries", "bytes undecoded", "history"))


def test_equal_seeds_give_equal_cases() -> None:
    def work() -> Tally:
        return fuzz(3, lambda tally: tally.cases < 60)

    assert work() == work()


@settings(max_examples=60)
@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6), st.booleans())
def test_no_bytes_at_all_break_the_hub(pieces: list[bytes], logged_in: bool) -> None:
    async def story(place: Place) -> None:
        work = Fuzz(place, 0)
        await work.try_bytes(pieces, logged_in=logged_in)
        await work.look()

    play(story)


def test_no_bytes_below_tls_break_it_either() -> None:
    async def story(place: Place) -> None:
        rng, bystander = Random(1), await place.caller(place.badge(SERIAL))
        hello = bytes.fromhex("160301") + (200).to_bytes(2) + b"\x01\x00\x00\xc4\x03\x03" + rng.randbytes(194)
        for number in range(150):
            at = rng.randrange(len(hello))
            data = rng.choice((hello[:at], hello[:at] + rng.randbytes(20), rng.randbytes(rng.randrange(600))))
            host = place.visitor(f"stranger {number}", f"10.78.0.{number + 1}")
            stream = await host.connect(Address(place.hub_address, 8883), timeout_s=5)
            stream.write(data)
            if number % 3:
                stream.close()
        await asyncio.sleep(61)
        assert await bystander.answers() and place.endpoint.connections == 1

    play(story)


def test_a_judge_that_finds_nothing_wrong_would_be_worth_nothing() -> None:
    async def story(place: Place) -> None:
        badge = place.badge(SERIAL)
        may = expected(badge.message(), badge, logged_in=True)
        puback = b"\x40\x02\x00\x09"
        assert complaints(puback, False, may, logged_in=True) == []
        for heard, ended in ((b"", False), (puback * 2, False), (PONG, False), (b"\x40\x02", False), (puback, True)):
            assert complaints(heard, ended, may, logged_in=True), heard
        nothing = expected(b"\x00\x00", badge, logged_in=False)
        assert complaints(b"", True, nothing, logged_in=False) == []
        assert complaints(b"", False, nothing, logged_in=False)
        assert complaints(ACCEPTED, True, nothing, logged_in=False)

    play(story)

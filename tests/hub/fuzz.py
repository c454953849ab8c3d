"""``python -m tests.hub.fuzz --seconds N --seed S``: the hub under bytes that nobody in his right mind would send.

Each case is one connection that says something broken, before or after the login. The endpoint must not fail in any
way, must answer nothing but what `tests.hub.oracle` allows, must serve a bystander all the while, and must keep every
queue within its limit. Exit status 1 and the case's number, seed and bytes when it does not.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from emulator.clock import SimLoop
from emulator.memory import resident_kib
from emulator.wire.mqtt import SubAck, encode
from tests.hub.badge import subscribe
from tests.hub.limits import beyond_limits
from tests.hub.line import Line
from tests.hub.mutate import FILTERS, Mutator, corpus
from tests.hub.oracle import complaints, expected
from tests.hub.place import ACCEPTED, PING, PONG, Place

SERIAL, BYSTANDER = "ZPR000001", "ZPR000002"
SETTLE_S = 0.01
"""Virtual time in which everything that was asked for is answered: nothing here waits for longer."""
LOOK_EVERY = 50
GROWN_KIB_MAX = 65_536.0
"""The whole cloud and its histories included, however long it goes on."""
GRANTED = encode(SubAck(7, (1,) * len(FILTERS)))


class Finding(AssertionError):
    """The hub did what it must not."""


@dataclass(slots=True)
class Tally:
    """What was tried."""

    cases: int = 0
    octets: int = 0
    ended: int = 0
    worst: dict[str, int] = field(default_factory=dict)
    """The fullest that each queue was seen."""


class Fuzz:
    """One hub and an endless stream of cases; equal seeds give equal cases."""

    def __init__(self, place: Place, seed: int) -> None:
        self.tally = Tally()
        self._place = place
        self._seed = seed
        self._badge = place.badge(SERIAL)
        self._corpus = corpus(self._badge)
        self._failures: list[str] = []
        self._bystander = Line(place.endpoint)
        self._bystander.say(place.badge(BYSTANDER).connect(keep_alive_s=0))
        asyncio.get_running_loop().set_exception_handler(self._failed)

    async def case(self, number: int) -> None:
        """One connection. Finding."""
        rng = Random(f"{self._seed}/{number}")
        mutator = Mutator(self._corpus, rng)
        logged_in, busy, data = rng.random() < 0.7, rng.random() < 0.3, mutator.draw()
        try:
            await self.try_bytes(mutator.chunks(data), logged_in=logged_in, busy=logged_in and busy)
        except Finding as finding:
            raise Finding(f"seed {self._seed}, case {number}: {finding}; it said {data.hex()}") from None
        if number % LOOK_EVERY == 0:
            await self.look()

    async def try_bytes(self, pieces: Sequence[bytes], *, logged_in: bool, busy: bool = False) -> None:
        """One connection that says these pieces. `busy`: the cloud has calls and messages for it. Finding."""
        line = Line(self._place.endpoint)
        if logged_in:
            await self._say(line, self._badge.connect(), ACCEPTED)
        if busy:
            await self._say(line, subscribe(*(each.format(id=SERIAL) for each in FILTERS)), GRANTED)
            self._place.want_something_of(SERIAL)
            await asyncio.sleep(SETTLE_S)
            line.heard = b""
        for piece in pieces:
            line.say(piece)
        beyond_limits(self._place.endpoint, self.tally.worst)
        await asyncio.sleep(SETTLE_S)
        self._judge(line, b"".join(pieces), logged_in=logged_in)
        self.tally.cases += 1
        self.tally.octets += sum(map(len, pieces))
        self.tally.ended += line.ended
        line.hang_up()
        self._place.cloud.memory.queues.purge(SERIAL)

    async def finish(self) -> None:
        """Nothing of all that is left. Finding."""
        await self.look()
        await asyncio.sleep(1)
        if self._place.endpoint.connections != 1:
            raise Finding(f"{self._place.endpoint.connections} connections are left, and there is one bystander")

    async def _say(self, line: Line, data: bytes, answer: bytes) -> None:
        """Something good."""
        line.say(data)
        await asyncio.sleep(SETTLE_S)
        if line.heard != answer:
            raise Finding(f"{data.hex()} is answered {line.heard.hex()}")
        line.heard = b""

    def _judge(self, line: Line, data: bytes, *, logged_in: bool) -> None:
        may = expected(data, self._badge, logged_in=logged_in)
        wrong = complaints(line.heard, line.ended, may, logged_in=logged_in)
        if wrong or self._failures:
            raise Finding("; ".join((*wrong, *self._failures)))

    async def look(self) -> None:
        """How the others are served, and how full everything is. Finding."""
        self._bystander.heard = b""
        self._bystander.say(PING)
        await asyncio.sleep(SETTLE_S)
        if self._bystander.heard != PONG or self._failures:
            raise Finding("; ".join(("the bystander is not served", *self._failures)))
        if wrong := beyond_limits(self._place.endpoint, self.tally.worst):
            raise Finding(wrong)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._failures.append(f"{context.get('message')}: {context.get('exception')!r}")


def fuzz(seed: int, goes_on: Callable[[Tally], bool], first: int = 0) -> Tally:
    """Cases from number `first` until `goes_on` says no. Finding."""

    async def run() -> Tally:
        async with Place() as place:
            work = Fuzz(place, seed)
            number = first
            while goes_on(work.tally):
                await work.case(number)
                number += 1
            await work.finish()
            return work.tally

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        return runner.run(run())


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.hub.fuzz", description="Says broken things to the hub.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="only this case")
    options = parser.parse_args()
    began, before_kib = time.perf_counter(), resident_kib()

    def goes_on(tally: Tally) -> bool:
        return tally.cases < 1 if options.case is not None else time.perf_counter() - began < options.seconds

    try:
        tally = fuzz(options.seed, goes_on, options.case or 0)
    except Finding as finding:
        print(f"fuzz: {finding}", file=sys.stderr)
        return 1
    grown = resident_kib() - before_kib
    if grown > GROWN_KIB_MAX:
        print(f"fuzz: {grown:.0f} KiB more than before", file=sys.stderr)
        return 1
    print(f"{tally.cases} cases, {tally.octets} bytes, {tally.ended} hung up on; {grown} KiB more than before")
    print(", ".join(f"{name} {size}" for name, size in sorted(tally.worst.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

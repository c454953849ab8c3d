"""What a host on real sockets does beyond the contract of every host."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest
import uvloop

from emulator.net.api import Interface
from emulator.net.loopback import LoopbackHost, claim_plan
from emulator.net.reader import Reader
from tests.contract.hosts import SOON_S

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
TURNS = range(8)
"""In so many turns of the loop a connection is made; it is given up after each."""


@pytest.mark.parametrize("loop_factory", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("turns_before_the_link_is_down", [0, 1, 2])
def test_a_connection_that_is_given_up_while_it_is_made_leaves_nothing_behind(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], turns_before_the_link_is_down: int
) -> None:
    async def story() -> None:
        plan, claim = claim_plan(Random())
        hub = LoopbackHost(plan, "hub", address=f"{plan.prefix}.2.1")
        charger = LoopbackHost(plan, "charger")
        readers = list[Reader]()
        listener = await hub.listen(8883, lambda stream: readers.append(Reader(stream)))
        for turns in TURNS:
            await charger.link_up()
            charger.set_interface(Interface(f"{plan.prefix}.16.7", 16))
            connecting = asyncio.ensure_future(charger.connect(listener.local, timeout_s=SOON_S))
            await _turn(turns)
            connecting.cancel()
            await _turn(turns_before_the_link_is_down)
            charger.link_down()
            await asyncio.wait([connecting])
            assert charger.streams == set()
            assert connecting.cancelled() or connecting.exception() is None
        listener.close()
        claim.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(story())


async def _turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)

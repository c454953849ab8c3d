"""A host whose link loses its carrier, in virtual time."""

import asyncio

from emulator.errors import NetReason
from emulator.local import Local
from emulator.net.api import WIRED, Interface
from emulator.net.bearer import Attached, Cable, NotAttached
from emulator.net.link_faults import Down, Flapping
from emulator.net.params import LinkParams
from emulator.net.reader import Reader
from tests.unit.net.shaped_site import HUB, Site
from tests.unit.net.virtual_time import now, reason_of, run, serve


def test_a_lost_carrier_resets_both_ends_and_there_is_no_link_until_it_is_back() -> None:
    async def story() -> None:
        site = Site()
        ours, theirs = await site.connected()
        undo = site.strike(Down())
        assert await reason_of(ours.read(1, 5)) is NetReason.RESET
        assert await reason_of(theirs.read(1, 5)) is NetReason.RESET
        assert site.charger.interface is None
        assert await reason_of(site.charger.link_up()) is NetReason.NO_CARRIER
        assert await reason_of(site.charger.udp(68, broadcast=True)) is NetReason.NO_CARRIER
        assert await reason_of(site.charger.connect(HUB, timeout_s=5)) is NetReason.NO_ADDRESS
        undo()
        await site.charger.link_up()
        assert await reason_of(site.charger.connect(HUB, timeout_s=5)) is NetReason.NO_ADDRESS

    run(story())


def test_a_carrier_lost_before_the_receiver_is_attached_is_still_reported() -> None:
    async def story() -> None:
        site = Site()
        await site.hub.listen(HUB.port, serve)
        stream = await site.charger.connect(HUB, timeout_s=5)
        site.strike(Down())
        assert await reason_of(Reader(stream).read(1, 5)) is NetReason.RESET

    run(story())


def test_a_carrier_lost_in_the_middle_of_connecting_leaves_nothing_behind() -> None:
    async def story() -> None:
        site = Site(LinkParams(delay_s=1.0))
        await site.hub.listen(HUB.port, serve)
        asyncio.get_running_loop().call_later(1.5, site.strike, Down())
        assert await reason_of(site.charger.connect(HUB, timeout_s=5)) is NetReason.NO_CARRIER
        await asyncio.sleep(10)
        assert not site.hub.streams

    run(story())


def test_a_flapping_link_loses_its_carrier_on_time_although_nobody_sends_anything() -> None:
    async def story() -> None:
        site = Site()
        await site.hub.listen(HUB.port, serve)
        site.strike(Flapping(up_s=60.0, down_s=5.0))
        assert site.charger.carrier is None
        await asyncio.sleep(5)
        for round_ in range(1, 4):
            await site.charger.link_up()
            site.charger.set_interface(Interface("10.0.16.1"))
            connection = Reader(await site.charger.connect(HUB, timeout_s=5))
            assert await reason_of(connection.read(1, 100)) is NetReason.RESET
            assert (now(), site.charger.interface) == (65.0 * round_, None)
            await asyncio.sleep(5)

    run(story())


def test_a_carrier_that_is_lost_while_it_comes_up_is_no_carrier() -> None:
    class Slowly(Cable):
        def attach(self, local: Local, now: float) -> Attached | NotAttached:
            return Attached(3.0, WIRED)

    async def story() -> None:
        site = Site(bearer=Slowly())
        site.charger.link_down()
        asyncio.get_running_loop().call_later(1, site.strike, Down(for_s=1))
        assert await reason_of(site.charger.link_up()) is NetReason.NO_CARRIER
        await site.charger.link_up()
        assert now() == 6.0 and site.charger.carrier is not None

    run(story())

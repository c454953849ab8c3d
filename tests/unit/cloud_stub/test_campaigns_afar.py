"""Campaigns whose hub is another process, and that process, the bus or the state is away: they wait, and say why."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloud_stub.bus.api import Delivery, Kind, LocalBus, filter_of, parse_topic, topic_of
from cloud_stub.campaigns_afar import CampaignsAfar, methods_afar
from cloud_stub.firmware.calls import CALL_TIMEOUT_S, CallsSeen
from cloud_stub.firmware.campaign import Plan, State
from cloud_stub.firmware.campaign_table import CampaignTable
from cloud_stub.firmware.campaigns import Campaigns
from cloud_stub.firmware.offer import Offer
from cloud_stub.firmware.targets import serials_for
from cloud_stub.hearing import Hearing
from cloud_stub.hub.memory import hub_memory
from cloud_stub.state import database
from cloud_stub.state.registry import derived_keys
from cloud_stub.store import Store
from emulator.clock import SimLoop
from emulator.wire.messages import Observation, observation

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SERIAL, NEW = "ZPR000001", "5.4.0.0"
PLAN = Plan(Offer(NEW), command=201, calls_per_s=10.0)


@dataclass
class Site:
    """One charger that the hub has written down as connected; campaigns; and a bus between them."""

    path: Path
    bus: LocalBus = field(default_factory=LocalBus)
    called: list[str] = field(default_factory=list)

    def tell(self, story: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            loop, self.state = asyncio.get_running_loop(), database.State(self.path)
            self.utc = lambda: NOON + timedelta(seconds=loop.time())
            memory = hub_memory(self.state, derived_keys(b"s" * 32), self.utc)
            memory.registry.produce(SERIAL)
            memory.sessions.begin(SERIAL, clean=True)
            self.methods = methods_afar(self.bus, memory.sessions, caller="afar")
            hearing = Hearing(self.bus, Store())
            self.campaigns = Campaigns(
                CampaignTable(self.state),
                self.methods,
                self.utc,
                find=lambda targets: serials_for(targets, memory.registry, memory.twins),
                runs=lambda serial: "",
                check=lambda offer: None,
            )
            hearing.listeners.append(self.campaigns.heard)
            place = CampaignsAfar(self.bus, self.methods, hearing, self.campaigns)
            await place.start()
            await self.campaigns.begin(PLAN, "c")
            await story()
            await place.stop()
            self.state.close()

        with asyncio.Runner(loop_factory=SimLoop) as runner:
            runner.run(main())

    async def hub_comes(self) -> None:
        """It passes calls on to the charger, which says yes."""

        def call(delivery: Delivery) -> None:
            route = parse_topic(delivery.topic)
            assert route is not None
            self.called.append(route.rest[0])
            self.bus.publish(topic_of(SERIAL, Kind.METHOD_RESPONSE, "200", route.rest[1]), b"")

        await self.bus.subscribe(filter_of(Kind.METHOD), call)

    def calls(self) -> CallsSeen:
        seen = self.campaigns.calls("c")
        assert seen is not None
        return seen


def test_without_a_hub_nobody_is_called_and_nobody_has_failed(tmp_path: Path) -> None:
    site = Site(tmp_path / "hub.sqlite")

    async def story() -> None:
        await asyncio.sleep(CALL_TIMEOUT_S + 1)
        assert (site.calls().waiting, site.calls().under_way) == (1, 0)
        assert "Timed out" in site.calls().trouble and SERIAL in site.calls().trouble
        assert site.campaigns.get("c").course.state is State.RUNNING
        await site.hub_comes()
        await asyncio.sleep(CALL_TIMEOUT_S)
        assert (site.called, site.calls()) == (["201"], CallsSeen(0, 0, ""))
        await site.bus.publish(topic_of(SERIAL, Kind.D2C), observation(Observation(911, NEW, site.utc())))
        await asyncio.sleep(1)
        assert site.campaigns.get("c").course.state is State.COMPLETED

    site.tell(story)


def test_nor_without_a_bus(tmp_path: Path) -> None:
    site = Site(tmp_path / "hub.sqlite")

    async def story() -> None:
        await site.hub_comes()
        await site.bus.stop()
        await asyncio.sleep(CALL_TIMEOUT_S)
        assert (site.called, site.calls()) == ([], CallsSeen(1, 0, "bus is stopped"))
        await site.bus.start()
        await asyncio.sleep(CALL_TIMEOUT_S)
        assert (site.called, site.calls()) == (["201"], CallsSeen(0, 0, ""))

    site.tell(story)


def test_while_the_state_cannot_be_read_nobody_is_known_to_be_connected(tmp_path: Path) -> None:
    site = Site(tmp_path / "hub.sqlite")

    async def story() -> None:
        assert site.methods.online(SERIAL) and not site.methods.online("stranger")
        with site.state.change() as changing:
            changing.execute("ALTER TABLE sessions RENAME TO lost")
        assert not site.methods.online(SERIAL)

    site.tell(story)

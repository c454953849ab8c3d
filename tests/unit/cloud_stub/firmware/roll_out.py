"""Chargers that do what they are told, and a cloud's campaigns about them, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cloud_stub.firmware.campaign import Targets
from cloud_stub.firmware.campaign_table import CampaignTable
from cloud_stub.firmware.campaigns import Campaigns
from cloud_stub.firmware.member import Member, Standing
from cloud_stub.firmware.offer import Offer
from cloud_stub.firmware.targets import serials_for
from cloud_stub.hub.memory import hub_memory
from cloud_stub.hub.methods import Invoke, MethodError, MethodResult
from cloud_stub.state.database import State
from cloud_stub.state.errors import ErrorCode
from cloud_stub.state.registry import derived_keys
from emulator.clock import SimLoop
from emulator.errors import UsageError
from emulator.wire.messages import DeviceEvent, EventType, Observation

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
OLD, NEW = "5.3.0.3", "5.4.0.0"
UPDATE_S = 300.0
REPORT = "503"


@dataclass
class Charger:
    """What a charger does with a command to update."""

    answer: int | ErrorCode = 200
    refuses: str = ""
    falls_back: bool = False
    silent: bool = False
    online: bool = True


@dataclass
class RollOut:
    """`chargers` chargers, campaigns about them, and the story's clock. With `path`, the state is a file."""

    chargers: int
    path: Path | None = None
    site: dict[str, Charger] = field(default_factory=dict)
    calls: list[tuple[float, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now_s = 0.0
        self.known: dict[str, str] = {}
        self.reports: Callable[[str], str] = lambda serial: OLD
        """What a charger says it runs when it is asked."""
        self._updates: set[asyncio.Task[None]] = set()

    @property
    def serials(self) -> list[str]:
        return [f"ZPR{number:06}" for number in range(1, self.chargers + 1)]

    @property
    def invoke(self) -> Invoke:
        return self._invoke

    def online(self, device_id: str) -> bool:
        return self.site[device_id].online

    def run(self, *stories: Callable[[], Awaitable[None]]) -> None:
        """Tell the stories one after the other, each to a cloud of its own over the same state."""
        self.site = {serial: self.site.get(serial, Charger()) for serial in self.serials}
        kept = None if self.path else State()
        for story in stories:
            with asyncio.Runner(loop_factory=SimLoop) as runner:
                runner.run(self._main(story, kept or State(self.path)))

    async def _main(self, story: Callable[[], Awaitable[None]], state: State) -> None:
        loop, begin_s = asyncio.get_running_loop(), self.now_s
        self.utc = lambda: NOON + timedelta(seconds=begin_s + loop.time())
        self.memory = hub_memory(state, derived_keys(b"s" * 32), self.utc, settings={"Settings": {"800": "home"}})
        self.memory.registry.produce_all(self.serials)
        self.campaigns = Campaigns(
            CampaignTable(state), self, self.utc, find=self._find, runs=lambda serial: self.known.get(serial, ""),
            check=self._check,
        )  # fmt: skip
        self.campaigns.start()
        await story()
        await self.campaigns.stop()
        for update in self._updates:
            update.cancel()
        self.now_s += loop.time()
        state.close()

    async def _find(self, targets: Targets) -> list[str]:
        return await serials_for(targets, self.memory.registry, self.memory.twins)

    def _check(self, offer: Offer) -> None:
        if offer.version == "nonsense":
            raise UsageError("firmware nonsense: not a version")

    async def _invoke(self, device_id: str, name: str, payload: Any, timeout_s: float) -> MethodResult:
        self.calls.append((asyncio.get_running_loop().time(), device_id, name))
        await asyncio.sleep(0.2)
        charger = self.site[device_id]
        if name == REPORT:
            self.observe(device_id, 911, self.reports(device_id))
            return MethodResult(200, None)
        if isinstance(charger.answer, ErrorCode):
            raise MethodError(charger.answer, device_id)
        if charger.answer == 200:
            task = asyncio.get_running_loop().create_task(self.update(device_id))
            self._updates.add(task)
            task.add_done_callback(self._updates.discard)
        return MethodResult(charger.answer, None)

    async def update(self, serial: str) -> None:
        """An update as the cloud hears of it."""
        charger, offer = self.site[serial], self.campaigns.offered(serial)
        self.campaigns.asked(serial)
        if offer is None or charger.silent:
            return
        await asyncio.sleep(UPDATE_S)
        word = "Rejected" if charger.refuses else "Accepted"
        self.observe(serial, 830, f'{{"Name":"OTA","Description":"{word}"}}')
        if charger.refuses:
            line = f"[ota_metrics] @2026-06-01T12:00:00Z {charger.refuses}: so it is"
            self.campaigns.heard(serial, DeviceEvent(EventType.WARNING, line))
            return
        await asyncio.sleep(30)
        self.observe(serial, 911, offer.version)
        if charger.falls_back:
            await asyncio.sleep(60)
            self.observe(serial, 911, OLD)

    def observe(self, serial: str, number: int, value: str) -> None:
        self.campaigns.heard(serial, Observation(number, value, self.utc()))

    def members(self, campaign_id: str = "c", standing: Standing | None = None) -> list[Member]:
        return self.campaigns.page(campaign_id, after="", standing=standing, limit=1_000)

    def count(self, standing: Standing, campaign_id: str = "c") -> int:
        return sum(count for (_, at), count in self.campaigns.counts(campaign_id).items() if at is standing)

    def state(self, campaign_id: str = "c") -> str:
        return self.campaigns.get(campaign_id).course.state.value

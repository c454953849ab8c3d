"""A charger on a bench: virtual time, flash in memory, and a hub that is a list of what it was told."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any, cast

import httpx

from certs.issue import root_authority
from emulator.boot.sequence import BootReport
from emulator.boot.state import Boot
from emulator.clock import Rtc, SimLoop
from emulator.device.charger import Charger
from emulator.device.update import Installed, Rejected
from emulator.env import Env, Spec
from emulator.errors import NetError, NetReason
from emulator.flash import FlashStore, MemoryFlash
from emulator.net.hub import HubConnection
from emulator.net.sim import SimNet
from emulator.profile import load_profile
from emulator.slots import Image, Slots
from emulator.trace import Recorder, Trace
from emulator.wire.dhcp import Lease
from emulator.wire.firmware_keys import FirmwareKeys
from emulator.wire.messages import Collection, Observation, parse

SERIAL = "ZPR000001"
INSTALLATION = "11111111-2222-3333-4444-555555555555"
TRUE_TIME = datetime(2025, 6, 1, tzinfo=UTC)
BOOT_S = 5.0


@dataclass
class Sent:
    """One message that reached the hub."""

    t: float
    topic: str
    payload: bytes

    @property
    def observations(self) -> list[Observation]:
        if not self.topic.startswith("devices/"):
            return []
        message = parse(self.payload)
        if isinstance(message, Collection):
            return list(message.observations)
        return [message] if isinstance(message, Observation) else []


class FakeHub:
    """Implements `HubConnection` without a network: takes everything, acknowledges unless told not to."""

    def __init__(self, sent: list[Sent]) -> None:
        self._loop = asyncio.get_running_loop()
        self.sent = sent
        self.closed: asyncio.Future[NetError | None] = self._loop.create_future()
        self.on_message: Callable[[str, bytes], None] = lambda topic, payload: None
        self.subscribed: list[tuple[str, int]] = []
        self.acknowledges = True
        self.closed_in_order = False

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> "asyncio.Future[tuple[int, ...]]":
        assert qos == 1
        if not self.closed.done():
            self.sent.append(Sent(self._loop.time(), topic, payload))
        return self._answer(())

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> "asyncio.Future[tuple[int, ...]]":
        self.subscribed += filters
        return self._answer(tuple(1 for _ in filters))

    def lose(self, reason: NetReason = NetReason.RESET) -> None:
        self.closed.set_result(NetError(reason))

    def abort(self, why: NetError | None = None) -> None:
        if not self.closed.done():
            self.closed.set_result(why)

    async def close(self) -> None:
        self.closed_in_order = True
        self.abort()

    def _answer(self, codes: tuple[int, ...]) -> "asyncio.Future[tuple[int, ...]]":
        future: asyncio.Future[tuple[int, ...]] = self._loop.create_future()
        if self.closed.done():
            future.set_exception(NetError(NetReason.CLOSED))
            future.exception()
        elif self.acknowledges:
            future.set_result(codes)
        return future


@dataclass
class Bench:
    """The charger and everything around it. `hubs` are its sessions, `sent` what all of them got."""

    rtc: Rtc
    flash: FlashStore
    trace: Recorder
    charger: Charger = field(init=False)
    sent: list[Sent] = field(default_factory=list)
    hubs: list[FakeHub] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    update_result: Installed | Rejected = field(default_factory=lambda: Installed("5.4.0.0"))
    reachable: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is set, connections succeed; at first it is."""

    def __post_init__(self) -> None:
        self.reachable.set()

    async def run(self, boot: Boot, report: BootReport, *, start: str) -> None:
        """Stands where the boot stages are."""
        self.starts.append(start)
        await asyncio.sleep(BOOT_S)
        await self.reachable.wait()
        boot.env.rtc.set(TRUE_TIME + timedelta(seconds=asyncio.get_running_loop().time()), source="test")
        self.keys.append(boot.login.key)
        boot.take_lease(Lease("192.0.2.7", 24, "192.0.2.1", None, (), 3600, 1800, 3150))
        hub = FakeHub(self.sent)
        boot.hub = cast(HubConnection, hub)
        self.hubs.append(hub)
        if boot.slots.pending:
            boot.slots.confirm()

    async def update(
        self,
        spec: Spec,
        env: Env,
        http: httpx.AsyncClient,
        slots: Slots,
        keys: FirmwareKeys,
        charging: Callable[[], bool],
    ) -> Installed | Rejected:
        """Stands where the download is."""
        await asyncio.sleep(30)
        if isinstance(self.update_result, Installed):
            slots.install(Image(self.update_result.version, 2))
        return self.update_result

    def command(self, name: str, payload: Any = None) -> int:
        """Call a direct method; the status of the reply."""
        self.hubs[-1].on_message(f"$iothub/methods/POST/{name}/?$rid=7", json.dumps(payload).encode())
        reply = self.sent[-1]
        assert reply.topic.startswith("$iothub/methods/res/") and reply.topic.endswith("/?$rid=7")
        assert reply.payload == b""
        return int(reply.topic.split("/")[3])

    def desired(self, settings: dict[str, Any]) -> None:
        """Push desired properties."""
        body = json.dumps({"Settings": settings, "$version": 2}).encode()
        self.hubs[-1].on_message("$iothub/twin/PATCH/properties/desired/?$version=2", body)

    def told(self, id_: int, since_s: float = 0.0) -> list[str]:
        """Every value of an observation that reached the hub, in order."""
        return [o.value for s in self.sent if s.t >= since_s for o in s.observations if o.id == id_]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The data of traced events."""
        return [event.data for event in self.trace.where(name)]


Story = Callable[[Bench], Awaitable[None]]


@cache
def _roots_pem() -> str:
    return root_authority("root of the bench").pem.decode()


def _bench(changes: dict[str, Any], flash: FlashStore) -> Bench:
    loop, recorder = asyncio.get_running_loop(), Recorder()
    profile = load_profile().with_changes({"hub.installation_id": INSTALLATION, **changes})
    spec = Spec(
        SERIAL,
        b"k" * 32,
        profile,
        roots_pem=_roots_pem(),
        firmware_key_pem="",
        vendor_root_pem=_roots_pem(),
        bundle_key_pem="",
    )
    rtc = Rtc(loop.time, built_at=profile.firmware.built_at)
    trace = Trace(SERIAL, [recorder], loop.time, lambda: rtc.now() if rtc.trusted else None)
    env = Env(SimNet(Random(1)).host(SERIAL), rtc, flash, trace, "1")
    bench = Bench(rtc, flash, recorder)
    bench.charger = Charger(spec, env, sequence=bench, update=bench.update)
    return bench


async def _tell(story: Story, changes: dict[str, Any], flash: FlashStore) -> Bench:
    bench = _bench(changes, flash)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(bench.charger.run())
        try:
            await story(bench)
        finally:
            running.cancel()
    return bench


def play(story: Story, changes: dict[str, Any] | None = None, flash: FlashStore | None = None) -> Bench:
    """Run a story from power-on, in virtual time; returns the bench for a last look."""
    with asyncio.Runner(loop_factory=SimLoop) as runner:
        return runner.run(_tell(story, changes or {}, flash or MemoryFlash()))

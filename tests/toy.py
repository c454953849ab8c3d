"""A world without a network and a charger that plays a part, for tests of the scenario player itself."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from emulator.clock import Rtc, SimLoop
from emulator.device.car import Car
from emulator.env import Env, Spec
from emulator.errors import UsageError
from emulator.faults import Undo
from emulator.flash import MemoryFlash
from emulator.net.meter import Usage
from emulator.net.sim import SimNet
from emulator.profile import load_profile
from emulator.trace import Trace
from emulator.world import LoopFactory, WorldOptions

BUILT_AT = datetime(2025, 3, 1, tzinfo=UTC)


class ToyWorld:
    """Implements `World`: notes what is asked of it; histories and command replies are given."""

    name = "toy"

    def __init__(
        self,
        options: WorldOptions,
        *,
        histories: Mapping[str, list[dict[str, Any]]] | None = None,
        reply: tuple[int, Any] = (200, None),
        loop_factory: LoopFactory = SimLoop,
    ) -> None:
        self.loop_factory: LoopFactory | None = loop_factory
        self.done: list[tuple[str, Any]] = []
        self.faults: list[dict[str, Any]] = []
        self.closed = 0
        self.produced: tuple[dict[str, Any], dict[str, Any]] | None = None
        """The local settings and the place of the charger."""
        self.histories = dict(histories or {})
        self._options = options
        self._reply = reply

    async def start(self) -> None:
        await asyncio.sleep(0.5)  # chargers are timed from when the world is ready

    async def close(self) -> None:
        self.closed += 1

    def produce(
        self,
        serial: str,
        changes: Mapping[str, Any] | None = None,
        *,
        local: Mapping[str, Any] | None = None,
        place: Mapping[str, Any] | None = None,
    ) -> tuple[Spec, Env]:
        self.produced = (dict(local or {}), dict(place or {}))
        now = asyncio.get_running_loop().time
        profile = load_profile().with_changes(dict(changes or {}))
        trace = Trace(serial, self._options.sinks, now)
        host = SimNet(Random(1)).host(serial)
        env = Env(host, Rtc(now, built_at=BUILT_AT), MemoryFlash(), trace, "1")
        return Spec(serial, b"k" * 32, profile, "", "", vendor_root_pem="", bundle_key_pem=""), env

    def inject(self, fault: Mapping[str, Any], *, where: str) -> Undo:
        if not str(fault.get("kind")).startswith(("dns.", "ntp.")):
            raise UsageError(f"{where}: kind: {fault.get('kind')!r} is not a fault")
        active = dict(fault)
        self.faults.append(active)
        self.done.append(("inject", active))
        return lambda: self.faults.remove(active)

    def history(self, service: str) -> list[dict[str, Any]]:
        return self.histories.get(service, [])

    async def command(self, serial: str, command: int, payload: Any = None) -> tuple[int, Any]:
        await asyncio.sleep(0.1)
        self.done.append(("command", (serial, command, payload)))
        return self._reply

    def offer_firmware(self, version: str, *, signer: str = "firmware", size_bytes: int | None = None) -> None:
        if signer == "nobody":
            raise UsageError("signer nobody: not known")
        self.done.append(("offer_firmware", (version, signer, size_bytes)))

    def publish_bundle(self, roots: str, *, firmware_keys: Sequence[str] = (), revoked: Sequence[str] = ()) -> int:
        self.done.append(("publish_bundle", (roots, tuple(firmware_keys), tuple(revoked))))
        return 9


@dataclass(frozen=True)
class Look:
    """What a look at the toy charger shows."""

    power_w: float = 11040.0
    messages_up: int = 7
    messages_down: int = 2
    data: Usage = field(default_factory=lambda: Usage({"telemetry": 900}, {"telemetry": 300}))


Part = Sequence[tuple[float, str, dict[str, Any]]]
"""(seconds since power-on, event, data) of each line of a charger's part."""


@dataclass
class ToyCharger:
    """Emits the events of its part, then goes on for ever; notes what is done to it."""

    spec: Spec
    env: Env
    part: Part = ()
    ending: Callable[[], None] | None = None
    """Called at the end of the part, to raise; a part with an ending returns afterwards."""
    done: list[tuple[str, Any]] = field(default_factory=list)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for at_s, name, data in self.part:
            await asyncio.sleep(began_s + at_s - loop.time())
            self.env.trace.emit(name, **data)
        if self.ending is None:
            await loop.create_future()
        else:
            self.ending()

    def plug_in(self, car: Car) -> None:
        self.done.append(("plug_in", car))
        self.env.trace.emit("device.charging", state="requesting", before="disconnected")

    def unplug(self) -> None:
        self.done.append(("unplug", None))

    def inject(self, fault: Mapping[str, Any], *, where: str) -> Undo:
        self.done.append(("inject", dict(fault)))
        return lambda: self.done.append(("undo", dict(fault)))

    def configure_local(self, changes: Mapping[str, Any], *, where: str) -> object:
        self.done.append(("local", dict(changes)))
        return None

    def snapshot(self) -> Look:
        return Look()


def stage(name: str, outcome: str = "passed", why: str | None = None, **more: Any) -> tuple[str, dict[str, Any]]:
    """The event of a boot stage, as the boot emits it."""
    data = {"stage": name, "attempt": 1, "outcome": outcome, "why": why, "seconds": 0.25, "detail": "", **more}
    return f"boot.{name}.{outcome}", data


POWER_ON = (0.0, "device.power_on", {"reason": "power-on", "firmware": "5.3.0.3", "slot": "a", "boot": 1})

BOOT: Part = (
    POWER_ON,
    (0.1, *stage("link")),
    (0.2, *stage("address", detail="10.20.16.0")),
    (0.3, *stage("names", "degraded", "fallback_dns", server="8.8.8.8:53")),
    (0.4, *stage("time", before="2025-03-01T00:00:00+00:00", after="2026-06-01T12:00:00+00:00")),
    (0.5, *stage("hub", tls="TLSv1.2", cipher="ECDHE-RSA-AES256-GCM-SHA384")),
    (0.6, *stage("firmware", version="5.3.0.3")),
    (0.7, "device.online", {"connection": 1}),
)

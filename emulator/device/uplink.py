"""The charger's side of a hub session: what goes up and is acknowledged, and what waits in flash meanwhile."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from emulator.device.outbox import Outbox
from emulator.env import Env
from emulator.errors import NetError, NetReason
from emulator.machines.mqtt import InflightFull
from emulator.profile import Hub
from emulator.wire.iothub import (
    DESIRED_FILTER,
    METHODS_FILTER,
    TWIN_RESPONSES_FILTER,
    method_response_topic,
    twin_get_topic,
)
from emulator.wire.messages import type_of

FILTERS = (METHODS_FILTER, TWIN_RESPONSES_FILTER, DESIRED_FILTER)
ASKED_QOS = 2  # the firmware asks for 2, the hub grants 1 (zaptec.md section 6)
PIPELINE_MAX = 8
"""How many messages may be on their way at once; half of what the MQTT machine allows, so that replies always fit."""

STALLS_MAX = 3
"""After so many stalls in a row the session is given up: a message without PUBACK holds its packet id to the end."""

Acknowledged = asyncio.Future[tuple[int, ...]]


class HubSession(Protocol):
    """What the uplink needs of `net.hub.HubConnection`."""

    closed: "asyncio.Future[NetError | None]"

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> Acknowledged: ...

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> Acknowledged: ...

    def abort(self, why: NetError | None = None) -> None: ...


class Uplink:
    """Publishes in order and counts. Without a hub, telemetry goes to the outbox."""

    __slots__ = (
        "_ack_timeout_s",
        "_env",
        "_stalled_until",
        "_stalls",
        "acknowledged",
        "hub",
        "messages_down",
        "messages_up",
        "outbox",
        "topic",
    )

    def __init__(self, env: Env, timing: Hub, outbox: Outbox) -> None:
        self._env = env
        self._ack_timeout_s = timing.ack_timeout_s
        self._stalled_until = 0.0
        self._stalls = 0
        self.outbox = outbox
        self.hub: HubSession | None = None
        """The session in use; set once it is greeted."""
        self.topic = ""
        """Where telemetry is published."""
        self.messages_up = 0
        self.messages_down = 0
        self.acknowledged: Callable[[bytes], None] = _nobody
        """Told of each message that the hub has acknowledged, replies excepted."""

    @property
    def online(self) -> bool:
        """There is a session that has not ended."""
        return self.hub is not None and not self.hub.closed.done()

    def usable(self, now: float) -> bool:
        """Online, and the hub does acknowledge what it gets."""
        return self.online and now >= self._stalled_until

    def deadline(self, now: float) -> float | None:
        """When a hub that did not acknowledge gets its next chance."""
        return self._stalled_until if self.online and now < self._stalled_until else None

    async def subscribe(self, hub: HubSession) -> None:
        """Begin a session: ask for methods, twin responses and desired properties. NetError: it ended."""
        self._stalled_until, self._stalls = 0.0, 0
        for granted in [hub.subscribe([(topic_filter, ASKED_QOS)]) for topic_filter in FILTERS]:
            await granted

    def ask_twin(self, hub: HubSession, rid: int) -> None:
        """Ask for the whole twin; it comes as a message of its own."""
        hub.publish(twin_get_topic(str(rid)), b"")

    def reply(self, hub: HubSession, status: int, rid: str, body: bytes = b"") -> None:
        """Answer a method call; nobody waits for the acknowledgement."""
        try:
            hub.publish(method_response_topic(status, rid), body)
            self.messages_up += 1
        except InflightFull as error:
            self._env.trace.emit("device.reply_dropped", status=status)
            self._give_up(hub, str(error))

    async def deliver(self, hub: HubSession, payloads: Sequence[bytes]) -> int:
        """Publish payloads in order; returns how many the hub has acknowledged before the first that it has not."""
        delivered = 0
        for first in range(0, len(payloads), PIPELINE_MAX):
            batch = payloads[first : first + PIPELINE_MAX]
            through = await self._deliver_batch(hub, batch)
            delivered += through
            if through < len(batch):
                break
        return delivered

    async def send(self, payload: bytes) -> bool:
        """Publish one message; False when it is not acknowledged. Nothing is kept."""
        if self.hub is None or not self.usable(asyncio.get_running_loop().time()):
            return False
        return await self.deliver(self.hub, (payload,)) == 1

    async def send_or_keep(self, payload: bytes) -> None:
        """Publish one message, or put it into the outbox."""
        if not await self.send(payload):
            self.outbox.put(payload)

    async def flush(self) -> None:
        """Send what waits in the outbox, oldest first, until one is not acknowledged."""
        while (payload := self.outbox.oldest()) is not None and await self.send(payload):
            self.outbox.pop()

    async def _deliver_batch(self, hub: HubSession, batch: Sequence[bytes]) -> int:
        delivered = 0
        try:
            waiting = [hub.publish(self.topic, payload) for payload in batch]
            async with asyncio.timeout(self._ack_timeout_s):
                for acknowledged, payload in zip(waiting, batch, strict=True):
                    await acknowledged
                    delivered += 1
                    self.messages_up += 1
                    self.acknowledged(payload)
                    self._env.trace.emit("device.publish", type=int(type_of(payload)), bytes=len(payload))
        except NetError:
            pass  # the end of the session is seen by whoever watches it
        except TimeoutError:
            self._stall(hub)
        except InflightFull as error:
            self._give_up(hub, str(error))
        else:
            self._stalls = 0
        return delivered

    def _stall(self, hub: HubSession) -> None:
        self._stalls += 1
        self._stalled_until = asyncio.get_running_loop().time() + self._ack_timeout_s
        self._env.trace.emit("device.stalled", until=self._stalled_until)
        if self._stalls >= STALLS_MAX:
            self._give_up(hub, f"no PUBACK, {self._stalls} times in a row")

    def _give_up(self, hub: HubSession, why: str) -> None:
        """End a session that does not acknowledge; the next one begins with every packet id free."""
        self._env.trace.emit("device.session_given_up", why=why)
        hub.abort(NetError(NetReason.TIMED_OUT, why))


def _nobody(payload: bytes) -> None:
    """Nobody listens."""

"""A whole cloud in virtual time, and callers who send it bytes, one by one if they like."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import Any, Self

from cloud_stub.bus.api import Kind, topic_of
from cloud_stub.hub.endpoint import Endpoint
from cloud_stub.topology import Topology
from cloud_stub.worlds import SIM_EPOCH, SIM_PREFIX, SimWorld
from emulator.clock import Rtc, SimLoop
from emulator.errors import NetError
from emulator.net.api import Address, Host
from emulator.net.tls import TlsStream, client_context, tls_connect
from emulator.wire.mqtt import PingReq, PingResp, encode
from emulator.world import WorldOptions
from tests.hub.badge import Badge

HUB_PORT = 8883
PING, PONG = encode(PingReq()), encode(PingResp())
ACCEPTED = b"\x20\x02\x00\x00"


class Caller:
    """A TLS connection that sends bytes and collects bytes; it knows nothing of MQTT."""

    def __init__(self, stream: TlsStream) -> None:
        self.heard = b""
        self.ended: asyncio.Future[NetError | None] = asyncio.get_running_loop().create_future()
        self._stream = stream
        self._news = asyncio.Event()
        stream.attach(self)

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self._stream.write(data)

    async def listen(self, octets: int, within_s: float = 5.0) -> bytes:
        """The next bytes; fewer if the connection ends before."""
        async with asyncio.timeout(within_s):
            while len(self.heard) < octets and not self.ended.done():
                self._news.clear()
                await self._news.wait()
        data, self.heard = self.heard[:octets], self.heard[octets:]
        return data

    async def rest(self, within_s: float) -> tuple[bytes, bool]:
        """Everything that comes until the end, or within a time; and whether it has ended."""
        await asyncio.wait([self.ended], timeout=within_s)
        return await self.listen(len(self.heard)), self.ended.done()

    async def answers(self) -> bool:
        """Whether the hub still serves this one."""
        self.say(PING)
        return await self.listen(len(PONG)) == PONG

    def pause(self) -> None:
        """Read no more."""
        self._stream.pause_reading()

    def abort(self) -> None:
        """End without a word."""
        self._stream.abort()

    @property
    def unsent_bytes(self) -> int:
        """What the hub does not take."""
        return self._stream.unsent_bytes

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self._news.set()

    def connection_lost(self, error: NetError | None) -> None:
        self.ended.set_result(error)
        self._news.set()

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class Place(SimWorld):
    """The simulated world, with visitors from all over the internet."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(WorldOptions(seed=seed))
        self._numbers = count(1)
        self._context = client_context(self._certs.roots_pem())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def hub(self) -> str:
        """The host name."""
        return self._profile.network.hub_host

    @property
    def hub_address(self) -> str:
        """Where the hub is."""
        return Topology(SIM_PREFIX).hub

    def visitor(self, name: str, address: str) -> Host:
        """Somebody on the internet."""
        return self._net.host(name, address, segment="internet")

    @property
    def endpoint(self) -> Endpoint:
        """The hub's device endpoint."""
        assert isinstance(self.cloud.endpoint, Endpoint)
        return self.cloud.endpoint

    def utc(self) -> datetime:
        """The true time."""
        return self._utc()()

    def badge(self, device_id: str) -> Badge:
        """A new device."""
        made = self.cloud.registry.produce(device_id)
        return Badge(self.hub, device_id, made.keys[0], self.utc)

    def change_rules(self, **changes: Any) -> None:
        """Another hub's choices."""
        self.endpoint.rules = replace(self.endpoint.rules, **changes)

    def want_something_of(self, device_id: str) -> None:
        """A method call, a change of its twin, and a C2D message."""
        for kind, rest, payload in ((Kind.METHOD, ("503", "r"), b"[1]"), (Kind.DESIRED, (), b'{"a":1}')):
            self._tell(topic_of(device_id, kind, *rest), payload)
        self._tell(topic_of(device_id, Kind.DEVICEBOUND), b"hello")

    def _tell(self, topic: str, payload: bytes) -> None:
        self.cloud._bus.publish(topic, payload).add_done_callback(lambda done: done.exception())

    async def caller(self, badge: Badge | None = None) -> Caller:
        """Somebody whose TLS handshake is over; with a badge, logged in."""
        number = next(self._numbers)
        host = self.visitor(f"caller {number}", f"10.77.{number >> 8}.{number & 255}")
        tcp = await host.connect(Address(self.hub_address, HUB_PORT), timeout_s=5)
        rtc = Rtc(asyncio.get_running_loop().time, built_at=SIM_EPOCH)
        caller = Caller(await tls_connect(tcp, self._context, server_name=self.hub, rtc=rtc, timeout_s=5))
        if badge is not None:
            caller.say(badge.connect())
            assert await caller.listen(4) == ACCEPTED
        return caller

    def events(self, event: str, device_id: str | None = None) -> list[dict[str, Any]]:
        """What the hub has written down under this heading, of all or of one device."""
        return [
            each
            for each in self.history("hub")
            if each["data"].get("event") == event and device_id in (None, each["data"].get("device"))
        ]


def play(story: Callable[[Place], Awaitable[None]], seed: int = 1) -> None:
    """Run a story at a place of its own, in virtual time."""

    async def whole() -> None:
        async with Place(seed) as place:
            await story(place)

    with asyncio.Runner(loop_factory=SimLoop) as runner:
        runner.run(whole())
